"""The subspace that observations inform, and draws of what is left to the prior."""

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.devices import over_members, program
from assim.solve.cost import DepartureFunction, scored_density
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.together import HELD, batch_size

Array = jax.Array

FLAT = 1e-6  # share of an eigenvector in coordinates without a prior, above which it is kept
LOST = 0.2  # change of the log curvature along a direction that leaves the subspace


class Informed(eqx.Module):
    """χ = χ* + U(1 + Λ)^(-1/2) a + c, with a nearly N(0, I) and c the rest of χ, Uᵀc = 0."""

    gaussian: Gaussian  # the Laplace approximation
    basis: Array  # U, shape (n, r); columns may be there to fill up only
    shrink: Array  # (1 + Λ)^(-1/2), shape (r,); 0 for such columns, along which a stays 0

    @property
    def mask(self) -> Array:
        """1 for a direction of the subspace, 0 for a column that fills up."""
        return jnp.where(self.shrink > 0, 1.0, 0.0)

    def chi(self, a: Array, rest: Array) -> Array:
        """χ of one particle, shape (n,)."""
        return self.gaussian.chi + self.basis @ (self.shrink * a) + rest

    @program
    def several(self, a: Array, rest: Array) -> Array:
        """χ of every particle with its own c, shape (N, n)."""
        return jax.vmap(self.chi)(a, rest)

    def scored(self, problem: DepartureFunction, a: Array, rest: Array) -> tuple[Array, Array]:
        """log p of every particle and its gradient in a; -∞ and 0 where the model is not finite.

        As many together as memory allows on every device.
        """

        def density_and_score(particle: tuple[Array, Array]) -> tuple[Array, Array]:
            density, score = scored_density(problem, self.chi(*particle))
            return density, self.shrink * (self.basis.T @ score)

        return over_members(density_and_score, (a, rest), batch_size(problem))

    def outside(self, white: Array) -> Array:
        """c of white vectors, shape (N, n): drawn from the prior where Laplace knows no better."""
        within = (white @ self.basis) * self.mask[None]
        return jax.vmap(self.gaussian.sqrt)(white - within @ self.basis.T)

    @program
    def antithetic(self, key: Array, number: int) -> Array:
        """c in pairs ±c, independent but for that, shape (number, n)."""
        white = jax.random.normal(key, ((number + 1) // 2, self.gaussian.chi.shape[0]))
        half = self.outside(white)
        return jnp.concatenate([half, -half])[:number]

    def members(self, a: Array, own: Array, free: int, most: int, key: Array) -> Array:
        """χ of every particle with balanced draws of the complement, of dimension `free`.

        At most `most` members; with its own c (N, n) where none of the draws fit.
        """
        number, n = own.shape
        most = min(most, HELD // n)
        each = min(-(-free // number), most // (2 * number))
        if free == 0 or each == 0:
            return self.several(a, own)
        pairs = each * number
        rest = self._balanced(jnp.asarray(float(free)), key, pairs, pairs >= free)
        return self._combined(a, rest)

    @program
    def _balanced(self, free: Array, key: Array, pairs: int, over: bool) -> Array:
        """c whose pairs ±c have the covariance of what is left out, shape (pairs, n).

        With W the white vectors (pairs, n) outside the subspace, of dimension k: the polar factor
        of W, times √pairs where pairs ≥ k, so that WᵀW/pairs is the projection itself and the
        variance of every linear function of c is exact; else rows orthogonal and of length √k.
        """
        n = self.gaussian.chi.shape[0]
        white = jax.random.normal(key, (pairs, n))
        inside = self.basis * self.mask[None]
        white = white - (white @ inside) @ inside.T
        if over:
            values, vectors = jnp.linalg.eigh(white.T @ white / pairs + inside @ inside.T)
            white = ((white @ vectors) / jnp.sqrt(values)[None]) @ vectors.T
        else:
            q, _ = jnp.linalg.qr(white.T)
            white = jnp.sqrt(free) * q.T
        return self.outside(white)

    @program
    def _combined(self, a: Array, rest: Array) -> Array:
        """χ of every particle with the pairs ±c that are its own, shape (2·pairs, n)."""
        every = jnp.repeat(a, rest.shape[0] // a.shape[0], axis=0)
        place = jax.vmap(self.chi)
        return jnp.concatenate([place(every, rest), place(every, -rest)])


def informed(gaussian: Gaussian, weight: Array, cutoff: float) -> Array:
    """Which eigenpairs of a Gaussian span the subspace: |λ| > cutoff or no prior, shape (r,)."""
    flat = jnp.where(weight > 0, 0.0, 1.0) @ gaussian.eigenvectors**2
    return (jnp.abs(gaussian.eigenvalues) > cutoff) | (flat > FLAT)


def survives(metric: Gaussian, laplace: Gaussian, weight: Array, cutoff: float) -> Array:
    """Whether a metric still informs every direction that the Laplace approximation does.

    A direction is lost where most of it lies outside the metric's subspace, and the curvature there
    is not Laplace's. The average of GᵀG loses what c informs: it has no curvature of c.
    """
    overlap = (metric.eigenvectors.T @ laplace.eigenvectors) ** 2
    within = jnp.where(informed(metric, weight, cutoff), 1.0, 0.0) @ overlap
    change = jnp.log((1 + metric.eigenvalues @ overlap) / (1 + laplace.eigenvalues))
    lost = (within < 0.5) & ~(jnp.abs(change) <= LOST)
    return ~jnp.any(informed(laplace, weight, cutoff) & lost)


def either(first: Array, metric: Gaussian, laplace: Gaussian) -> Gaussian:
    """One Gaussian or the other, traceable; the shorter is filled up by eigenvalues of 0."""
    columns = max(metric.eigenvalues.shape[0], laplace.eigenvalues.shape[0])

    def filled(gaussian: Gaussian) -> Gaussian:
        more = columns - gaussian.eigenvalues.shape[0]
        return Gaussian(
            gaussian.chi,
            jnp.pad(gaussian.eigenvalues, (0, more)),
            jnp.pad(gaussian.eigenvectors, ((0, 0), (0, more))),
        )

    return jax.tree.map(lambda a, b: jnp.where(first, a, b), filled(metric), filled(laplace))
