"""A Gaussian density of χ by the eigenpairs in which it differs from the prior."""

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.devices import program
from assim.solve.cost import DepartureFunction, scored_density

Array = jax.Array

_SMALL = 1e4  # times rounding: variances of which that of a difference from 1 is no small part


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
        """A⁻¹ v, A^(-1/2) taken twice: less than v itself, it is no difference from v."""
        return self.sqrt(self.sqrt(v))

    def root(self, entries: Array) -> Array:
        """Rows M of some entries of χ, whose covariance is MMᵀ, M = [U (1 + Λ)^(-1/2), 1 - UUᵀ].

        Shape (p, r + n).
        """
        rows = self.eigenvectors[entries]
        unit = jax.nn.one_hot(entries, self.chi.shape[0], dtype=rows.dtype)
        outside = unit - rows @ self.eigenvectors.T
        return jnp.concatenate([rows / jnp.sqrt(1 + self.eigenvalues)[None], outside], axis=1)

    def stdev(self) -> Array:
        """Standard deviation of every entry of χ, √(Σ u²/(1 + λ) + 1 - Σ u²), shape (n,).

        Where that is small, what is left of the prior is rounding: entries that lie in the span of
        U, r at most, are then the lengths of their rows of the root.
        """
        squares = self.eigenvectors**2
        within = jnp.sum(squares, axis=1)
        variance = squares @ (1 / (1 + self.eigenvalues)) + jnp.maximum(1 - within, 0.0)
        _, entries = jax.lax.top_k(within, squares.shape[1])

        def refined() -> Array:
            return variance.at[entries].set(jnp.sum(self.root(entries) ** 2, axis=1))

        small = jnp.min(variance) < _SMALL * jnp.finfo(variance.dtype).eps
        return jnp.sqrt(jax.lax.cond(small, refined, lambda: variance))

    @program
    def draws(self, key: Array, number: int) -> Array:
        """Draws of χ in antithetic pairs, shape (number, n)."""
        half = jax.random.normal(key, ((number + 1) // 2, self.chi.shape[0]))
        white = jnp.concatenate([half, -half])[:number]
        return jax.vmap(self.at)(white)
