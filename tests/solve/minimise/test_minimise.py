"""Minimisers on departure functions with known minima: the cost never rises, every status is met,
distinct minima are told apart, and both ways of driving the loop agree.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from assim import Status
from assim.solve.cost import cost
from assim.solve.minimise.compiled import minimise_compiled
from assim.solve.minimise.gauss_newton import GaussNewton, NewtonCG
from assim.solve.minimise.loop import minimise
from assim.solve.minimise.quasi_newton import LBFGS, Adam
from assim.solve.posterior.laplace import Laplace, laplace
from tests.solve.departures import Misfit, UnknownScale, lorenz63, rosenbrock

NEWTON = {"gauss-newton": GaussNewton(n_outer=100), "newton-cg": NewtonCG(n_outer=100)}


def convection(n=12, seed=0):
    """Lorenz-63 departures over n intervals of 0.1, a window over which it is far from linear."""
    rng = np.random.default_rng(seed)
    blank = Misfit(lorenz63, 3, 1.0, jnp.zeros((n, 2)))
    truth = jnp.asarray(rng.normal(size=3))
    values = -blank(truth).normalised.reshape(n, 2)
    return Misfit(lorenz63, 3, 1.0, values + jnp.asarray(rng.normal(size=(n, 2))))


PROBLEMS = {
    "rosenbrock": (lambda: Misfit(rosenbrock, 4), jnp.array([-1.2, 1.0, -1.2, 1.0])),
    "lorenz63": (convection, jnp.array([2.0, -2.0, 1.5])),
}


@functools.cache
def solved(problem, minimiser):
    make, start = PROBLEMS[problem]
    return make(), minimise(make(), NEWTON[minimiser], start)


@pytest.mark.parametrize("minimiser", NEWTON)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_cost_never_rises(problem, minimiser):
    _, solution = solved(problem, minimiser)
    costs = [loop.cost for loop in solution.loops]
    assert solution.status is Status.CONVERGED
    assert np.all(np.diff(costs[1:]) <= 0), costs
    assert len(solution.loops) > 3


@pytest.mark.parametrize("minimiser", NEWTON)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_minimum(problem, minimiser):
    """A stationary point of positive curvature, found anew by central differences."""
    misfit, solution = solved(problem, minimiser)
    j = jax.jit(lambda chi: cost(misfit, chi))
    step, n = 1e-4, misfit.size()
    slopes = [j(solution.chi + step * e) - j(solution.chi - step * e) for e in jnp.eye(n)]
    assert np.max(np.abs(slopes)) / (2 * step) < 1e-3
    assert abs(solution.cost - float(j(solution.chi))) < 1e-9 * (1 + solution.cost)
    if problem == "rosenbrock":
        np.testing.assert_allclose(solution.chi, 1.0, atol=1e-6)
        assert solution.cost < 1e-12


@pytest.mark.parametrize(
    "minimiser", [LBFGS(), Adam(n_outer=100, n_inner=100)], ids=["lbfgs", "adam"]
)
def test_gradient_methods_on_lorenz63(minimiser):
    """From a start in the same valley, to the minimum that Gauss-Newton finds."""
    misfit, start = convection(n=4), jnp.array([0.1, -0.1, 0.1])
    expected = minimise(misfit, GaussNewton(), start)
    solution = minimise(misfit, minimiser, start)
    assert np.all(np.diff([loop.cost for loop in solution.loops]) <= 0)
    np.testing.assert_allclose(solution.chi, expected.chi, atol=1e-4)


# ---- statuses ------------------------------------------------------------------------------------


def test_out_of_loops():
    problem, start = PROBLEMS["rosenbrock"]
    solution = minimise(problem(), GaussNewton(n_outer=2), start)
    assert solution.status is Status.OUT_OF_LOOPS
    assert "ran out" in solution.status.advice
    assert len(solution.loops) == 2
    assert not solution.minima


def logarithm(chi, data):
    """Only defined for χ > 0; minimum 0 at e."""
    return jnp.log(chi) - 1.0


@pytest.mark.parametrize("minimiser", [*NEWTON.values(), LBFGS(), Adam(n_outer=20)])
def test_not_finite(minimiser):
    solution = minimise(Misfit(logarithm, 1), minimiser, jnp.array([-1.0]))
    assert solution.status is Status.NON_FINITE
    assert solution.cost == np.inf
    assert solution.failed_starts == 1


@pytest.mark.parametrize("minimiser", NEWTON.values(), ids=NEWTON)
def test_a_failed_start_stops_no_other(minimiser):
    starts = jnp.array([[-1.0], [2.0], [-0.3], [4.0]])
    solution = minimise(Misfit(logarithm, 1), minimiser, starts)
    assert solution.status is Status.CONVERGED
    assert (solution.starts, solution.failed_starts) == (4, 2)
    np.testing.assert_allclose(solution.chi, np.e, rtol=1e-6)
    (minimum,) = solution.minima
    assert minimum.starts == 2


@pytest.mark.parametrize("minimiser", NEWTON.values(), ids=NEWTON)
def test_steps_out_of_the_domain_are_shortened(minimiser):
    """The first full step from χ = 15 lands below zero, where J is not finite."""
    solution = minimise(Misfit(logarithm, 1), minimiser, jnp.array([15.0]))
    assert solution.status is Status.CONVERGED
    np.testing.assert_allclose(solution.chi, np.e, rtol=1e-6)


@jax.custom_jvp
def mistaken(chi):
    return 2 * chi


@mistaken.defjvp
def _mistaken_jvp(primals, tangents):
    return mistaken(*primals), -2 * tangents[0]


@pytest.mark.parametrize("minimiser", NEWTON.values(), ids=NEWTON)
def test_stagnated(minimiser):
    """A derivative of the wrong sign: no step along it lowers J."""
    problem = Misfit(lambda chi, data: mistaken(chi), 2)
    solution = minimise(problem, minimiser, jnp.array([1.0, -2.0]))
    assert solution.status is Status.STAGNATED
    assert "No step lowers the cost" in solution.status.advice
    assert solution.cost == pytest.approx(10.0)
    np.testing.assert_allclose(solution.chi, [1.0, -2.0])


def noisy(chi, data):
    """Rounding of 1e-7 in d, as from an integrator of loose tolerance: J has steps of 1e-7."""
    smooth = chi - 1.0 + 0.1 * chi**2
    return smooth + jax.lax.stop_gradient(1e-7 * jnp.sin(1e9 * smooth)) + 30.0


@pytest.mark.parametrize("minimiser", NEWTON.values(), ids=NEWTON)
def test_ends_where_rounding_does(minimiser):
    """A minimum that cannot be told from its neighbours is a minimum."""
    problem = Misfit(noisy, 2, prior=1.0)
    settings = type(minimiser)(tolerance=1e-12)
    solution = minimise(problem, settings, jnp.array([1.0, 2.0]))
    assert solution.status in (Status.CONVERGED, Status.STAGNATED)
    smooth = Misfit(lambda chi, data: chi - 1.0 + 0.1 * chi**2 + 30.0, 2, prior=1.0)
    exact = minimise(smooth, minimiser, jnp.array([1.0, 2.0]))
    assert solution.cost - exact.cost < 1e-4


def test_every_status_has_advice():
    assert all(status.advice.endswith(".") for status in Status)


def test_converged_at_the_start():
    solution = minimise(Misfit(rosenbrock, 3), GaussNewton(), jnp.ones(3))
    assert solution.status is Status.CONVERGED
    assert solution.cost == 0
    np.testing.assert_allclose(solution.chi, 1.0)


# ---- several minima ------------------------------------------------------------------------------

A, B = 3.0, 0.8


def wells(chi, data):
    """½ A²(x² - 1)² + ½ B²(x - 1)² in each coordinate."""
    return jnp.concatenate([A * (chi**2 - 1), B * (chi - 1)])


def well_minima():
    """J = 0 at x = 1; the other minimum solves x² + x + B²/2A² = 0."""
    left = (-1 - np.sqrt(1 - 2 * B**2 / A**2)) / 2
    return {1.0: 0.0, left: A**2 * (left**2 - 1) ** 2 / 2 + B**2 * (left - 1) ** 2 / 2}


@pytest.mark.parametrize("minimiser", NEWTON.values(), ids=NEWTON)
def test_distinct_minima(minimiser):
    """Two wells in each of two coordinates: four minima, each met from its own quarter twice."""
    corners = [(x, y) for x in (-1.3, 1.3) for y in (-1.3, 1.3)]
    starts = jnp.asarray([*corners, *(0.9 * np.asarray(corners))])
    solution = minimise(Misfit(wells, 2), minimiser, starts)
    known = well_minima()
    expected = sorted(known[x] + known[y] for x in known for y in known)
    assert solution.status is Status.CONVERGED
    assert [m.starts for m in solution.minima] == [2, 2, 2, 2]
    np.testing.assert_allclose([m.cost for m in solution.minima], expected, atol=1e-9)
    np.testing.assert_allclose(solution.chi, 1.0, atol=1e-6)
    for minimum in solution.minima:
        assert all(min(abs(x - k) for k in known) < 1e-6 for x in np.asarray(minimum.chi))
    assert abs(solution.loops[-1].cost - solution.cost) < 1e-12


def test_of_minima_that_tie_the_reported_one_stands_first():
    """x² = 1: the left well is met three times, the right one, which settles first, once."""
    problem = Misfit(lambda chi, data: A * (chi**2 - 1), 1)
    solution = minimise(problem, GaussNewton(), jnp.array([[-3.0], [-2.9], [1.0 + 1e-9], [-3.1]]))
    assert [float(np.round(m.chi[0])) for m in solution.minima] == [1.0, -1.0]
    assert [m.starts for m in solution.minima] == [1, 3]
    np.testing.assert_array_equal(solution.minima[0].chi, solution.chi)


def test_negative_curvature():
    """Newton-CG leaves the ridge between the wells downhill, not to its top."""
    problem = Misfit(wells, 2)
    top = (-1 + np.sqrt(1 - 2 * B**2 / A**2)) / 2
    start = jnp.array([top + 1e-3, top - 1e-3])
    curvature = jax.hessian(lambda chi: cost(problem, chi))(start)
    assert np.max(np.linalg.eigvalsh(curvature)) < 0
    solution = minimise(problem, NewtonCG(), start)
    assert solution.status is Status.CONVERGED
    right, left = sorted(well_minima(), reverse=True)
    np.testing.assert_allclose(solution.chi, [right, left], atol=1e-6)


# ---- both ways of driving the loop ---------------------------------------------------------------


def test_compiled_loop_under_vmap():
    """Ten Lorenz-63 windows with their own data, at once and one by one."""
    method = GaussNewton()
    problems = [convection(n=6, seed=seed) for seed in range(10)]
    data = jnp.stack([problem.data for problem in problems])
    start = jnp.array([0.5, -0.5, 0.5])

    @jax.jit
    @jax.vmap
    def together(values):
        state = minimise_compiled(Misfit(lorenz63, 3, 1.0, values), method, start)
        return state.chi, state.cost, state.status

    chi, costs, status = together(data)
    assert np.all(status == Status.CONVERGED)
    for i, problem in enumerate(problems):
        alone = minimise(problem, method, start)
        np.testing.assert_allclose(chi[i], alone.chi, atol=1e-6)
        assert abs(costs[i] - alone.cost) < 1e-9 * (1 + alone.cost)


def test_several_starts_are_as_one_by_one():
    problem = convection()
    starts = jnp.asarray(np.random.default_rng(1).normal(size=(6, 3)))
    together = minimise(problem, GaussNewton(), starts)
    alone = [minimise(problem, GaussNewton(), start) for start in starts]
    assert abs(together.cost - min(one.cost for one in alone)) < 1e-9
    assert sum(m.starts for m in together.minima) == sum(
        one.status is Status.CONVERGED for one in alone
    )


def test_progress_is_reported():
    seen = []
    problem, start = PROBLEMS["rosenbrock"]
    solution = minimise(problem(), GaussNewton(), start, seen.append)
    assert [loop.number for loop in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].cost == solution.cost
    assert seen[-1].gradient_norm == solution.gradient_norm
    assert all(loop.seconds > 0 for loop in seen)


# ---- an improper prior ---------------------------------------------------------------------------


@pytest.mark.parametrize("minimiser", NEWTON.values(), ids=NEWTON)
def test_unknown_scale_with_jeffreys_prior(minimiser):
    """σ² | y ~ inverse gamma (m/2, Σy²/2): minimum and Hessian in log σ in closed form."""
    values = np.random.default_rng(5).normal(scale=2.5, size=40)
    problem, m, total = UnknownScale(jnp.asarray(values)), 40, np.sum(values**2)
    solution = minimise(problem, minimiser, jnp.zeros(1))
    assert solution.status is Status.CONVERGED
    np.testing.assert_allclose(solution.chi, np.log(total / m) / 2, atol=1e-7)
    assert abs(solution.cost - (m / 2 + m * np.log(total / m) / 2)) < 1e-9
    posterior = laplace(problem, solution.chi, Laplace(), jax.random.key(0))
    assert posterior.hessian == "exact Hessian"
    np.testing.assert_allclose(posterior.gaussian.stdev(), 1 / np.sqrt(2 * m), rtol=1e-6)
    assert np.isnan(posterior.log_evidence)
    draws, weights = posterior.sample
    mean = weights @ draws[:, 0]
    error = np.sqrt(1 / posterior.importance.smoothed.effective_draws / (2 * m))
    exact = (np.log(total / 2) - scipy.special.digamma(m / 2)) / 2
    assert abs(mean - exact) < 4 * error
    spread = np.sqrt(weights @ (draws[:, 0] - mean) ** 2)
    assert abs(spread / np.sqrt(scipy.special.polygamma(1, m / 2) / 4) - 1) < 0.04
