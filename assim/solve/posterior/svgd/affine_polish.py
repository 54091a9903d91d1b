"""Affine polish: the linear map of an ensemble under which Stein's identity holds."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from assim.solve.cost import DepartureFunction
from assim.solve.posterior.informed import Informed
from assim.solve.posterior.svgd.stein_flow import Particles, moved

Array = jax.Array

STEP = 0.1
GROWN = 1.5  # times its least by which a residual may grow before the polish ends


class SteinResidual(NamedTuple):
    """What is left of Stein's identity for linear functions.

    Args:
        matrix: A = I + (1/N) Σ_j s_j (a_j - m)ᵀ, shape (r, r); the unit of the subspace alone.
        mean: s̄ = (1/N) Σ_j s_j, shape (r,).
        centre: m = (1/N) Σ_j a_j, shape (r,).
    """

    matrix: Array
    mean: Array
    centre: Array

    def norms(self, rank: Array) -> Array:
        """|A|_F/√r and |s̄|, shape (2,)."""
        covariance = jnp.linalg.norm(self.matrix) / jnp.sqrt(jnp.maximum(rank, 1.0))
        return jnp.stack([covariance, jnp.linalg.norm(self.mean)])


def stein_residual(informed: Informed, particles: Particles) -> SteinResidual:
    """Both residuals of Stein's identity; 0 for draws of the posterior as N grows.

    E[s] = 0 and E[s (a - m)ᵀ] = -I wherever the density falls to 0 at infinity and nowhere jumps.
    """
    centre = jnp.mean(particles.a, axis=0)
    product = particles.score.T @ (particles.a - centre[None]) / particles.a.shape[0]
    return SteinResidual(
        jnp.diag(informed.mask) + product, jnp.mean(particles.score, axis=0), centre
    )


class Polish(NamedTuple):
    """Progress of a polish.

    Args:
        particles: with the least residual so far.
        current: where the iteration is.
        least: the least of the larger of both residuals.
        worst: that of the current particles.
        steps: taken so far.
    """

    particles: Particles
    current: Particles
    least: Array
    worst: Array
    steps: Array


def polished(
    problem: DepartureFunction,
    informed: Informed,
    particles: Particles,
    steps: int,
    tolerance: float,
) -> Polish:
    """a_i += ε [A (a_i - m) + s̄] until both residuals are below a tolerance, or one grows.

    Args:
        problem: the departure function.
        informed: the subspace.
        particles: where SVGD left them.
        steps: at most.
        tolerance: of |A|_F/√r and of |s̄|.
    """
    rank = jnp.sum(informed.mask)

    def worst(particles: Particles) -> Array:
        return jnp.max(stein_residual(informed, particles).norms(rank))

    def unfinished(p: Polish) -> Array:
        return (p.steps < steps) & (p.worst > tolerance) & (p.worst <= GROWN * p.least)

    def step(p: Polish) -> Polish:
        residual = stein_residual(informed, p.current)
        away = p.current.a - residual.centre[None]
        a = p.current.a + STEP * (away @ residual.matrix.T + residual.mean[None])
        after, _ = moved(problem, informed, p.current, a)
        now = worst(after)
        better = now < p.least
        keep = jax.tree.map(lambda new, old: jnp.where(better, new, old), after, p.particles)
        return Polish(keep, after, jnp.minimum(now, p.least), now, p.steps + 1)

    now = worst(particles)
    return jax.lax.while_loop(
        unfinished, step, Polish(particles, particles, now, now, jnp.zeros((), int))
    )
