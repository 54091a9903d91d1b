"""Proposals of importance sampling and tempering, and Metropolis moves fitted to particles."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from assim.devices import program
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.ensemble import blackjax
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import SMALL
from assim.solve.posterior.laplace_posterior import INFORMED
from assim.solve.together import log_density

Array = jax.Array

DEGREES = 5  # of freedom of the t
JITTER = 0.3  # relative, of step sizes: no trajectory closes on itself


class Proposal(eqx.Module):
    """A Gaussian that is moved, stretched and given heavy tails in what the data inform.

    χ = χ* + A^(-1/2)(z + U(m + L s∘a - a)) with z ~ N(0, I) and a = Uᵀz. Along informed directions
    s = (5/u)^½ with one u ~ χ²₅ for all of them, so that they follow a multivariate t with 5
    degrees of freedom; s = 1 along others, which are left to the Gaussian.
    """

    gaussian: Gaussian  # the Laplace approximation, whose coordinates these are
    mean: Array  # m, shape (r,)
    root: Array  # L, lower triangular, shape (r, r)
    informed: Array  # which of the r eigenpairs are informed
    heavy: bool = eqx.field(static=True)  # whether tails are those of a t

    def draw(self, key: Array, number: int) -> tuple[Array, Array]:
        """Draws of χ, shape (number, n), with log of their density over (2π)^(-n/2)."""
        first, second = jax.random.split(key)
        white = jax.random.normal(first, (number, self.gaussian.chi.shape[0]))
        scales = jnp.ones(number)
        if self.heavy:
            scales = jnp.sqrt(DEGREES / jax.random.chisquare(second, DEGREES, (number,)))
        return jax.vmap(self._one)(white, scales)

    def _one(self, white: Array, scale: Array) -> tuple[Array, Array]:
        gaussian = self.gaussian
        a = gaussian.eigenvectors.T @ white
        inner = jnp.where(self.informed, scale * a, 0.0)
        outer = jnp.where(self.informed, 0.0, a)
        z = white + gaussian.eigenvectors @ (self.mean + self.root @ (inner + outer) - a)
        rest = (jnp.sum(white**2) - jnp.sum(jnp.where(self.informed, a, 0.0) ** 2)) / 2
        radial = self._radial(jnp.sum(inner**2), jnp.sum(self.informed))
        return gaussian.at(z), self._log_stretch() - rest + radial

    @program
    def along(self, members: Array) -> Array:
        """Coordinates of χ (N, n) along informed directions, 0 along others, shape (N, r)."""
        a = jax.vmap(self.gaussian.z)(members) @ self.gaussian.eigenvectors
        return jnp.where(self.informed[None], a, 0.0)

    def log_density(self, chi: Array) -> Array:
        """Log q(χ) over (2π)^(-n/2)."""
        gaussian = self.gaussian
        z = gaussian.z(chi)
        a = gaussian.eigenvectors.T @ z
        t = jax.scipy.linalg.solve_triangular(self.root, a - self.mean, lower=True)
        square = jnp.sum(jnp.where(self.informed, t, 0.0) ** 2)
        rest = jnp.sum(z**2) - jnp.sum(a**2) + jnp.sum(jnp.where(self.informed, 0.0, t) ** 2)
        radial = self._radial(square, jnp.sum(self.informed))
        return self._log_stretch() - rest / 2 + radial

    def _log_stretch(self) -> Array:
        stretch = jnp.sum(jnp.log1p(self.gaussian.eigenvalues)) / 2
        return stretch - jnp.sum(jnp.log(jnp.diagonal(self.root)))

    def _radial(self, square: Array, dimensions: Array) -> Array:
        return log_standard_t(square, dimensions) if self.heavy else -square / 2


def log_standard_t(square: Array, dimensions: Array) -> Array:
    """Log of a t's density with 5 degrees of freedom at |t|², over (2π)^(-d/2)."""
    whole = (DEGREES + dimensions) / 2
    constant = gammaln(whole) - gammaln(DEGREES / 2) - dimensions / 2 * np.log(DEGREES / 2)
    return constant - whole * jnp.log1p(square / DEGREES)


def about(gaussian: Gaussian, heavy: bool) -> Proposal:
    """The proposal that is the Laplace approximation itself, with heavier tails if wanted.

    Up to 64 controls all of them count as informed, above those with |λ| > 0.1.
    """
    rank, n = gaussian.eigenvalues.shape[0], gaussian.chi.shape[0]
    informed = (jnp.abs(gaussian.eigenvalues) > INFORMED) | (rank == n <= SMALL)
    return Proposal(gaussian, jnp.zeros(rank), jnp.eye(rank), informed, heavy)


@program
def fitted(proposal: Proposal, members: Array, weights: Array) -> Proposal:
    """The same family with the mean and covariance of a weighted ensemble, in what is informed.

    The covariance is drawn towards that of the Laplace approximation by r parts to 1/Σ w², so that
    it is positive definite however few members χ (N, n), all finite, count.
    """
    a, informed = proposal.along(members), proposal.informed
    mean = weights @ a
    away = a - mean[None]
    effective = 1 / jnp.sum(weights**2)
    share = effective / (effective + jnp.sum(informed))
    identity = jnp.eye(mean.shape[0])
    covariance = share * (weights[:, None] * away).T @ away + (1 - share) * identity
    both = informed[:, None] & informed[None]
    root = jnp.linalg.cholesky(jnp.where(both, covariance, identity))
    return Proposal(proposal.gaussian, mean, root, informed, proposal.heavy)


# ---- moves of tempered particles -----------------------------------------------------------------


@program
def weighted_draws(
    problem: DepartureFunction, proposal: Proposal, key: Array, number: int
) -> tuple[Array, Array]:
    """Draws of χ, shape (number, n), with log p(χ, y) - log q(χ).

    The log weights are normalised so that the mean weight is p(y) but for the likelihood's
    constants, for a prior that integrates to one. χ* stands for draws outside the support, which
    have no weight, and may have no trajectory.
    """
    chi, log_q = proposal.draw(key, number)
    logs = log_density(problem, chi) - log_q
    return jnp.where(jnp.isfinite(logs)[:, None], chi, proposal.gaussian.chi[None]), logs


class Reference(eqx.Module):
    """q(χ): N(0, I), or half of it a t about the minimum, or that alone."""

    proposal: Proposal  # the t
    prior: Array  # share of N(0, I), between 0 and 1

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
    """A Metropolis kernel of blackjax."""

    init: Callable  # of a position and a log density ↦ the kernel's state
    step: Callable  # of a key, a state, a log density and parameters ↦ the next
    parameters: dict[str, Array]  # leading axis 1 where all particles share one, else one each


def trajectories(
    key: Array, particles: Array, weights: Array, step_size: Array, leapfrogs: int
) -> Moves:
    """Hamiltonian Monte Carlo in the metric of particles (N, n), with jittered step sizes.

    Weights of the particles have sum one, the step size is in their standard deviations.
    """
    hmc = blackjax().mcmc.hmc
    kernel = hmc.build_kernel()
    _, covariance = _moments(particles, weights)
    spread = jax.random.uniform(key, weights.shape, minval=-JITTER, maxval=JITTER)

    def move(key: Array, chain: Any, density: Any, step_size: Array, inverse_mass: Array) -> Any:
        return kernel(key, chain, density, step_size, inverse_mass, leapfrogs)

    sizes = step_size * (1 + spread)
    return Moves(hmc.init, move, {"step_size": sizes, "inverse_mass": covariance[None]})


def proposals(origin: Reference, particles: Array, weights: Array) -> Moves:
    """To draws of q, or of a t with the particles' mean and covariance, by equal chance."""
    walk = blackjax().mcmc.random_walk
    mean, covariance = _moments(particles, weights)
    root = jnp.linalg.cholesky(covariance)

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

    return Moves(walk.init, move, {"mean": mean[None], "root": root[None]})


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
