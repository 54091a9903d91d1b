"""Moments of a window's posterior: where it is read, and where the next window starts."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from assim.analysis.cycle.plan import Move
from assim.analysis.cycle.scheme import CycledMoments, Seen, in_physical_units
from assim.analysis.forecast import StartMembers
from assim.problem.control import White
from assim.problem.cycled import CycledProblem
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
    problem: CycledProblem,
    gaussian: Gaussian,
    move: Move,
    rank: int,
    units: Array,
    key: Array,
) -> CycledMoments:
    """Moments by the tangent linear at the minimum.

    With more than 1,000 controls the root of the covariance of z has its `rank` leading vectors,
    by the randomised method and in `units`, one for each entry, and standard deviations are those
    of as many draws.
    """
    look = lambda chi: seen(problem, chi, move)  # noqa: E731
    analysis, push = jax.linearize(look, gaussian.chi)
    n = gaussian.chi.size
    background = look(jnp.zeros(n))
    if n > WHOLE:
        return _of_few(push, gaussian, background, analysis, rank, units, key)
    prior = jax.lax.map(push, jnp.eye(n), batch_size=min(n, TOGETHER))
    root = jax.vmap(gaussian.sqrt)(jnp.eye(n))
    posterior = jax.tree.map(lambda columns: jnp.tensordot(root, columns, axes=1), prior)
    return CycledMoments(background, analysis, _stdev(prior), _stdev(posterior), posterior.z)


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
    several = jax.lax.map(
        lambda chi: seen(problem, chi, move), draws, batch_size=min(members, TOGETHER)
    )
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

    several = jax.lax.map(seen_member, (moved, members), batch_size=min(number, TOGETHER))
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


def _of_few(
    push: Callable[[Array], Seen],
    gaussian: Gaussian,
    background: Seen,
    analysis: Seen,
    rank: int,
    units: Array,
    key: Array,
) -> CycledMoments:
    """With `rank` leading vectors of the covariance of z, and as many draws for the rest."""
    n = gaussian.chi.size
    for_vectors, for_draws = jax.random.split(key)
    to_z = lambda chi: push(chi).z / units  # noqa: E731
    back = jax.linear_transpose(to_z, gaussian.chi)
    covariance = lambda v: to_z(gaussian.covariance(back(v)[0]))  # noqa: E731
    size = analysis.z.size
    values, vectors = randomised_eigenpairs(covariance, size, min(rank, size), for_vectors)
    columns = (vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None]).T * units[None]
    white = jax.random.normal(for_draws, (rank, n)) / jnp.sqrt(rank)
    batch = min(rank, TOGETHER)
    prior = jax.lax.map(push, white, batch_size=batch)
    posterior = jax.lax.map(push, jax.vmap(gaussian.sqrt)(white), batch_size=batch)
    return CycledMoments(background, analysis, _stdev(prior), _stdev(posterior), columns)


def _stdev(columns: Seen) -> Seen:
    """√ of the sum of squares over columns."""
    return jax.tree.map(lambda c: jnp.sqrt(jnp.sum(c**2, axis=0)), columns)


@eqx.filter_jit
def drawn_members(window: CycledProblem, number: int, key: Array, newest: int) -> StartMembers:
    """Draws, at a slot edge, of the Gaussian with which a window begins.

    z = m + Σ_k w_k v_k + √s_x B^(1/2) w_x + √s_θ w_θ,        w ~ N(0, I)
    """
    chi = jax.random.normal(key, (number, window.size()))
    return jax.lax.map(
        lambda draw: start_member(window.problem, window.inner(draw), newest),
        chi,
        batch_size=min(number, TOGETHER),
    )


def start_member(problem: Problem, chi: Array, newest: int) -> StartMembers:
    """What one χ means at a slot edge, without that dimension."""
    physical = problem.control(chi)
    state = physical.state
    if newest:
        states = problem.trajectory(chi).states
        state = {name: value[newest] for name, value in states.items()}
    return StartMembers(state, physical.parameters, physical.scales, physical.biases)
