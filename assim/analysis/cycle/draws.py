"""Members of what a window of a cycle has handed on, from which a forecast can be made."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from assim.analysis.cycle import members, static, variational
from assim.analysis.cycle.posterior import TOGETHER
from assim.analysis.forecast import Draws
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
    scheme: object,
    carry: object,
    number: int,
    seed: int = 0,
    ahead: Ahead | None = None,
) -> Draws | None:
    """Members of what a window of a cycle handed on, at the newest observations.

    Where windows overlap, that is later than the next one's start, from where members are run with
    the model errors that they were handed on with.

    Of a `FourDVar` draws z = m + Σ_k w_k v_k + √s_x B^(1/2) w_x + √s_θ w_θ, with localised v_k
    where it localises them; of a scheme that hands on members these as they are, whatever their
    number; of 3D-Var and optimal interpolation draws x = x^a + √s B^(1/2) w. None for a scheme of
    another kind.

    Args:
        problem: of the first window, as it was posed.
        scheme: how the windows were analysed.
        carry: what it handed on.
        number: of draws.
        seed: likewise.
        ahead: the window that would come next, where windows overlap.
    """
    key, newest = jax.random.key(seed), 0 if ahead is None else ahead.newest
    if ahead is not None:
        problem = eqx.tree_at(lambda p: p.window.edges, problem, ahead.edges)
    within = in_carried_coordinates(problem)
    if isinstance(carry, variational.Carry) and isinstance(scheme, variational.FourDVar):
        whole = scheme.folding(carry.background.mean).whole
        static_too = None if whole else carry.static
        window = CycledProblem(within, carry.background, static_too, carry.localisation)
        return _of_gaussian(window, number, key, newest)
    if isinstance(carry, members.Carry):
        return _of_members(within, carry.members, newest)
    if isinstance(carry, static.Carry) and isinstance(
        scheme, static.ThreeDVar | static.OptimalInterpolation
    ):
        return _of_static(problem, carry, scheme.share, number, key)
    return None


@eqx.filter_jit
def _of_gaussian(window: CycledProblem, number: int, key: Array, newest: int) -> Draws:
    chi = jax.random.normal(key, (number, window.size()))
    return jax.lax.map(
        lambda one: _meaning(window.problem, window.inner(one), newest),
        chi,
        batch_size=min(number, TOGETHER),
    )


@eqx.filter_jit
def _of_members(problem: Problem, several: White, newest: int) -> Draws:
    blank, join = problem.control.blank(), problem.control.join
    return jax.vmap(lambda z: _meaning(problem, join({**blank, **z}), newest))(several)


@eqx.filter_jit
def _of_static(
    problem: Problem, carry: static.Carry, share: float, number: int, key: Array
) -> Draws:
    white = {name: jnp.zeros(size) for name, size in carry.static.sizes().items()}
    flat, unravel = ravel_pytree(white)

    def one(w: Array) -> Draws:
        added = carry.static.sqrt(unravel(w))
        root = jnp.sqrt(share)
        state = {n: v + root * added[n] if n in added else v for n, v in carry.state.items()}
        return Draws(state, problem.control.fixed, {}, {})

    return jax.vmap(one)(jax.random.normal(key, (number, flat.size)))


def _meaning(problem: Problem, chi: Array, newest: int) -> Draws:
    physical = problem.control(chi)
    state = physical.state
    if newest:
        states = problem.trajectory(chi).states
        state = {name: value[newest] for name, value in states.items()}
    return Draws(state, physical.parameters, physical.scales, physical.biases)
