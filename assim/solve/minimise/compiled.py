"""The outer loop inside compiled programs, for ensembles and windows in sequence."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.solve.cost import DepartureFunction
from assim.solve.minimise.loop import (
    SETTLED,
    AbstractMinimiser,
    Leave,
    unsettled,
    when_to_leave,
)

Array = jax.Array


def minimise_compiled(
    problem: DepartureFunction,
    minimiser: AbstractMinimiser,
    first_guess: Array,
    leave: Leave | None = None,
) -> Any:
    """The same loop inside `lax.while_loop`, for `vmap` over ensembles and `scan` over windows.

    Returns the minimiser's last state: where it settled, or was left as a stage is.
    """
    n_outer, tolerance = leave or Leave(minimiser.n_outer, SETTLED)

    def unfinished(carry: tuple[Array, Any]) -> Array:
        number, state = carry
        return (number < n_outer) & unsettled(state, tolerance)

    def advance(carry: tuple[Array, Any]) -> tuple[Array, Any]:
        number, state = carry
        return number + 1, minimiser.step(problem, state)

    start = (jnp.zeros((), int), minimiser.init(problem, first_guess))
    return jax.lax.while_loop(unfinished, advance, start)[1]


def minimise_quasi_static_compiled(
    stages: Sequence[DepartureFunction],
    minimiser: AbstractMinimiser,
    first_guess: Array,
    early: Leave = Leave(),  # noqa: B008 (an immutable record of settings)
) -> Any:
    """`minimise_quasi_static` from one first guess, shape (n,), inside one `lax.scan` over stages.

    Arrays that all stages share are not copied. Returns the minimiser's last state.
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
        return minimise_compiled(problem, minimiser, state.chi, inputs[1]), None

    start = minimiser.init(stages[0], first_guess)
    limits = Leave(*map(jnp.array, zip(*leaves, strict=True)))
    return jax.lax.scan(stage, start, (differing, limits))[0]
