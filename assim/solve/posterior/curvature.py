"""The Laplace approximation as one traceable program, for batches of problems."""

import jax
import jax.numpy as jnp

from assim.solve.cost import (
    DepartureFunction,
    exact_linearisation,
    gauss_newton_linearisation,
)
from assim.solve.krylov import Operator, randomised_eigenpairs
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import FLATTEST, SMALL, Laplace
from assim.solve.together import by_columns

Array = jax.Array


def local_gaussian(
    problem: DepartureFunction, chi: Array, settings: Laplace, key: Array
) -> Gaussian:
    """N(χ, A⁻¹) with A the Hessian of J at χ, as `laplace` finds it, without a certificate.

    The exact Hessian is replaced by Gauss-Newton's where it is not positive definite. Above
    `dense_limit` the eigenpairs are Gauss-Newton's and randomised.

    Args:
        problem: the departure function.
        chi: a minimum of J.
        settings: which Hessian, and its rank.
        key: of random probes.
    """
    n = chi.shape[0]
    if n > settings.dense_limit:
        hessian = gauss_newton_linearisation(problem, chi).hessian
        misfit: Operator = lambda v: hessian(v) - v  # noqa: E731
        values, vectors = randomised_eigenpairs(misfit, n, min(settings.rank, n), key)
        return Gaussian(chi, jnp.maximum(values, -1 + FLATTEST), vectors)
    approximate = gauss_newton_linearisation(problem, chi).hessian
    values, vectors = _decomposed(approximate, n)
    if settings.hessian == "exact" or (
        settings.hessian == "auto" and (n <= SMALL or problem.has_normaliser())
    ):
        exact = _decomposed(exact_linearisation(problem, chi).hessian, n)
        positive = jnp.min(exact[0], initial=0.0) > -1 + FLATTEST
        values = jnp.where(positive, exact[0], values)
        vectors = jnp.where(positive, exact[1], vectors)
    return Gaussian(chi, jnp.maximum(values, -1 + FLATTEST), vectors)


def dual_gaussian(problem: DepartureFunction, chi: Array) -> Gaussian:
    """N(χ, A⁻¹) with A = I + GᵀG by the eigenpairs of GGᵀ, of which there are as many as data.

    Exact, and cheaper than `local_gaussian` where there are fewer data than controls.

    Args:
        problem: the departure function; W = I, and no normaliser.
        chi: a minimum of J.
    """
    d, pull = jax.vjp(lambda chi: problem(chi).normalised, chi)
    g = by_columns(lambda row: pull(row)[0], jnp.eye(d.size))
    values, vectors = jnp.linalg.eigh(g @ g.T)
    values, vectors = jnp.maximum(values[::-1], 0.0), vectors[:, ::-1]
    seen = values > jnp.finfo(values.dtype).eps * values[0]
    scale = jnp.where(seen, 1 / jnp.sqrt(jnp.where(seen, values, 1.0)), 0.0)
    return Gaussian(chi, jnp.where(seen, values, 0.0), (g.T @ vectors) * scale[None])


def _decomposed(hessian: Operator, n: int) -> tuple[Array, Array]:
    """Eigenpairs of A - I, largest first; a wild matrix has those of zero."""
    matrix = by_columns(hessian, jnp.eye(n))
    matrix = (matrix + matrix.T) / 2 - jnp.eye(n)
    matrix = jnp.where(jnp.all(jnp.isfinite(matrix)), matrix, 0.0)
    values, vectors = jnp.linalg.eigh(matrix)
    return values[::-1], vectors[:, ::-1]
