"""Moments of a window's posterior: where it is read, and where the next window starts."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from assim.analysis.cycle.scheme import Move
from assim.problem.arrays import State
from assim.problem.cycled import OTHERS, CycledProblem
from assim.solve.gaussian import Gaussian
from assim.solve.krylov import randomised_eigenpairs

Array = jax.Array

WHOLE = 1000  # controls up to which every column of the tangent linear is formed
TOGETHER = 100  # columns, or members, that are integrated together


class Seen(NamedTuple):
    """What one χ means: all that is asked of a window's posterior.

    Args:
        states: every field at every slot edge.
        predictions: of every instrument.
        scalars: estimated parameters, scales and biases in physical units.
        z: where the next window starts.
    """

    states: State
    predictions: tuple[Array, ...]
    scalars: dict[str, Array]
    z: Array


class Moments(NamedTuple):
    """Mean and standard deviations of what is seen, before and after the observations.

    Args:
        background: at χ = 0.
        analysis: at the minimum, or the mean of draws.
        background_stdev: with z standing for nothing.
        analysis_stdev: likewise.
        columns: root of the covariance of z where the next window starts, rows of shape (k, n).
    """

    background: Seen
    analysis: Seen
    background_stdev: Seen
    analysis_stdev: Seen
    columns: Array


def seen(problem: CycledProblem, chi: Array, move: Move) -> Seen:
    """What χ means."""
    simulation = problem.simulate(chi)
    z = problem.advanced(chi, simulation.trajectory, move.shift)
    control = simulation.control
    kinds = {"biases": control.biases, "parameters": control.parameters, "scales": control.scales}
    scalars = {name: kinds[kind][name] for kind in OTHERS for name in z[kind]}
    predictions = tuple(simulation.predictions.values())
    return Seen(simulation.trajectory.states, predictions, scalars, ravel_pytree(z)[0])


def by_tangent(
    problem: CycledProblem, gaussian: Gaussian, move: Move, rank: int, key: Array
) -> Moments:
    """Moments by the tangent linear at the minimum.

    With more than 1,000 controls the root of the covariance of z has its `rank` leading vectors,
    by the randomised method, and standard deviations are those of as many draws.
    """
    look = lambda chi: seen(problem, chi, move)  # noqa: E731
    analysis, push = jax.linearize(look, gaussian.chi)
    n = gaussian.chi.size
    background = look(jnp.zeros(n))
    if n > WHOLE:
        return _of_few(push, gaussian, background, analysis, rank, key)
    prior = jax.lax.map(push, jnp.eye(n), batch_size=min(n, TOGETHER))
    root = jax.vmap(gaussian.sqrt)(jnp.eye(n))
    posterior = jax.tree.map(lambda columns: jnp.tensordot(root, columns, axes=1), prior)
    return Moments(background, analysis, _stdev(prior), _stdev(posterior), posterior.z)


def by_draws(
    problem: CycledProblem,
    gaussian: Gaussian,
    move: Move,
    members: int,
    key: Array,
    linear: Moments,
) -> Moments:
    """Moments of draws that the model itself has carried; of the background they are linear."""
    draws = balanced_draws(gaussian, members, key)
    several = jax.lax.map(
        lambda chi: seen(problem, chi, move), draws, batch_size=min(members, TOGETHER)
    )
    mean = jax.tree.map(lambda values: jnp.mean(values, axis=0), several)
    columns = jax.tree.map(lambda v, m: (v - m[None]) / jnp.sqrt(len(draws)), several, mean)
    return linear._replace(analysis=mean, analysis_stdev=_stdev(columns), columns=columns.z)


def balanced_draws(gaussian: Gaussian, members: int, key: Array) -> Array:
    """Draws of χ in antithetic pairs, shape (members, n), rounded down to an even number.

    Where there are two for every dimension or more, their covariance in χ's own metric is the
    identity exactly: blocks of random orthogonal vectors of length √n, with their opposites.
    """
    n, half = gaussian.chi.size, members // 2
    normal = jax.random.normal(key, (max(half, 1), n))
    if half >= n:
        blocks = normal[: half - half % n].reshape(-1, n, n)
        normal = jnp.sqrt(n) * jnp.linalg.qr(blocks)[0].reshape(-1, n)
    white = jnp.concatenate([normal, -normal])
    return gaussian.chi[None] + jax.vmap(gaussian.sqrt)(white)


def _of_few(
    push: Callable[[Array], Seen],
    gaussian: Gaussian,
    background: Seen,
    analysis: Seen,
    rank: int,
    key: Array,
) -> Moments:
    """With `rank` leading vectors of the covariance of z, and as many draws for the rest."""
    n = gaussian.chi.size
    for_vectors, for_draws = jax.random.split(key)
    to_z = lambda chi: push(chi).z  # noqa: E731
    back = jax.linear_transpose(to_z, gaussian.chi)
    covariance = lambda v: to_z(gaussian.covariance(back(v)[0]))  # noqa: E731
    size = analysis.z.size
    values, vectors = randomised_eigenpairs(covariance, size, min(rank, size), for_vectors)
    columns = (vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None]).T
    white = jax.random.normal(for_draws, (rank, n)) / jnp.sqrt(rank)
    batch = min(rank, TOGETHER)
    prior = jax.lax.map(push, white, batch_size=batch)
    posterior = jax.lax.map(push, jax.vmap(gaussian.sqrt)(white), batch_size=batch)
    return Moments(background, analysis, _stdev(prior), _stdev(posterior), columns)


def _stdev(columns: Seen) -> Seen:
    """√ of the sum of squares over columns."""
    return jax.tree.map(lambda c: jnp.sqrt(jnp.sum(c**2, axis=0)), columns)
