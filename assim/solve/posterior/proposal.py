"""Proposals of importance sampling and tempering: a Gaussian moved, stretched, with heavy tails."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import SMALL
from assim.solve.posterior.laplace_posterior import INFORMED

Array = jax.Array

DEGREES = 5  # of freedom of the t


class Proposal(eqx.Module):
    """A Gaussian that is moved, stretched and given heavy tails in what the data inform.

    χ = χ* + A^(-1/2)(z + U(m + L s∘a - a)) with z ~ N(0, I) and a = Uᵀz. Along informed directions
    s = (5/u)^½ with one u ~ χ²₅ for all of them, so that they follow a multivariate t with 5
    degrees of freedom; s = 1 along others, which are left to the Gaussian.

    Args:
        gaussian: the Laplace approximation, whose coordinates these are.
        mean: m, shape (r,).
        root: L, lower triangular, shape (r, r).
        informed: which of the r eigenpairs are informed.
        heavy: whether tails are those of a t.
    """

    gaussian: Gaussian
    mean: Array
    root: Array
    informed: Array
    heavy: bool = eqx.field(static=True)

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
        return gaussian.chi + gaussian.sqrt(z), self._log_stretch() - rest + radial

    def log_density(self, chi: Array) -> Array:
        """Log q(χ) over (2π)^(-n/2)."""
        gaussian = self.gaussian
        z = gaussian.whiten(chi - gaussian.chi)
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


def fitted(proposal: Proposal, members: Array, weights: Array) -> Proposal:
    """The same family with the mean and covariance of a weighted ensemble, in what is informed.

    The covariance is drawn towards that of the Laplace approximation by r parts to 1/Σ w², so that
    it is positive definite however few members count.

    Args:
        proposal: whose Gaussian and directions are kept.
        members: χ, finite, shape (N, n).
        weights: of sum one, shape (N,).
    """
    gaussian, informed = proposal.gaussian, proposal.informed
    whitened = jax.vmap(gaussian.whiten)(members - gaussian.chi[None])
    a = whitened @ gaussian.eigenvectors
    mean = weights @ a
    away = a - mean[None]
    effective = 1 / jnp.sum(weights**2)
    share = effective / (effective + jnp.sum(informed))
    identity = jnp.eye(mean.shape[0])
    covariance = share * (weights[:, None] * away).T @ away + (1 - share) * identity
    both = informed[:, None] & informed[None]
    root = jnp.linalg.cholesky(jnp.where(both, covariance, identity))
    return Proposal(gaussian, jnp.where(informed, mean, 0.0), root, informed, proposal.heavy)
