"""A window's posterior: its moments, and the background of the next window that it makes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from assim.analysis.cycle.plan import Move
from assim.analysis.cycle.scheme import CycledMoments, Seen, in_physical_units
from assim.analysis.forecast import StartMembers
from assim.devices import over_members, program
from assim.problem.control import Control, White
from assim.problem.covariance import AbstractStateCovariance
from assim.problem.cycled import ERRORS, OTHERS, STATE, Background, CycledProblem
from assim.problem.departure import Problem
from assim.solve.krylov import randomised_eigenpairs
from assim.solve.posterior.gaussian import Gaussian

Array = jax.Array

WHOLE = 1000  # controls up to which every column of the tangent linear is formed
TOGETHER = 100  # columns, or members, that are integrated together


def seen(problem: CycledProblem, chi: Array, move: Move, offset: White | None = None) -> Seen:
    """What χ means, with something added to z."""
    simulation = problem.simulate(chi, offset)
    z = problem.advanced(chi, simulation.trajectory, move.shift, offset)
    scalars = in_physical_units(simulation.control, z)
    predictions = tuple(simulation.predictions.values())
    return Seen(simulation.trajectory.states, predictions, scalars, ravel_pytree(z)[0])


def by_tangent(
    problem: CycledProblem, gaussian: Gaussian, move: Move, rank: int, units: Array, key: Array
) -> CycledMoments:
    """Moments by the tangent linear at the minimum.

    With more than 1,000 controls the root of the covariance of z has its `rank` leading vectors,
    by the randomised method and in `units`, one for each entry, and standard deviations are those
    of as many draws.
    """
    look = lambda chi: seen(problem, chi, move)  # noqa: E731
    analysis, push = jax.linearize(look, gaussian.chi)
    n, size = gaussian.chi.size, analysis.z.size
    background = look(jnp.zeros(n))
    if n <= WHOLE:
        prior = over_members(push, jnp.eye(n), TOGETHER)
        root = jax.vmap(gaussian.sqrt)(jnp.eye(n))
        posterior = jax.tree.map(lambda columns: jnp.tensordot(root, columns, axes=1), prior)
        return CycledMoments(background, analysis, _stdev(prior), _stdev(posterior), posterior.z)
    for_vectors, for_draws = jax.random.split(key)
    to_z = lambda chi: push(chi).z / units  # noqa: E731
    back = jax.linear_transpose(to_z, gaussian.chi)
    covariance = lambda v: to_z(gaussian.covariance(back(v)[0]))  # noqa: E731
    values, vectors = randomised_eigenpairs(covariance, size, min(rank, size), for_vectors)
    columns = (vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None]).T * units[None]
    white = jax.random.normal(for_draws, (rank, n)) / jnp.sqrt(rank)
    prior = over_members(push, white, TOGETHER)
    posterior = over_members(push, jax.vmap(gaussian.sqrt)(white), TOGETHER)
    return CycledMoments(background, analysis, _stdev(prior), _stdev(posterior), columns)


def by_draws(
    problem: CycledProblem,
    gaussian: Gaussian,
    move: Move,
    members: int,
    key: Array,
    linear: CycledMoments,
) -> CycledMoments:
    """Moments of draws that the model itself has carried; of the background they are linear."""
    draws = balanced_draws(gaussian, members, key)
    several = over_members(lambda chi: seen(problem, chi, move), draws, TOGETHER)
    return _of_sample(several, len(draws), linear)


def by_members(
    problem: CycledProblem, gaussian: Gaussian, move: Move, linear: CycledMoments
) -> CycledMoments:
    """Moments of the carried members, each moved as the square root of the posterior moves it.

        z_k = z* + z′_k - L U (1 - (1 + Λ)^(-1/2)) Λ⁻¹ (GU)ᵀ H′z′_k

    with L the localised root of the background, and H′ that of the departures to z: the modified
    gain with which Bishop, Whitaker & Lei (2017), MWR 145, 4575, update few members by a covariance
    of many. The model carries them on; of the background moments are linear.
    """
    number = problem.background.rank()
    members = jax.tree.map(lambda v: jnp.sqrt(number) * v, problem.background.vectors)
    nothing = jax.tree.map(jnp.zeros_like, problem.background.mean)
    read = lambda chi, z: problem.problem(problem.inner(chi, z)).normalised  # noqa: E731
    _, push = jax.linearize(read, gaussian.chi, nothing)
    still = jnp.zeros_like(gaussian.chi)
    of_vectors = jax.lax.map(lambda u: push(u, nothing), gaussian.eigenvectors.T)
    of_members = jax.lax.map(lambda member: push(still, member), members)
    values = gaussian.eigenvalues
    share = jnp.where(values > 0, (1 - 1 / jnp.sqrt(1 + values)) / jnp.maximum(values, 1e-30), 0.0)
    moved = -((of_members @ of_vectors.T) * share[None]) @ gaussian.eigenvectors.T

    def seen_member(given: tuple[Array, White]) -> Seen:
        return seen(problem, gaussian.chi + given[0], move, given[1])

    several = over_members(seen_member, (moved, members), TOGETHER)
    return _of_sample(several, number, linear)


def _of_sample(several: Seen, number: int, linear: CycledMoments) -> CycledMoments:
    """Moments of members; of the background those that are linear."""
    mean = jax.tree.map(lambda values: jnp.mean(values, axis=0), several)
    columns = jax.tree.map(lambda v, m: (v - m[None]) / jnp.sqrt(number), several, mean)
    return linear._replace(analysis=mean, analysis_stdev=_stdev(columns), columns=columns.z)


def balanced_draws(gaussian: Gaussian, members: int, key: Array) -> Array:
    """Draws of χ with its mean exactly, shape (members, n).

    Where there are two for every dimension or more, rounded down to a multiple of that, they have
    its covariance exactly, too: blocks of random orthogonal vectors of length √n in χ's own metric,
    with their opposites. Fewer are independent but for their mean.
    """
    n = gaussian.chi.size
    blocks = members // (2 * n)
    if blocks:
        normal = jax.random.normal(key, (blocks, n, n))
        half = jnp.sqrt(n) * jnp.linalg.qr(normal)[0].reshape(-1, n)
        white = jnp.concatenate([half, -half])
    else:
        normal = jax.random.normal(key, (members, n))
        white = (normal - jnp.mean(normal, axis=0)[None]) * jnp.sqrt(members / (members - 1))
    return gaussian.chi[None] + jax.vmap(gaussian.sqrt)(white)


def _stdev(columns: Seen) -> Seen:
    """√ of the sum of squares over columns."""
    return jax.tree.map(lambda c: jnp.sqrt(jnp.sum(c**2, axis=0)), columns)


@program
def drawn_members(window: CycledProblem, number: int, key: Array, newest: int) -> StartMembers:
    """Draws, at a slot edge, of the Gaussian with which a window begins.

    z = m + Σ_k w_k v_k + √s_x B^(1/2) w_x + √s_θ w_θ,        w ~ N(0, I)
    """
    chi = jax.random.normal(key, (number, window.size()))
    return over_members(
        lambda draw: start_member(window.problem, window.inner(draw), newest),
        chi,
        TOGETHER,
    )


def start_member(problem: Problem, chi: Array, newest: int) -> StartMembers:
    """What one χ means at a slot edge, without that dimension."""
    physical = problem.control(chi)
    state = physical.state
    if newest:
        states = problem.trajectory(chi).states
        state = {name: value[newest] for name, value in states.items()}
    return StartMembers(state, physical.parameters, physical.scales, physical.biases)


# ---- the background of the next window -----------------------------------------------------------


def prior_members(control: Control, number: int, key: Array) -> White:
    """Members of the prior of a problem as it was posed."""

    def prior_member(chi: Array) -> White:
        white, x = control.split(chi), control(chi).state
        return {
            **{kind: white[kind] for kind in ("fields", *OTHERS)},
            STATE: {name: value for name, value in x.items() if name not in control.fields},
        }

    return jax.vmap(prior_member)(jax.random.normal(key, (number, control.size())))


class Folding(NamedTuple):
    """How covariances of z are kept.

    Args:
        rank: vectors of a carried covariance.
        whole: whether these span z, so that a static share is one of them and not apart.
        members: whether they are members, each of which is localised, and none may be mixed.
    """

    rank: int
    whole: bool
    members: bool = False

    @staticmethod
    def of(mean: White, rank: int) -> "Folding":
        """All of z up to `rank` entries."""
        n = ravel_pytree(mean)[0].size
        return Folding(min(n, rank), n <= rank)


def first_background(control: Control, mean: White, folding: Folding) -> Background:
    """The background of the first window: the case's own, with all its priors."""
    unit, fresh = jnp.ones(()), _fresh(mean)
    if folding.whole:
        vectors = _rows(mean, _root(_prior(control.covariance, mean, unit, unit), folding.rank))
        return Background(mean, vectors, unit, unit, fresh)
    return Background(mean, _none(mean, folding.rank), unit, unit, fresh)


def first_members(control: Control, mean: White, number: int, key: Array) -> Background:
    """Members drawn from the case's own background and priors, about their mean.

    They have all of its covariance: a static share comes with the next window.
    """
    drawn = {**_none(mean, number), **prior_members(control, number, key)}
    centred = jax.tree.map(lambda z: z - jnp.mean(z, axis=0)[None], drawn)
    vectors = jax.tree.map(lambda z: z / jnp.sqrt(number - 1), centred)
    return Background(mean, vectors, jnp.zeros(()), jnp.zeros(()), _fresh(mean))


def _fresh(mean: White) -> Array | None:
    """1 for each group of model errors of the first window; None where z has none."""
    series = jax.tree.leaves(mean.get(ERRORS, {}))
    return jnp.ones(series[0].shape[0]) if series else None


def handed_on(
    mean: White,
    columns: Array,
    static: AbstractStateCovariance,
    folding: Folding,
    *,
    inflation: Array,
    share: Array,
    own: Array,
    fresh: Array | None,
) -> Background:
    """The background of the next window.

        P = D C D + s_x B + s_θ I_θ,   D = inflation on the state, √(1 - s_θ) on the others

    Args:
        mean: z.
        columns: root of the covariance C of z, as rows of shape (k, size of z).
        static: B.
        folding: how the covariance is kept.
        inflation: factor on the standard deviations of the state.
        share: s_x.
        own: s_θ, of the prior that parameters, scales and biases are given back.
        fresh: 1 for each group of model errors that has not been seen; None where z has none.
    """
    grown = columns * _factors(mean, inflation, jnp.sqrt(1 - own), jnp.ones(()))[None]
    if folding.whole:
        added = _prior(static, mean, share, own)
        root = _root(jnp.concatenate([grown, added]), folding.rank)
        return Background(mean, _rows(mean, root), share, own, fresh)
    if folding.members:
        return Background(mean, _rows(mean, grown), share, own, fresh)
    scale = units_of(static, mean)
    root = _root(grown / scale[None], folding.rank) * scale[None]
    return Background(mean, _rows(mean, root), share, own, fresh)


def _root(columns: Array, rank: int) -> Array:
    """The `rank` leading rows V of VᵀV = CᵀC, in order of variance; zeros where there are fewer."""
    if columns.shape[0] >= columns.shape[1]:
        values, vectors = jnp.linalg.eigh(columns.T @ columns)
        leading = (jnp.sqrt(jnp.maximum(values, 0.0))[None] * vectors).T[::-1]
    else:
        values, vectors = jnp.linalg.eigh(columns @ columns.T)
        leading = (vectors.T @ columns)[::-1]
    missing = max(0, rank - leading.shape[0])
    return jnp.pad(leading, ((0, missing), (0, 0)))[:rank]


def only_others(mean: White, columns: Array) -> Array:
    """The columns with nothing of the state: where its covariance is static."""
    return columns * _factors(mean, jnp.zeros(()), jnp.ones(()), jnp.zeros(()))[None]


def _factors(mean: White, state: Array, others: Array, errors: Array) -> Array:
    """One factor on every entry of z of the state, others on the others and on model errors."""
    factors = {STATE: state, "fields": state, **dict.fromkeys(OTHERS, others), ERRORS: errors}
    tree = {
        kind: {name: jnp.full(jnp.shape(value), factors[kind]) for name, value in part.items()}
        for kind, part in mean.items()
    }
    return ravel_pytree(tree)[0]


def units_of(static: AbstractStateCovariance, mean: White) -> Array:
    """Units of every entry of z: static standard deviations of the state, 1 of white numbers."""
    tree = jax.tree.map(jnp.ones_like, mean)
    stdev = {name: jnp.sqrt(v) for name, v in static.variance().items()}
    tree[STATE] = {**tree[STATE], **stdev}
    return ravel_pytree(tree)[0]


def _prior(covariance: AbstractStateCovariance, mean: White, share: Array, own: Array) -> Array:
    """Rows whose covariance is s_x B and s_θ I."""
    zeros = jax.tree.map(jnp.zeros_like, mean)
    white = {name: jnp.zeros(size) for name, size in covariance.sizes().items()}
    flat, unravel = ravel_pytree(white)

    def of_state(w: Array) -> Array:
        fields = {**zeros[STATE], **covariance.sqrt(unravel(w))}
        return ravel_pytree({**zeros, STATE: fields})[0]

    blocks = [jnp.sqrt(share) * jax.vmap(of_state)(jnp.eye(flat.size))]
    white_only = {kind: part for kind, part in mean.items() if kind not in (STATE, ERRORS)}
    number, back = ravel_pytree(white_only)

    def of_others(w: Array) -> Array:
        return ravel_pytree({**zeros, **back(w)})[0]

    if number.size:
        factors = jnp.sqrt(_factors(white_only, share, own, own))
        blocks.append(jax.vmap(of_others)(jnp.diag(factors)))
    return jnp.concatenate(blocks)


def _rows(mean: White, matrix: Array) -> White:
    """Rows as vectors of z."""
    return jax.vmap(ravel_pytree(mean)[1])(matrix)


def _none(mean: White, rank: int) -> White:
    return jax.tree.map(lambda m: jnp.zeros((rank, *jnp.shape(m))), mean)
