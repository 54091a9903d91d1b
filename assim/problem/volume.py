"""The volume v = ½ log |W + GᵀG| of what estimated scales act over, and parabolas of it."""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.problem.arrays import Array, Params
from assim.problem.integrator import differentiable_by_jacobian

AnyModule = TypeVar("AnyModule", bound=eqx.Module)


def volume(departures: Callable[[Array], Array], block: Array, weight: Array) -> Array:
    """½ log |W + GᵀG| with G = ∂d/∂u of departures d(u) at a block of coordinates, shape (n,)."""
    g = jax.jacfwd(departures)(block)
    return jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(jnp.diag(weight) + g.T @ g))))


def volume_by_jacobian(
    problem: AnyModule, of: Callable[[AnyModule, Array], Array], chi: Array
) -> Array:
    """The volume of a problem at χ where the loop over time steps differentiates forward alone."""
    arrays, rest = eqx.partition(problem, eqx.is_array)

    def at(chi: Array, data: tuple) -> Params:
        return {"volume": of(eqx.combine(data[0], rest), chi)}

    return differentiable_by_jacobian(at)(chi, (arrays,))["volume"]


def orthonormal(rows: Array) -> Array:
    """Orthonormal rows that span those given, shape (k, n); zeros where these span less."""
    values, vectors = jnp.linalg.eigh(rows @ rows.T)
    none = values <= jnp.finfo(values.dtype).eps * jnp.max(values)
    scale = jnp.where(none, 0.0, 1 / jnp.sqrt(jnp.where(none, 1.0, values)))
    return scale[:, None] * (vectors.T @ rows)


class Parabola(eqx.Module):
    """gᵀδ + ½ δᵀMδ of δ = χ - χ*."""

    chi: Array
    slope: Array
    matrix: Array

    @staticmethod
    def of(function: Callable[[Array], Array], chi: Array, basis: Array) -> "Parabola":
        """A function about χ*, with its second derivatives along orthonormal rows, shape (k, n).

        Those between two directions across all of them are left out.
        """
        slope, push = jax.linearize(jax.grad(function), chi)
        columns = jax.lax.map(push, basis)
        across = columns - (columns @ basis.T) @ basis
        matrix = columns.T @ basis + basis.T @ across
        return Parabola(chi, slope, (matrix + matrix.T) / 2)

    def __call__(self, chi: Array) -> Array:
        """Its value at χ, up to that at the centre."""
        away = chi - self.chi
        return self.slope @ away + away @ self.matrix @ away / 2
