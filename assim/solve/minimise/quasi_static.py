"""Quasi-static minimisation: windows that are lengthened step by step.

The minimum of a chaotic window lies in a valley that narrows as the window grows, among others
that are not it. Started from the minimum of a slightly shorter window the search stays in the
right one (Pires, Vautard & Talagrand 1996, Tellus A 48, 96-121).
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.solve.cost import DepartureFunction
from assim.solve.minimise.loop import AbstractMinimiser, Leave, advance, when_to_leave

Array = jax.Array


def minimise_quasi_static_compiled(
    stages: Sequence[DepartureFunction],
    minimiser: AbstractMinimiser,
    first_guess: Array,
    early: Leave = Leave(),  # noqa: B008 (an immutable record of settings)
) -> Any:
    """`minimise_quasi_static` inside one `lax.scan` over stages, for `vmap` over ensembles.

    The arguments are the same, with one first guess of shape (n,). Arrays that all
    stages share are not copied.

    Returns the minimiser's last state.
    """
    leaves = when_to_leave(stages, minimiser, early)
    every = [jax.tree.leaves(eqx.filter(stage, eqx.is_array)) for stage in stages]
    same = [all(leaf is several[0] for leaf in several) for several in zip(*every, strict=True)]
    columns = zip(zip(*every, strict=True), same, strict=True)
    differing = [jnp.stack(several) for several, is_shared in columns if not is_shared]
    arrays, rest = eqx.partition(stages[0], eqx.is_array)
    shared, structure = jax.tree.flatten(arrays)

    def stage(state: Any, inputs: tuple[list[Array], Leave]) -> tuple[Any, None]:
        given = iter(inputs[0])
        own = [
            leaf if is_shared else next(given) for leaf, is_shared in zip(shared, same, strict=True)
        ]
        problem = eqx.combine(jax.tree.unflatten(structure, own), rest)
        return advance(problem, minimiser, state.chi, inputs[1]), None

    start = minimiser.init(stages[0], first_guess)
    limits = Leave(*map(jnp.array, zip(*leaves, strict=True)))
    return jax.lax.scan(stage, start, (differing, limits))[0]
