"""Whether a model brings the derivatives that the methods of a case need."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from assim.analysis.methods import base_settings
from assim.problem.departure import Problem
from assim.problem.model import ModelContractError
from assim.solve.cost import scored_density
from assim.solve.minimise.loop import AbstractMinimiser
from assim.solve.posterior.ensemble import AbstractPosterior
from assim.solve.posterior.laplace import local_gaussian


def unmet_derivatives(
    problem: Problem,
    minimiser: AbstractMinimiser,
    methods: Mapping[str, AbstractPosterior] | str | None,
) -> dict[str, str]:
    """Methods that need derivatives which the model lacks, found before it has run a step.

    What a method needs is asked of its own program, which is translated and not run.

    Args:
        problem: the question.
        minimiser: how J is minimised.
        methods: ways to quantify uncertainty by name, "auto", or None.

    Returns:
        what is wrong, by "minimiser" or "posterior".
    """
    if not problem.model.lacks():
        return {}
    settings = base_settings(methods or {})  # type: ignore[arg-type]
    asked: list[tuple[str, Callable[..., Any]]] = [
        ("minimiser", lambda p, chi: minimiser.step(p, minimiser.init(p, chi)))
    ]
    if settings is not None and not minimiser.by_members:
        own = settings
        asked.append(("posterior", lambda p, chi: local_gaussian(p, chi, own, jax.random.key(0))))
    several = [] if methods is None or isinstance(methods, str) else list(methods.values())
    if methods == "auto" or any(m.gradients and m is not settings for m in several):
        asked.append(("posterior", scored_density))
    unmet: dict[str, str] = {}
    for path, function in asked:
        try:
            jax.jit(partial(function, problem)).lower(jnp.zeros(problem.size()))
        except ModelContractError as error:
            unmet.setdefault(path, str(error))
    return unmet
