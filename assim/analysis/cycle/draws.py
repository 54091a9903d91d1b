"""Members of what a window of a cycle has handed on, from which a forecast can be made."""

from typing import Any, NamedTuple

import equinox as eqx
import jax

from assim.analysis.cycle.posterior import TOGETHER
from assim.analysis.cycle.scheme import AbstractScheme
from assim.analysis.forecast import StartMembers
from assim.problem.control import White
from assim.problem.cycled import CycledProblem, in_carried_coordinates
from assim.problem.departure import Problem

Array = jax.Array


class Ahead(NamedTuple):
    """The window that would come next.

    Args:
        edges: its slot edges.
        newest: number of the edge of the newest observations so far; 0 where windows are separate.
    """

    edges: Array
    newest: int


def draws_of_carry(
    problem: Problem,
    scheme: AbstractScheme,
    carry: Any,
    number: int,
    seed: int = 0,
    ahead: Ahead | None = None,
) -> StartMembers | None:
    """Members of what a window of a cycle handed on, at the newest observations.

    Where windows overlap, that is later than the next one's start, from where members are run with
    the model errors that they were handed on with.

    Args:
        problem: of the first window, as it was posed.
        scheme: how the windows were analysed.
        carry: what it handed on.
        number: of draws.
        seed: likewise.
        ahead: the window that would come next, where windows overlap.

    Returns:
        what the scheme draws; None where it draws nothing (`AbstractScheme.draws`).
    """
    if ahead is not None:
        problem = eqx.tree_at(lambda p: p.window.edges, problem, ahead.edges)
    newest = 0 if ahead is None else ahead.newest
    return scheme.draws(problem, carry, number, jax.random.key(seed), newest)


@eqx.filter_jit
def of_gaussian(window: CycledProblem, number: int, key: Array, newest: int) -> StartMembers:
    """Draws of the Gaussian with which a window begins.

        z = m + Σ_k w_k v_k + √s_x B^(1/2) w_x + √s_θ w_θ,        w ~ N(0, I)

    Args:
        window: with its background.
        number: of draws.
        key: of the draws.
        newest: slot edge at which they are wanted.
    """
    chi = jax.random.normal(key, (number, window.size()))
    return jax.lax.map(
        lambda draw: _meaning(window.problem, window.inner(draw), newest),
        chi,
        batch_size=min(number, TOGETHER),
    )


def of_members(problem: Problem, members: White, newest: int) -> StartMembers:
    """Members of z as they are.

    Args:
        problem: of the window that would come next, as it was posed.
        members: z at its start, shape (N, …).
        newest: slot edge at which they are wanted.
    """
    return _of_members(in_carried_coordinates(problem), members, newest)


@eqx.filter_jit
def _of_members(problem: Problem, members: White, newest: int) -> StartMembers:
    blank, join = problem.control.blank(), problem.control.join
    return jax.vmap(lambda z: _meaning(problem, join({**blank, **z}), newest))(members)


def _meaning(problem: Problem, chi: Array, newest: int) -> StartMembers:
    physical = problem.control(chi)
    state = physical.state
    if newest:
        states = problem.trajectory(chi).states
        state = {name: value[newest] for name, value in states.items()}
    return StartMembers(state, physical.parameters, physical.scales, physical.biases)
