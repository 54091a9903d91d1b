"""Positive definite kernels between particles: the force of SVGD, and the Stein discrepancy.

Everything here costs O(N²) products of vectors and holds O(N) numbers times a block's width: pairs
of particles are met a block of rows at a time, their distances by |x|² + |y|² - 2 xᵀy.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from assim.devices import over_members, program
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.together import batch_size

Array = jax.Array

KERNELS = ("rbf", "imq")
PAIRS = 1_000_000  # numbers that a block of pairs may hold
COMPARED = 300  # particles, evenly spread, whose distances give the bandwidth


def kernel_values(kernel: str, squares: Array, bandwidth: Array) -> tuple[Array, Array]:
    """k and -2 ∂k/∂|δ|² of squared distances.

    "rbf" is exp(-|δ|²/h), "imq" the inverse multiquadric (1 + |δ|²/h)^(-1/2). The gradient of k in
    its first argument is the second value times -δ.
    """
    scaled = squares / bandwidth
    if kernel == "rbf":
        k = jnp.exp(-scaled)
        return k, 2 * k / bandwidth
    k = 1 / jnp.sqrt(1 + scaled)
    return k, k**3 / bandwidth


def median_bandwidth(points: Array) -> Array:
    """Median of the squared distances between particles, never 0; of 300 of them where more."""
    number = points.shape[0]
    points = points[:: -(-number // COMPARED)]
    squares = jax.vmap(lambda x: _squares(x, points))(points)
    rows, columns = jnp.triu_indices(points.shape[0], 1)
    median = jnp.median(squares[rows, columns]) if rows.size else jnp.ones(())
    return jnp.maximum(median, 1e-12)


def kernel_matrix(points: Array, kernel: str, bandwidth: Array) -> Array:
    """K_ij = k(x_i, x_j), shape (N, N): for few particles."""
    return jax.vmap(lambda x: kernel_values(kernel, _squares(x, points), bandwidth)[0])(points)


def stein_force(points: Array, scores: Array, kernel: str, bandwidth: Array) -> Array:
    """φ_i = (1/N) Σ_j [k(x_j, x_i) s_j + ∇_{x_j} k(x_j, x_i)], shape (N, r).

    The steepest descent of the Kullback-Leibler divergence to the posterior in the unit ball of
    the kernel's space (Liu & Wang 2016, NeurIPS 29, eq. 8), of points x and scores s = ∇ log p.
    """

    def row(x: Array) -> Array:
        k, slope = kernel_values(kernel, _squares(x, points), bandwidth)
        return (k @ scores + jnp.sum(slope) * x - slope @ points) / points.shape[0]

    return _by_rows(row, points)


class SteinDiscrepancy(NamedTuple):
    """Kernelised Stein discrepancy of an ensemble."""

    value: Array
    of_draws: Array  # root mean square of what as many independent draws would have


def stein_discrepancy(
    points: Array, scores: Array, weights: Array, rank: Array | None = None
) -> SteinDiscrepancy:
    """√(Σ_ij w_i w_j u(x_i, x_j)) with the Stein kernel u of the inverse multiquadric.

    u(x, y) = sₓᵀs_y k + sₓᵀ∇_y k + s_yᵀ∇ₓk + tr ∇ₓ∇_y k (Gorham & Mackey 2017, ICML, section 3),
    k = (1 + |x - y|²/h)^(-1/2). h is the number of coordinates, so that values of several
    ensembles of one posterior compare. Of independent draws E Σ w² u(x, x) remains.

    Args:
        points: members in coordinates in which the posterior is nearly N(0, I), shape (N, r).
        scores: ∇ log p there, shape (N, r).
        weights: of sum one, shape (N,).
        rank: coordinates that count, where others are there to fill up, with x = s = 0.
    """
    rank = jnp.asarray(float(points.shape[1])) if rank is None else jnp.maximum(rank, 1.0)
    along = jnp.sum(scores * points, axis=1)

    def row(member: tuple[Array, Array, Array]) -> Array:
        x, s, w = member
        squares = _squares(x, points)
        k, slope = kernel_values("imq", squares, rank)
        apart = (s @ x - points @ s) - (scores @ x - along)  # (sₓ - s_y)ᵀ(x - y)
        trace = rank * slope - 3 * squares * k**5 / rank**2
        return w * ((k * (scores @ s) + slope * apart + trace) @ weights)

    total = jnp.sum(_by_rows(row, (points, scores, weights)))
    alone = jnp.sum(scores**2, axis=1) + 1.0
    return SteinDiscrepancy(
        jnp.sqrt(jnp.maximum(total, 0.0)), jnp.sqrt(jnp.sum(weights**2 * alone))
    )


def kernelised_stein_discrepancy(
    problem: DepartureFunction, members: Array, weights: Array, gaussian: Gaussian
) -> float:
    """Kernelised Stein discrepancy of any ensemble, in the coordinates of a Laplace approximation.

    See `stein_discrepancy`; about √((n + 1)/N) of N independent draws of the posterior. It costs a
    gradient for every member. NaN where the model is not finite at a member.

    Args:
        problem: the departure function.
        members: χ, shape (N, n).
        weights: of sum one, shape (N,).
        gaussian: the Laplace approximation.
    """
    return float(_of_members(problem, members, weights, gaussian))


@program
def _of_members(
    problem: DepartureFunction, members: Array, weights: Array, gaussian: Gaussian
) -> Array:
    points = jax.vmap(gaussian.z)(members)
    batch = batch_size(problem)
    density, scores = over_members(lambda z: gaussian.scored(problem, z), points, batch)
    value = stein_discrepancy(points, scores, weights).value
    return jnp.where(jnp.all(jnp.isfinite(density)), value, jnp.nan)


def _squares(x: Array, points: Array) -> Array:
    """|x - y|² for every row y of points, shape (N,)."""
    return jnp.maximum(x @ x + jnp.sum(points**2, axis=1) - 2 * points @ x, 0.0)


def _by_rows(function: Callable[[Any], Array], rows: Any) -> Array:
    """The function of every row, as many rows together as `PAIRS` allows."""
    number = jax.tree.leaves(rows)[0].shape[0]
    return over_members(function, rows, max(1, PAIRS // number))
