"""Coordinates in which a posterior is nearly N(0, I), from Hessians averaged over Laplace draws."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.solve.cost import (
    FORWARD_LIMIT,
    DepartureFunction,
    gauss_newton_linearisation,
    scored_density,
)
from assim.solve.krylov import Operator, randomised_eigenpairs
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import remainder
from assim.solve.together import by_columns

Array = jax.Array

FORMED = 2000  # controls up to which the averaged Hessian is formed whole
STEEPEST = 1e12  # largest eigenvalue that counts, whatever a wild draw says


class Chart(eqx.Module):
    """z = A^(1/2)(χ - χ*), in which the density N(χ*, A⁻¹) is N(0, I)."""

    gaussian: Gaussian

    def chi(self, z: Array) -> Array:
        """χ of z, shape (n,)."""
        return self.gaussian.chi + self.gaussian.sqrt(z)

    def z(self, chi: Array) -> Array:
        """z of χ, shape (n,)."""
        return self.gaussian.whiten(chi - self.gaussian.chi)

    def scored(self, problem: DepartureFunction, z: Array) -> tuple[Array, Array]:
        """log p and its gradient in z; -∞ and 0 where the model is not finite."""
        density, score = scored_density(problem, self.chi(z))
        return density, self.gaussian.sqrt(score)


def averaged(
    problem: DepartureFunction, gaussian: Gaussian, key: Array, draws: int = 20, rank: int = 200
) -> Gaussian:
    """N(χ*, (W + mean GᵀG)⁻¹), the mean over antithetic draws of a Gaussian; traceable.

    A metric for samplers, never an answer: directions that are informed anywhere in the posterior
    count, those informed at the minimum alone do not. Draws where the model is not finite are
    left out. The Hessian is formed whole up to 2000 controls, else `rank` eigenpairs are kept.

    Args:
        problem: the departure function.
        gaussian: the Laplace approximation, over which the average is taken.
        key: of the draws.
        draws: how many; each costs min(n, departures) gradients at most.
        rank: eigenpairs kept of a large problem.
    """
    n = gaussian.chi.shape[0]
    first, second = jax.random.split(key)
    points = gaussian.draws(first, draws)
    if n <= FORMED:
        matrix = _mean_hessian(problem, points)
        values, vectors = jnp.linalg.eigh(matrix - jnp.eye(n))
    else:
        values, vectors = _low_rank(problem, points, rank, second)
    least = jnp.min(gaussian.eigenvalues, initial=0.0)  # of a flat coordinate is just above -1
    return Gaussian(gaussian.chi, jnp.clip(values, least, STEEPEST)[::-1], vectors[:, ::-1])


def _mean_hessian(problem: DepartureFunction, points: Array) -> Array:
    n = points.shape[1]

    def add(total: tuple[Array, Array], chi: Array) -> tuple[tuple[Array, Array], None]:
        matrix = _hessian(problem, chi)
        fine = jnp.all(jnp.isfinite(matrix))
        matrix = jnp.where(fine, (matrix + matrix.T) / 2, 0.0)
        return (total[0] + matrix, total[1] + fine), None

    blank = (jnp.zeros((n, n)), jnp.zeros(()))
    (total, number), _ = jax.lax.scan(add, blank, points)
    return jnp.where(number > 0, total / jnp.maximum(number, 1.0), jnp.eye(n))


def _hessian(problem: DepartureFunction, chi: Array) -> Array:
    """W + GᵀG, by columns of it or by rows of G, whichever are fewer."""
    n, departures = chi.shape[0], _departures(problem)
    if n <= max(departures, FORWARD_LIMIT):
        product = gauss_newton_linearisation(problem, chi).hessian
        return by_columns(product, jnp.eye(n))
    _, pull = jax.vjp(lambda chi: problem(chi).normalised, chi)
    g = by_columns(lambda row: pull(row)[0], jnp.eye(departures))
    return jnp.diag(problem.weight()) + g.T @ g


def _departures(problem: DepartureFunction) -> int:
    return _no_columns(problem).shape[0]


@eqx.filter_jit
def _no_columns(problem: DepartureFunction) -> Array:
    """No column, as many rows as d has: traced once for all problems of one structure."""
    blank = jax.ShapeDtypeStruct((problem.size(),), jnp.result_type(float))
    return jnp.zeros((jax.eval_shape(lambda chi: problem(chi).normalised, blank).shape[0], 0))


def averaged_cost(problem: DepartureFunction, draws: int = 20, rank: int = 200) -> int:
    """Gradients that `averaged` is worth: one for every column of a Hessian, or row of G."""
    n = problem.size()
    each = min(n, max(_departures(problem), 1)) if n <= FORMED else 2 * rank
    return draws * each


def _low_rank(
    problem: DepartureFunction, points: Array, rank: int, key: Array
) -> tuple[Array, Array]:
    """Eigenpairs of the mean of GᵀG + W - I, smallest first."""
    misfit = _mean_misfit(problem, points)
    values, vectors = randomised_eigenpairs(misfit, points.shape[1], rank, key)
    order = jnp.argsort(values)
    return values[order], vectors[:, order]


def _mean_misfit(problem: DepartureFunction, points: Array) -> Operator:
    def misfit(v: Array) -> Array:
        def at(chi: Array) -> Array:
            return gauss_newton_linearisation(problem, chi).hessian(v) - v

        several = jax.lax.map(at, points)
        fine = jnp.all(jnp.isfinite(several), axis=1)
        count = jnp.maximum(jnp.sum(fine), 1)
        return jnp.sum(jnp.where(fine[:, None], several, 0.0), axis=0) / count

    return misfit


class Cut(NamedTuple):
    """What the eigenpairs that `averaged` did not compute may hold.

    Args:
        nats: estimate of Σ λ ≥ Σ ln(1 + λ) over them.
        smallest: |λ| of the smallest that was computed; 0 where all were.
    """

    nats: Array
    smallest: Array


def cut(
    problem: DepartureFunction, gaussian: Gaussian, metric: Gaussian, key: Array, draws: int = 20
) -> Cut:
    """What `averaged` left out of its metric, for ten products with the mean Hessian.

    Args:
        problem: the departure function.
        gaussian: over which the average was taken.
        metric: the average.
        key: the same as of the average.
        draws: likewise.
    """
    if gaussian.chi.shape[0] <= FORMED:
        return Cut(jnp.zeros(()), jnp.zeros(()))
    first, second = jax.random.split(key)
    misfit = _mean_misfit(problem, gaussian.draws(first, draws))
    probes = jax.random.fold_in(second, 1)
    nats = remainder(misfit, metric.eigenvectors, problem.weight(), probes)
    return Cut(nats, jnp.min(jnp.abs(metric.eigenvalues)))
