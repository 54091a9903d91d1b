"""Covariance of an ensemble, localised."""

import math
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array
from assim.problem.covariance.root import AbstractCovariance, Axes, refusal


class Ensemble(AbstractCovariance):
    """C = ρ ∘ X′X′ᵀ/(N - 1), by its square root alone.

        L w = Σ_k X′_k ∘ (Λ w_k)/√(N - 1)        ρ = Λ Λᵀ, one white vector w_k a member

    so that no matrix of the field's size is formed (Lorenc 2003; Buehner 2005). Without a
    localisation ρ = 1 and w_k is one number.

    Args:
        perturbations: members, shape (N, *field shape); their mean is taken away.
        localisation: ρ, a covariance of variance 1, as `GaspariCohn(length)`; None for none.
    """

    perturbations: Array
    localisation: AbstractCovariance | None = None

    def __init__(
        self,
        perturbations: Array | np.ndarray | list,
        localisation: AbstractCovariance | None = None,
    ) -> None:
        """Centre the members."""
        members = np.asarray(perturbations, dtype=float)
        if members.ndim < 1 or len(members) < 2:
            raise ValueError(
                f"Ensemble: at least 2 members along the first dimension are needed, got shape "
                f"{members.shape}"
            )
        if not np.all(np.isfinite(members)):
            raise ValueError("Ensemble: members must be finite; fill or drop what is missing")
        self.perturbations = jnp.asarray(members - members.mean(axis=0), dtype=float)
        self.localisation = localisation

    def on(self, shape: tuple[int, ...], axes: Axes = ()) -> Self:
        """The members of a field, with the localisation on its grid."""
        if self.perturbations.shape[1:] != shape:
            raise ValueError(
                f"Ensemble: members of shape {self.perturbations.shape[1:]} do not fit a field of "
                f"shape {shape}"
            )
        if self.localisation is None:
            return self
        rho = self.localisation.on(shape, axes)
        if not np.allclose(rho.variance(), 1.0, rtol=1e-6):
            raise ValueError(
                "Ensemble: the localisation's variance must be 1 everywhere; give it stdev = 1"
            )
        return eqx.tree_at(lambda c: c.localisation, self, rho)

    def size(self) -> int:
        """Members times the localisation's size."""
        return len(self.perturbations) * (
            1 if self.localisation is None else self.localisation.size()
        )

    def sqrt(self, w: Array) -> Array:
        """Σ_k X′_k ∘ (Λ w_k)/√(N - 1)."""
        n = len(self.perturbations)
        scaled = self.perturbations / math.sqrt(n - 1)
        if self.localisation is None:
            return jnp.tensordot(w, scaled, axes=1)
        patterns = jax.vmap(self.localisation.sqrt)(w.reshape(n, -1))
        return jnp.sum(scaled * patterns, axis=0)

    def variance(self) -> Array:
        """Sample variance of the members."""
        return jnp.sum(self.perturbations**2, axis=0) / (len(self.perturbations) - 1)

    def no_inverse(self) -> str:
        """It has none."""
        return "its root has a white vector for each member, and is not square"

    def whiten(self, field: Array) -> Array:
        """Refused."""
        raise refusal(self)

    def log_sqrt_determinant(self) -> Array:
        """Refused."""
        raise refusal(self)
