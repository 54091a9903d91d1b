"""The subspace that observations inform, and draws of what is left to the prior."""

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.solve.cost import DepartureFunction, scored_density
from assim.solve.posterior.gaussian import Gaussian

Array = jax.Array

FLAT = 1e-6  # share of an eigenvector in coordinates without a prior, above which it is kept
LOST = 0.2  # change of the log curvature along a direction that leaves the subspace


class Informed(eqx.Module):
    """χ = χ* + U(1 + Λ)^(-1/2) a + c, with a nearly N(0, I) and c the rest of χ, Uᵀc = 0.

    Args:
        gaussian: the Laplace approximation.
        basis: U, shape (n, r); columns may be there to fill up only.
        shrink: (1 + Λ)^(-1/2), shape (r,); 0 for such columns, along which a stays 0.
    """

    gaussian: Gaussian
    basis: Array
    shrink: Array

    @property
    def mask(self) -> Array:
        """1 for a direction of the subspace, 0 for a column that fills up."""
        return jnp.where(self.shrink > 0, 1.0, 0.0)

    def chi(self, a: Array, rest: Array) -> Array:
        """χ of one particle, shape (n,)."""
        return self.gaussian.chi + self.basis @ (self.shrink * a) + rest

    def scored(self, problem: DepartureFunction, a: Array, rest: Array) -> tuple[Array, Array]:
        """log p and its gradient in a; -∞ and 0 where the model is not finite."""
        density, score = scored_density(problem, self.chi(a, rest))
        return density, self.shrink * (self.basis.T @ score)

    def outside(self, white: Array) -> Array:
        """c of white vectors, shape (N, n): drawn from the prior where Laplace knows no better."""
        within = (white @ self.basis) * self.mask[None]
        return jax.vmap(self.gaussian.sqrt)(white - within @ self.basis.T)


def informed(gaussian: Gaussian, weight: Array, cutoff: float) -> Array:
    """Which eigenpairs of a Gaussian span the subspace: |λ| > cutoff or no prior, shape (r,)."""
    flat = jnp.where(weight > 0, 0.0, 1.0) @ gaussian.eigenvectors**2
    return (jnp.abs(gaussian.eigenvalues) > cutoff) | (flat > FLAT)


def survives(metric: Gaussian, laplace: Gaussian, weight: Array, cutoff: float) -> Array:
    """Whether a metric still informs every direction that the Laplace approximation does.

    A direction is lost where most of it lies outside the metric's subspace, and the curvature there
    is not Laplace's. The average of GᵀG loses what c informs: it has no curvature of c.

    Args:
        metric: a Gaussian whose eigenpairs are to span the subspace.
        laplace: the Laplace approximation.
        weight: of every coordinate of χ.
        cutoff: |λ| above which a direction counts as informed.
    """
    overlap = (metric.eigenvectors.T @ laplace.eigenvectors) ** 2
    within = jnp.where(informed(metric, weight, cutoff), 1.0, 0.0) @ overlap
    change = jnp.log((1 + metric.eigenvalues @ overlap) / (1 + laplace.eigenvalues))
    lost = (within < 0.5) & ~(jnp.abs(change) <= LOST)
    return ~jnp.any(informed(laplace, weight, cutoff) & lost)


def either(first: Array, one: Gaussian, other: Gaussian) -> Gaussian:
    """One Gaussian or the other, traceable; the shorter is filled up by eigenvalues of 0."""
    columns = max(one.eigenvalues.shape[0], other.eigenvalues.shape[0])

    def filled(gaussian: Gaussian) -> Gaussian:
        more = columns - gaussian.eigenvalues.shape[0]
        return Gaussian(
            gaussian.chi,
            jnp.pad(gaussian.eigenvalues, (0, more)),
            jnp.pad(gaussian.eigenvectors, ((0, 0), (0, more))),
        )

    return jax.tree.map(lambda a, b: jnp.where(first, a, b), filled(one), filled(other))
