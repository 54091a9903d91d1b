"""Quasi-static minimisation: windows that are lengthened step by step.

The minimum of a chaotic window lies in a valley that narrows as the window grows, among others
that are not it. Started from the minimum of a slightly shorter window the search stays in the
right one (Pires, Vautard & Talagrand 1996, Tellus A 48, 96-121).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.solve.cost import DepartureFunction
from assim.solve.minimise.loop import (
    AbstractMinimiser,
    Leave,
    Progress,
    Solution,
    advance,
    minimise_stages,
)

Array = jax.Array


class Early(NamedTuple):
    """When to leave all stages but the last.

    Args:
        n_outer: outer loops after which to go on, at most those of the minimiser.
        tolerance: |∇J| at which to go on; where J is near quadratic, it bounds the distance to
            the stage's minimum in prior standard deviations.
    """

    n_outer: int = 10
    tolerance: float = 0.1


def minimise_quasi_static(
    stages: Sequence[DepartureFunction],
    minimiser: AbstractMinimiser,
    first_guesses: Array,
    progress: Progress | None = None,
    early: Early = Early(),  # noqa: B008 (an immutable record of settings)
) -> Solution:
    """Minimise a sequence of J, each from the last one's minimum; the solution is of the last.

    Args:
        stages: departure functions of one structure, as from `Problem.lengthened`: what is
            compiled for one serves all.
        minimiser: the method.
        first_guesses: χ, shape (n,) or (starts, n); each goes through all stages.
        progress: called after every outer loop, which knows its stage.
        early: when to leave all stages but the last.

    Raises:
        ValueError: no stages, or stages of several structures.
    """
    _check(stages)
    leave = [*[_early(minimiser, early)] * (len(stages) - 1), Leave(minimiser.n_outer)]
    return minimise_stages(
        list(zip(stages, leave, strict=True)), minimiser, first_guesses, progress
    )


def minimise_quasi_static_compiled(
    stages: Sequence[DepartureFunction],
    minimiser: AbstractMinimiser,
    first_guess: Array,
    early: Early = Early(),  # noqa: B008
) -> Any:
    """The same inside one `lax.scan` over stages, for `vmap` over ensembles.

    Arguments as for `minimise_quasi_static`, with one first guess of shape (n,). Arrays that all
    stages share are not copied.

    Returns the minimiser's last state.
    """
    _check(stages)
    leaves = [jax.tree.flatten(eqx.filter(stage, eqx.is_array))[0] for stage in stages]
    same = [all(leaf is several[0] for leaf in several) for several in zip(*leaves, strict=True)]
    columns = zip(zip(*leaves, strict=True), same, strict=True)
    differing = [jnp.stack(several) for several, one in columns if not one]
    arrays, rest = eqx.partition(stages[0], eqx.is_array)
    shared, structure = jax.tree.flatten(arrays)

    def stage(state: Any, inputs: tuple[list[Array], Leave]) -> tuple[Any, None]:
        given = iter(inputs[0])
        own = [leaf if one else next(given) for leaf, one in zip(shared, same, strict=True)]
        problem = eqx.combine(jax.tree.unflatten(structure, own), rest)
        return advance(problem, minimiser, state.chi, inputs[1]), None

    first, last = _early(minimiser, early), Leave(minimiser.n_outer)
    leave = [jnp.array([a] * (len(stages) - 1) + [b]) for a, b in zip(first, last, strict=True)]
    start = minimiser.init(stages[0], first_guess)
    return jax.lax.scan(stage, start, (differing, Leave(*leave)))[0]


def _early(minimiser: AbstractMinimiser, early: Early) -> Leave:
    return Leave(min(minimiser.n_outer, early.n_outer), early.tolerance)


def _check(stages: Sequence[DepartureFunction]) -> None:
    if not stages:
        raise ValueError("minimise_quasi_static: at least one stage is needed, got none")
    shapes = [jax.tree.map(jnp.shape, eqx.filter(stage, eqx.is_array)) for stage in stages]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(
            "minimise_quasi_static: stages must differ in the values of their arrays alone; mask "
            "what a stage leaves out instead of dropping it"
        )
