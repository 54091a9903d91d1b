"""Metropolis moves of particles towards a density, fitted to where they are."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.solve.posterior.proposal import DEGREES, Proposal, log_standard_t

Array = jax.Array

JITTER = 0.3  # relative, of step sizes: no trajectory closes on itself


class Reference(eqx.Module):
    """q(χ): N(0, I), or half of it a t about the minimum, or that alone.

    Args:
        proposal: the t.
        prior: share of N(0, I), between 0 and 1.
    """

    proposal: Proposal
    prior: Array

    def draw(self, key: Array, number: int) -> Array:
        """Draws of χ, the shares as near to exact as a whole number allows, shape (number, n)."""
        first, second = jax.random.split(key)
        near, _ = self.proposal.draw(first, number)
        wide = jax.random.normal(second, near.shape, near.dtype)
        chosen = (jnp.arange(number) + 0.5) / number < self.prior
        return jnp.where(chosen[:, None], wide, near)

    def draw_one(self, key: Array, wide: Array) -> Array:
        """One draw, from the prior if so told."""
        first, second = jax.random.split(key)
        near = self.proposal.draw(first, 1)[0][0]
        return jnp.where(wide, jax.random.normal(second, near.shape, near.dtype), near)

    def log_density(self, chi: Array) -> Array:
        """Log q(χ) over (2π)^(-n/2)."""
        wide = jnp.log(self.prior) - jnp.sum(chi**2) / 2
        return jnp.logaddexp(wide, jnp.log1p(-self.prior) + self.proposal.log_density(chi))


class Moves(NamedTuple):
    """A Metropolis kernel of blackjax.

    Args:
        init: of a position and a log density ↦ the kernel's state.
        step: of a key, a state, a log density and parameters ↦ the next.
        parameters: by name; leading axis 1 where all particles share one, else a particle each.
    """

    init: Callable
    step: Callable
    parameters: dict[str, Array]


def trajectories(
    key: Array, particles: Array, weights: Array, step_size: Array, leapfrogs: int
) -> Moves:
    """Hamiltonian Monte Carlo in the metric of the particles, with jittered step sizes.

    Args:
        key: of the jitter.
        particles: shape (N, n).
        weights: of the particles, of sum one.
        step_size: in their standard deviations.
        leapfrogs: of a trajectory.
    """
    hmc = load_blackjax().mcmc.hmc
    kernel = hmc.build_kernel()
    _, covariance = _moments(particles, weights)
    spread = jax.random.uniform(key, weights.shape, minval=-JITTER, maxval=JITTER)

    def move(key: Array, chain: Any, density: Any, step_size: Array, inverse_mass: Array) -> Any:
        return kernel(key, chain, density, step_size, inverse_mass, leapfrogs)

    sizes = step_size * (1 + spread)
    return Moves(hmc.init, move, {"step_size": sizes, "inverse_mass": covariance[None]})


def proposals(origin: Reference, particles: Array, weights: Array) -> Moves:
    """To draws of q, or of a t with the particles' mean and covariance, by equal chance.

    Args:
        origin: q.
        particles: shape (N, n).
        weights: of the particles, of sum one.
    """
    walk = load_blackjax().mcmc.random_walk
    mean, covariance = _moments(particles, weights)
    root = jnp.linalg.cholesky(covariance)
    parameters = {"mean": mean[None], "root": root[None]}
    return Moves(walk.init, _independent(walk, origin), parameters)


def _independent(walk: Any, origin: Reference) -> Callable:
    def move(key: Array, chain: Any, density: Any, mean: Array, root: Array) -> Any:
        def propose(key: Array) -> Array:
            coin, first, second, third, fourth = jax.random.split(key, 5)
            scale = jnp.sqrt(DEGREES / jax.random.chisquare(second, DEGREES))
            near = mean + scale * (root @ jax.random.normal(first, mean.shape))
            wide = jax.random.uniform(third) < origin.prior
            afar = origin.draw_one(fourth, wide)
            return jnp.where(jax.random.uniform(coin) < 0.5, near, afar)

        def log_density(now: Any, there: Any) -> Array:
            del now  # proposals do not depend on where a chain is
            near = _log_t(there.position, mean, root)
            return jnp.logaddexp(near, origin.log_density(there.position))

        return walk.build_irmh()(key, chain, density, propose, log_density)

    return move


def _log_t(chi: Array, mean: Array, root: Array) -> Array:
    """Log of a multivariate t's density over (2π)^(-n/2)."""
    n = mean.shape[0]
    white = jax.scipy.linalg.solve_triangular(root, chi - mean, lower=True)
    stretch = jnp.sum(jnp.log(jnp.diagonal(root)))
    return log_standard_t(jnp.sum(white**2), jnp.asarray(n)) - stretch


def _moments(particles: Array, weights: Array) -> tuple[Array, Array]:
    """Mean and covariance of the particles, the latter drawn to its diagonal by n parts to N."""
    number, n = particles.shape
    mean = weights @ particles
    away = particles - mean[None]
    matrix = (weights[:, None] * away).T @ away
    diagonal = jnp.diag(jnp.maximum(jnp.diagonal(matrix), 1e-12))
    return mean, (number * matrix + n * diagonal) / (number + n)


def load_blackjax() -> Any:
    """The package, which is an option.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import blackjax
        import blackjax.smc.adaptive_tempered
    except ImportError as e:
        raise ImportError(
            "Tempering needs blackjax, which is not installed: pip install 'assim[mcmc]'"
        ) from e
    return blackjax
