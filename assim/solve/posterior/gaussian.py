"""A Gaussian density of χ by the eigenpairs in which it differs from the prior."""

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.devices import program
from assim.solve.cost import DepartureFunction, scored_density

Array = jax.Array


class Gaussian(eqx.Module):
    """N(χ*, A⁻¹) with A = I + U diag(λ) Uᵀ; it is N(0, I) in the coordinates z = A^(1/2)(χ - χ*).

    Args:
        chi: χ*, shape (n,).
        eigenvalues: λ of A - I, largest first, shape (r,): λ > 1 where the data say more than
            the prior, and -1 + small where a flat coordinate is left free.
        eigenvectors: U, shape (n, r).
    """

    chi: Array
    eigenvalues: Array
    eigenvectors: Array

    def sqrt(self, w: Array) -> Array:
        """A^(-1/2) w = w + U((1 + Λ)^(-1/2) - 1)Uᵀ w."""
        shrink = 1 / jnp.sqrt(1 + self.eigenvalues) - 1
        return w + self.eigenvectors @ (shrink * (self.eigenvectors.T @ w))

    def at(self, z: Array) -> Array:
        """χ of z."""
        return self.chi + self.sqrt(z)

    def z(self, chi: Array) -> Array:
        """A^(1/2) δ = δ + U((1 + Λ)^(1/2) - 1)Uᵀ δ with δ = χ - χ*, the inverse of `at`."""
        increment, stretch = chi - self.chi, jnp.sqrt(1 + self.eigenvalues) - 1
        return increment + self.eigenvectors @ (stretch * (self.eigenvectors.T @ increment))

    def scored(self, problem: DepartureFunction, z: Array) -> tuple[Array, Array]:
        """log p and its gradient in z; -∞ and 0 where the model is not finite."""
        density, score = scored_density(problem, self.at(z))
        return density, self.sqrt(score)

    def covariance(self, v: Array) -> Array:
        """A⁻¹ v = v - U Λ/(1 + Λ) Uᵀ v."""
        gain = self.eigenvalues / (1 + self.eigenvalues)
        return v - self.eigenvectors @ (gain * (self.eigenvectors.T @ v))

    def stdev(self) -> Array:
        """Standard deviation of every entry of χ, shape (n,)."""
        gain = self.eigenvalues / (1 + self.eigenvalues)
        return jnp.sqrt(1 - self.eigenvectors**2 @ gain)

    @program
    def draws(self, key: Array, number: int) -> Array:
        """Draws of χ in antithetic pairs, shape (number, n)."""
        half = jax.random.normal(key, ((number + 1) // 2, self.chi.shape[0]))
        white = jnp.concatenate([half, -half])[:number]
        return jax.vmap(self.at)(white)
