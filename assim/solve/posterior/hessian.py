"""The exact Hessian as a matrix, each part of J by as few columns as it needs."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.solve.cost import DepartureFunction, negative_log_density
from assim.solve.together import by_columns

Array = jax.Array

CONSTANT = 1e-10  # share of the steepest slope of the volume below which an entry does not move it
NEARBY = 0.1  # distance of the points at which that is looked at, in prior standard deviations


def exact_hessian(problem: DepartureFunction, chi: Array) -> np.ndarray:
    """∇²J at χ, the volume v included, shape (n, n).

    A column of ∇²v costs as much as n of the rest. Where the departures are linear in the
    trajectory, v depends on parameters and amplitudes alone: entries along which it has no slope,
    at χ and at two points nearby, have no column.
    """
    n = chi.shape[0]
    matrix = np.array(_density_columns(problem, chi))
    away = NEARBY * jax.random.normal(jax.random.key(0), (3, n), chi.dtype).at[0].set(0.0)
    slopes = np.abs(_volume_slopes(problem, chi[None] + away))
    moving = np.flatnonzero(slopes.max(axis=0) > CONSTANT * slopes.max())
    if moving.size:
        matrix[moving] += np.asarray(_volume_columns(problem, chi, jnp.eye(n)[moving]))
    return (matrix + matrix.T) / 2


@eqx.filter_jit
def _density_columns(problem: DepartureFunction, chi: Array) -> Array:
    slope = jax.grad(partial(negative_log_density, problem))
    return by_columns(jax.linearize(slope, chi)[1], jnp.eye(chi.shape[0], dtype=chi.dtype))


@eqx.filter_jit
def _volume_slopes(problem: DepartureFunction, points: Array) -> Array:
    return jax.lax.map(jax.grad(lambda chi: problem(chi).volume), points)


@eqx.filter_jit
def _volume_columns(problem: DepartureFunction, chi: Array, directions: Array) -> Array:
    slope = jax.grad(lambda chi: problem(chi).volume)
    return by_columns(jax.linearize(slope, chi)[1], directions)
