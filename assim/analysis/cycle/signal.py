"""How many numbers the observations of a window determine, eigenpairs kept of them or not."""

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from assim.analysis.cycle.posterior import WHOLE
from assim.problem.departure import Problem
from assim.solve.cost import DepartureFunction, gauss_newton_linearisation
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace import deflated_traces

Array = jax.Array

TOLERANCE, PRODUCTS = 1e-3, 100  # of conjugate gradients for one probe


def signal(problem: DepartureFunction, gaussian: Gaussian, key: Array) -> Array:
    """Degrees of freedom for signal, tr (I - A⁻¹) = Σ λ/(1 + λ), at the minimum.

    Where few eigenpairs are kept of a Hessian A, Ã, the trace of Ã⁻¹ - A⁻¹ is added, estimated from
    ten probes of random signs: conjugate gradients with Ã⁻¹ as their preconditioner.
    """
    values, n = jnp.maximum(gaussian.eigenvalues, 0.0), gaussian.chi.size
    kept = jnp.sum(values / (1 + values))
    if values.size >= min(_data(problem, gaussian.chi), n):
        return kept
    hessian = gauss_newton_linearisation(problem, gaussian.chi).hessian

    def missed(v: Array) -> Array:
        near = gaussian.covariance(v)
        whole, _ = cg(hessian, v, near, tol=TOLERANCE, maxiter=PRODUCTS, M=gaussian.covariance)
        return near - whole

    return kept + deflated_traces(missed, jnp.zeros((n, 0)), key)[0]


def _data(problem: DepartureFunction, chi: Array) -> int:
    return int(jax.eval_shape(problem, chi).normalised.size)


def few_vectors(problem: Problem, controls: int, rank: int, known: int) -> dict[str, str]:
    """A remark where more directions may be informed than have a vector.

    Args:
        problem: of a window.
        controls: of it.
        rank: vectors of more than 1,000 controls.
        known: observations up to which every direction that they inform has one.
    """
    data = sum(o.values.size for o in problem.observations)
    if controls <= WHOLE or data <= known:
        return {}
    return {
        "rank": f"{rank} vectors for {controls} controls and {data} observations of a window: in "
        "other directions spreads, and what is carried, are those of the background. The degrees "
        f"of freedom for signal count all of them: where they come near {rank}, give more"
    }
