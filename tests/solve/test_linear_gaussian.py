"""Linear models with Gaussian errors: 4D-Var is the Kalman filter and smoother, the evidence and
the posterior are exact, and truncated eigenpairs agree with the whole matrix.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from assim import Status, analyse
from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG
from assim.solve.minimise.quasi_newton import LBFGS, Adam
from assim.solve.posterior.laplace import Laplace, laplace
from tests.solve.linear import driven, innovation_density, kalman, ring, stacked

CASES = {"driven": driven, "ring": ring}
MINIMISERS = {
    "gauss-newton": GaussNewton(tolerance=1e-10, inner_tolerance=1e-12),
    "newton-cg": NewtonCG(tolerance=1e-10, inner_tolerance=1e-12),
}
CLOSE = 1e-9  # relative to the largest entry


def apart(got, expected):
    return np.max(np.abs(np.asarray(got) - expected)) / np.max(np.abs(expected))


@pytest.fixture(
    scope="module",
    params=[("driven", "gauss-newton"), ("driven", "newton-cg"), ("ring", "gauss-newton")],
    ids="-".join,
)
def analysed(request):
    name, minimiser = request.param
    case = CASES[name]()
    return case, analyse(case.problem, MINIMISERS[minimiser])


@pytest.fixture(scope="module")
def case(analysed):
    return analysed[0]


@pytest.fixture(scope="module")
def analysis(analysed):
    return analysed[1]


@pytest.fixture(scope="module")
def smoothed(case):
    return kalman(case)


def estimated(control, case):
    """z as one vector: the field, then the estimated parameter where there is one."""
    parts = [
        *control.state.values(),
        *(control.parameters[n] for n in case.problem.control.parameters),
    ]
    return ravel_pytree(parts)[0]


def dense_posterior(analysis, case):
    """Covariance of z at the start, and the tangent linear of the field to the window's end."""
    problem, gaussian = case.problem, analysis.laplace.gaussian
    whole = jax.vmap(gaussian.covariance)(jnp.eye(problem.size()))
    chi = gaussian.chi
    to_start = jax.jacfwd(lambda chi: estimated(problem.control(chi), case))(chi)
    to_end = jax.jacfwd(lambda chi: ravel_pytree(problem.trajectory(chi).at_end())[0])(chi)
    return to_start @ whole @ to_start.T, to_end @ whole @ to_end.T


def test_converges_at_once(analysis):
    """A quadratic J needs one Newton step, and one more linearisation to see it."""
    assert analysis.solution.status is Status.CONVERGED
    assert len(analysis.solution.loops) <= 4


def test_smoother_at_the_start(analysis, case, smoothed):
    assert apart(estimated(analysis.analysis.control, case), smoothed.start[0]) < CLOSE
    covariance, _ = dense_posterior(analysis, case)
    assert apart(covariance, smoothed.start[1]) < CLOSE


def test_filter_at_the_end(analysis, case, smoothed):
    mean, covariance = smoothed.end
    field = ravel_pytree(analysis.analysis.trajectory.at_end())[0]
    n = field.size
    assert apart(field, mean[:n]) < CLOSE
    assert apart(dense_posterior(analysis, case)[1], covariance[:n, :n]) < CLOSE


def test_standard_deviations_along_the_trajectory(analysis, case, smoothed):
    (name,) = analysis.trajectory_stdev
    n = analysis.state_stdev[name].size
    expected = [np.sqrt(np.diag(m @ smoothed.start[1] @ m.T))[:n] for m in case.propagators]
    assert apart(analysis.trajectory_stdev[name], np.stack(expected)) < CLOSE
    assert apart(analysis.state_stdev[name], expected[0]) < CLOSE


def test_cost_and_evidence(analysis, case):
    """min J = ½ |y - G z_b|² in (G B Gᵀ + R)⁻¹: half a χ² variable of as many degrees as data."""
    half, log_density = innovation_density(case)
    assert abs(analysis.solution.cost - half) < 1e-9 * half
    assert abs(analysis.cost_analysis["total"] - half) < 1e-9 * half
    innovation, _, r = stacked(case)
    at_background = innovation @ np.linalg.solve(r, innovation) / 2
    assert abs(analysis.cost_background["total"] - at_background) < 1e-9 * at_background
    assert abs(analysis.log_evidence() - log_density) < 1e-8 * abs(log_density)


def test_eigenvalues_and_degrees_of_freedom(analysis, case):
    _, g, r = stacked(case)
    root = np.linalg.solve(np.linalg.cholesky(r), g @ np.linalg.cholesky(case.covariance))
    expected = np.linalg.eigvalsh(root.T @ root)[::-1]
    assert apart(analysis.laplace.eigenvalues, expected) < CLOSE
    signal = np.trace(root.T @ np.linalg.solve(root @ root.T + np.eye(len(r)), root))
    assert abs(analysis.laplace.effective_parameters - signal) < CLOSE * signal


def test_certificate_of_a_gaussian(analysis):
    """Equal weights but for rounding."""
    assert analysis.laplace.k_hat < 0.5
    assert analysis.laplace.importance.smoothed.effective_draws > 0.999 * 10_000
    assert "close to the true one" in analysis.laplace.advice()


def test_quantity_is_exactly_gaussian(analysis, case, smoothed):
    if "b" not in case.problem.control.parameters:
        assert not analysis.quantities  # no scalar is estimated
        return
    quantity = analysis.quantities["b"]
    mean, covariance = smoothed.start
    mean, stdev = mean[-1], np.sqrt(covariance[-1, -1])
    assert abs(quantity.mean - mean) < 1e-8 * stdev
    assert abs(quantity.map - mean) < 1e-8 * stdev
    assert abs(quantity.stddev / stdev - 1) < 1e-8
    z = 1.6448536269514722
    for got, expected in zip((quantity.q05, quantity.q50, quantity.q95), (-z, 0, z), strict=True):
        assert abs((got - mean) / stdev - expected) < 1e-8


@pytest.mark.parametrize(
    ("minimiser", "tolerance"), [(LBFGS(), 1e-6), (Adam(), 1e-3)], ids=["lbfgs", "adam"]
)
def test_gradient_methods(minimiser, tolerance):
    """|∇J| bounds the distance to the minimum in χ, as ∇²J ≥ 1."""
    case = driven()
    solution = analyse(case.problem, minimiser, posterior=None).solution
    z = estimated(case.problem.control(solution.chi), case)
    white = np.linalg.solve(np.linalg.cholesky(case.covariance), z - kalman(case).start[0])
    assert np.linalg.norm(white) < max(tolerance, solution.gradient_norm)
    assert solution.gradient_norm < tolerance


# ---- truncated eigenpairs ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide():
    """A ring of 80 points with 12 observations, its minimum, and the whole posterior."""
    case = ring(n=80, slots=3, sites=4)
    innovation, g, r = stacked(case)
    root = np.linalg.solve(np.linalg.cholesky(r), g @ np.linalg.cholesky(case.covariance))
    hessian = np.eye(80) + root.T @ root
    white = np.linalg.solve(np.linalg.cholesky(r), innovation)
    return case.problem, jnp.asarray(np.linalg.solve(hessian, root.T @ white)), hessian


@pytest.fixture(scope="module")
def truncated(wide):
    return functools.cache(lambda solver, rank: approximate(wide, solver, rank))


def approximate(wide, solver, rank):
    settings = Laplace(rank=rank, eigensolver=solver, dense_limit=10, certificate=100)
    return laplace(wide[0], wide[1], settings, jax.random.key(0))


@pytest.mark.parametrize("solver", ["lanczos", "randomised"])
def test_all_informed_eigenpairs(wide, truncated, solver):
    """As many eigenpairs as observations leave nothing out."""
    _, _, hessian = wide
    posterior = truncated(solver, 12)
    u, values = np.asarray(posterior.eigenvectors), np.asarray(posterior.eigenvalues)
    exact = np.linalg.eigvalsh(hessian)[::-1][:12] - 1
    assert np.linalg.norm(u.T @ u - np.eye(12)) < 1e-8
    assert np.max(np.linalg.norm(hessian @ u - u * (1 + values), axis=0) / (1 + values)) < 1e-4
    np.testing.assert_allclose(values, exact, rtol=1e-9)
    stdev = np.sqrt(np.diag(np.linalg.inv(hessian)))
    np.testing.assert_allclose(posterior.gaussian.stdev(), stdev, rtol=1e-9)
    assert 0 <= posterior.left_out < 1e-8
    assert posterior.k_hat < 0.5


@pytest.mark.parametrize("solver", ["lanczos", "randomised"])
def test_what_is_left_out(wide, truncated, solver):
    """Its trace by Hutchinson's estimate, which exceeds Σ ln(1 + λ)."""
    _, _, hessian = wide
    posterior = truncated(solver, 6)
    exact = np.linalg.eigvalsh(hessian)[::-1] - 1
    np.testing.assert_allclose(posterior.eigenvalues, exact[:6], rtol=1e-4)
    rest = exact[6:]
    standard_error = np.sqrt(2 / 10) * np.linalg.norm(rest)
    assert abs(posterior.left_out - rest.sum()) < 3 * standard_error
    assert posterior.left_out > np.sum(np.log1p(rest))
    assert np.all(posterior.gaussian.stdev() <= 1 + 1e-12)
    assert np.all(posterior.gaussian.stdev() > np.sqrt(np.diag(np.linalg.inv(hessian))) - 1e-6)


def test_draws_and_square_root(wide, truncated):
    """A^(-1/2) squared is A⁻¹; draws are antithetic, and scatter as A⁻¹ says."""
    _, chi, hessian = wide
    gaussian = truncated("lanczos", 12).gaussian
    root = np.asarray(jax.vmap(gaussian.sqrt)(jnp.eye(80)))
    np.testing.assert_allclose(root @ root.T, np.linalg.inv(hessian), atol=1e-9)
    draws = np.asarray(gaussian.draws(jax.random.key(1), 4000))
    np.testing.assert_allclose(draws.mean(axis=0), chi, atol=1e-10)
    spread = draws.std(axis=0) / np.sqrt(np.diag(np.linalg.inv(hessian)))
    assert np.max(np.abs(spread - 1)) < 5 / np.sqrt(2 * 2000)
