"""Coordinates in which a posterior is nearly N(0, I), from Hessians averaged over Laplace draws."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from assim.devices import program
from assim.solve.cost import FORWARD_LIMIT, DepartureFunction, gauss_newton_linearisation
from assim.solve.krylov import Operator, randomised_eigenpairs
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import remainder
from assim.solve.together import by_columns

Array = jax.Array

FORMED = 2000  # controls up to which the averaged Hessian is formed whole
RANK = 200  # eigenpairs kept above that
STEEPEST = 1e12  # largest eigenvalue that counts, whatever a wild draw says


def averaged(
    problem: DepartureFunction, gaussian: Gaussian, key: Array, draws: int = 20
) -> Gaussian:
    """N(χ*, (W + mean GᵀG)⁻¹), the mean over antithetic draws of a Gaussian; traceable.

    A metric for samplers, never an answer: directions that are informed anywhere in the posterior
    count, those informed at the minimum alone do not. Draws where the model is not finite are
    left out; each of the others costs min(n, departures) gradients at most. The Hessian is formed
    whole up to 2000 controls, else 200 eigenpairs are kept.
    """
    n = gaussian.chi.shape[0]
    first, second = jax.random.split(key)
    points = gaussian.draws(first, draws)
    if n <= FORMED:
        matrix = _mean_hessian(problem, points)
        values, vectors = jnp.linalg.eigh(matrix - jnp.eye(n))
    else:
        values, vectors = randomised_eigenpairs(_mean_misfit(problem, points), n, RANK, second)
        order = jnp.argsort(values)
        values, vectors = values[order], vectors[:, order]
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


@program
def _no_columns(problem: DepartureFunction) -> Array:
    """No column, as many rows as d has: traced once for all problems of one structure."""
    blank = jax.ShapeDtypeStruct((problem.size(),), jnp.result_type(float))
    return jnp.zeros((jax.eval_shape(lambda chi: problem(chi).normalised, blank).shape[0], 0))


def averaged_cost(problem: DepartureFunction, draws: int = 20) -> int:
    """Gradients that `averaged` is worth: one for every column of a Hessian, or row of G."""
    n = problem.size()
    each = min(n, max(_departures(problem), 1)) if n <= FORMED else 2 * RANK
    return draws * each


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
    """What the eigenpairs that `averaged` did not compute may hold."""

    nats: Array  # estimate of Σ λ ≥ Σ ln(1 + λ) over them
    smallest: Array  # |λ| of the smallest that was computed; 0 where all were


def cut(
    problem: DepartureFunction, gaussian: Gaussian, metric: Gaussian, key: Array, draws: int = 20
) -> Cut:
    """What `averaged`, with the same key and draws, left out of its metric: ten products."""
    if gaussian.chi.shape[0] <= FORMED:
        return Cut(jnp.zeros(()), jnp.zeros(()))
    first, second = jax.random.split(key)
    misfit = _mean_misfit(problem, gaussian.draws(first, draws))
    probes = jax.random.fold_in(second, 1)
    nats = remainder(misfit, metric.eigenvectors, problem.weight(), probes)
    return Cut(nats, jnp.min(jnp.abs(metric.eigenvalues)))
