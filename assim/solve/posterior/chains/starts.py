"""Where chains start: half near the minimum by weight, half far away, from the prior."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from assim.solve.cost import DepartureFunction
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.metric import Chart
from assim.solve.together import log_density

Array = jax.Array

NEAR = 256  # draws of the Laplace Gaussian among which starts are chosen, χ* being one
FAR = 8  # draws of the prior for every chain that starts from it
WIDENED = 2.0  # standard deviations of Laplace draws where there is no prior to draw from
DESCENT = 100  # steps down from the prior
SLOWEST = 0.02  # of them, the last one's size


class Starts(NamedTuple):
    """Points to start from, the first ⌈chains/2⌉ of them near the minimum.

    Args:
        z: shape (chains, n).
        log_density: v - J there.
        score: its gradient in z.
        own: which of those from the prior are draws of it, others having been replaced by χ*.
    """

    z: Array
    log_density: Array
    score: Array
    own: Array


def starts(
    problem: DepartureFunction, chart: Chart, gaussian: Gaussian, key: Array, chains: int
) -> Starts:
    """Draws of the Laplace Gaussian chosen by weight, and draws of the prior after a descent.

    The weights are exp(v - J)/q; choosing without replacement by Gumbel's maxima. Draws at which
    the model is not finite have no weight. Where a coordinate has no prior of its own, draws of
    the Gaussian with twice its width stand for those of the prior. Traceable.

    Args:
        problem: the departure function.
        chart: coordinates z.
        gaussian: q, the Laplace Gaussian.
        key: of the draws.
        chains: how many.
    """
    keys = jax.random.split(key, 4)
    far = chains // 2
    white = jax.random.normal(keys[0], (NEAR, problem.size())).at[0].set(0.0)
    near = gaussian.chi[None] + jax.vmap(gaussian.sqrt)(white)
    others = _prior(problem, gaussian, keys[1], FAR * far)
    densities = log_density(problem, jnp.concatenate([near, others]))
    weights = jnp.sum(white**2, axis=1) / 2 + densities[:NEAR]
    finite = jnp.where(jnp.isfinite(densities[NEAR:]), 0.0, -jnp.inf)
    near, fine = _chosen(near, weights, keys[2], chains - far)
    others, own = _chosen(others, finite, keys[3], far)
    chi = jnp.concatenate([near, others])
    chi = jnp.where(jnp.concatenate([fine, own])[:, None], chi, gaussian.chi[None])
    moving = jnp.arange(chains) >= chains - far
    descend = jax.vmap(lambda chi, moving: _descended(problem, chart, chart.z(chi), moving))
    return Starts(*descend(chi, moving), own)


def cost_of_starts(chains: int) -> tuple[int, int]:
    """Gradients and evaluations of J alone that `starts` takes."""
    return DESCENT * chains, NEAR + FAR * (chains // 2)


def _chosen(chi: Array, log_weights: Array, key: Array, number: int) -> tuple[Array, Array]:
    """As many rows, and which of them have a weight at all."""
    perturbed = log_weights + jax.random.gumbel(key, log_weights.shape)
    value, index = jax.lax.top_k(jnp.where(jnp.isnan(perturbed), -jnp.inf, perturbed), number)
    return chi[index], jnp.isfinite(value)


def _prior(problem: DepartureFunction, gaussian: Gaussian, key: Array, number: int) -> Array:
    white = jax.random.normal(key, (number, problem.size()))
    widened = gaussian.chi[None] + WIDENED * jax.vmap(gaussian.sqrt)(white)
    return jnp.where(jnp.all(problem.weight() > 0), white, widened)


class _Descent(NamedTuple):
    z: Array
    log_density: Array
    score: Array
    first: Array  # moments of Adam
    second: Array
    shrunk: Array


def _descended(
    problem: DepartureFunction, chart: Chart, z: Array, moving: Array
) -> tuple[Array, Array, Array]:
    """Down from z by Adam (Kingma & Ba 2015), its rate falling from a twentieth of the way.

    A step to where the model is not finite is not made, and the next one is half as long. Without
    `moving` nothing but log p and its gradient at z.
    """
    fastest = jnp.maximum(0.1, jnp.sqrt(jnp.mean(z**2)) / 20)

    def step(now: _Descent, count: Array) -> tuple[_Descent, None]:
        rate = now.shrunk * fastest * (SLOWEST / fastest) ** (count / DESCENT)
        first = 0.9 * now.first + 0.1 * now.score
        second = 0.99 * now.second + 0.01 * now.score**2
        age = jnp.maximum(count, 1.0)
        ahead = first / (1 - 0.9**age) / (jnp.sqrt(second / (1 - 0.99**age)) + 1e-30)
        tried = jnp.where(moving & (count > 0), now.z + rate * ahead, now.z)
        density, score = chart.scored(problem, tried)
        fine = jnp.isfinite(density)
        z = jnp.where(fine, tried, now.z)
        density = jnp.where(fine, density, now.log_density)
        score = jnp.where(fine, score, now.score)
        shrunk = jnp.where(fine, now.shrunk, now.shrunk / 2)
        return _Descent(z, density, score, first, second, shrunk), None

    blank, zero = jnp.zeros_like(z), jnp.zeros(())
    begin = _Descent(z, zero - jnp.inf, blank, blank, blank, zero + 1)
    end, _ = jax.lax.scan(step, begin, jnp.arange(0.0, DESCENT))
    return end.z, end.log_density, end.score
