"""The digital filter Jc: its weights, its part of J, and what a problem with one refuses."""

from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import windows

import assim
from assim.models import Lorenz96
from assim.problem.covariance import Diagonal
from assim.problem.cycled import in_carried_coordinates
from assim.problem.departure import Problem
from assim.problem.digital_filter import DigitalFilter, dolph_chebyshev
from assim.problem.predictive import prior_draws
from assim.problem.window import integrate
from assim.solve.cost import cost
from tests.problem.toy import BACKGROUND, Decay

MODEL = Lorenz96(n=5, dt=0.05)
WINDOW = assim.Window.regular(MODEL, slots=4, steps=1)
FILTER = DigitalFilter(weight=30.0, cutoff=0.12)
START = jnp.asarray([8.0, 7.0, 9.0, 8.5, 6.0])
READ = assim.Points.at(jnp.asarray([0.1, 0.2]), {"site": jnp.asarray([1.0, 3.0])})
VALUES = assim.Observations("x", [7.0, 9.0], READ, assim.operator.PointSample("x"), stdev=0.5)


def posed(*instruments: assim.Observations, **options) -> Problem:
    given = (MODEL, WINDOW, {"x": START}, Diagonal(1.0), [VALUES, *instruments])
    return assim.strong_constraint(*given, **options)


@pytest.mark.parametrize(("half", "cutoff"), [(8, 4.0), (8, 6.5), (5, 3.0), (20, 8.0)])
def test_the_weights_are_those_of_dolph_and_chebyshev(half, cutoff):
    """SciPy's window is given by how far it damps, in decibels."""
    points = 2 * half + 1
    damping = 20 * np.log10(np.cosh(2 * half * np.arccosh(1 / np.cos(np.pi / cutoff))))
    expected = windows.chebwin(points, damping)
    np.testing.assert_allclose(dolph_chebyshev(half, cutoff), expected / expected.sum(), atol=1e-14)


def test_at_two_slots_the_filter_is_binomial():
    expected = np.array([comb(16, k) for k in range(17)]) / 2**16
    np.testing.assert_allclose(dolph_chebyshev(8, 2.0), expected, atol=1e-16)
    assert np.isfinite(dolph_chebyshev(400, 2.0)).all()  # where T_2M(x₀) overflows
    assert abs(dolph_chebyshev(400, 2.1).sum() - 1) < 1e-12


def test_oscillations_beyond_the_cutoff_are_taken_away():
    weights, n = dolph_chebyshev(10, 6.0), np.arange(-10, 11)
    passed = {period: weights @ np.cos(2 * np.pi * n / period) for period in (2, 3, 5, 60)}
    assert max(abs(passed[period]) for period in (2, 3, 5)) < 2e-4
    assert passed[60] > 0.9


def test_its_part_of_the_cost():
    """Jc = ½ α |Σ_k w_k x(t_k) - x(t_c)|² by hand; the rest of J as without it."""
    problem, without = posed(digital_filter=FILTER), posed()
    chi = jax.random.normal(jax.random.key(1), (5,))
    states = integrate(MODEL, {"x": START + chi}, {"F": 8.0}, WINDOW).states["x"]
    fast = dolph_chebyshev(2, 0.12 / 0.05) @ states - states[2]
    terms, others = problem.cost_terms(chi), without.cost_terms(chi)
    assert float(terms["digital_filter"]) == pytest.approx(15 * float(fast @ fast), rel=1e-12)
    assert "digital_filter" not in others
    assert float(terms["total"] - others["total"]) == pytest.approx(
        float(terms["digital_filter"]), rel=1e-12
    )
    assert float(cost(problem, chi)) == pytest.approx(float(terms["total"]), rel=1e-12)


def test_a_state_that_stands_still_costs_nothing():
    at_rest = assim.strong_constraint(
        MODEL, WINDOW, {"x": jnp.full(5, 8.0)}, Diagonal(1.0), VALUES, digital_filter=FILTER
    )
    assert float(at_rest.cost_terms(jnp.zeros(5))["digital_filter"]) < 1e-26


def test_weights_field_by_field():
    """Fields without one are not filtered."""
    decay = Decay()
    window = assim.Window.regular(decay, slots=4)
    labels, start = decay.labels(), {n: jnp.asarray(v) for n, v in BACKGROUND.items()}
    states = integrate(decay, start, decay.parameters, window).states
    both = DigitalFilter({"u": 4.0, "total": 9.0}, 0.6).on(labels, window).departures(states)
    total = DigitalFilter({"total": 9.0}, 0.6).on(labels, window).departures(states)
    alike = DigitalFilter(1.0, 0.6).on(labels, window).departures(states)
    np.testing.assert_allclose(both, alike * np.array([3.0, 2.0, 2.0, 2.0]), rtol=1e-12)
    np.testing.assert_allclose(total, both[:1], rtol=1e-12)


def test_its_derivatives():
    problem, chi = posed(digital_filter=FILTER), 0.3 * jnp.ones(5)
    results = assim.derivatives.verify(problem, chi)
    assert all(result.passed for result in results), results


def fast_part(trajectory: assim.Trajectory, points: assim.Points) -> jax.Array:
    """What the filter takes away, as an instrument of one's own would read it."""
    states = trajectory.states["x"]
    fast = jnp.asarray(dolph_chebyshev(2, 0.12 / 0.05)) @ states - states[2]
    return fast[points.coordinates["site"].astype(int)]


@pytest.mark.slow
def test_as_an_instrument_of_ones_own():
    """The same minimum, Laplace posterior and filtered trajectory; statistics are not stated."""
    points = assim.Points.at(jnp.full(5, 0.2), {"site": jnp.arange(5.0)})
    reads = assim.operator.Function(fast_part, "1", ("site",))
    pseudo = assim.Observations("fast", np.zeros(5), points, reads, stdev=30**-0.5)
    minimiser = assim.minimiser.GaussNewton(tolerance=1e-10)
    posterior = assim.posterior.Laplace(members=4)
    own = assim.analyse(posed(pseudo), minimiser, posterior)
    ours = assim.analyse(posed(digital_filter=FILTER), minimiser, posterior)
    assert ours.solution.cost == pytest.approx(own.solution.cost, rel=1e-12)
    np.testing.assert_allclose(ours.state_stdev["x"], own.state_stdev["x"], rtol=1e-9)
    assert ours.chi_squared == pytest.approx(2 * ours.solution.cost, rel=1e-12)
    assert np.isfinite(own.log_evidence()) and np.isnan(ours.log_evidence())
    consistency = assim.finding.consistency(ours)
    assert np.isnan(consistency.degrees) and np.isnan(consistency.p_value)
    assert np.isnan(consistency.instruments["x"].error_variance_ratio)
    assert consistency.chi_squared == pytest.approx(2 * ours.solution.cost, rel=1e-9)


def test_the_filter_waits_for_its_window():
    """Of a window that is lengthened step by step the filter counts in the last stage alone."""
    problem, chi = posed(digital_filter=FILTER), 0.3 * jnp.ones(5)
    first, last = (stage.cost_terms(chi) for stage in problem.lengthened(2))
    assert first["digital_filter"] == 0
    assert float(last["total"]) == pytest.approx(float(cost(problem, chi)), rel=1e-12)


@pytest.mark.parametrize(("slots", "stages"), [(34, 5), (38, 5), (34, 3)])
def test_the_last_stage_is_the_window(slots, stages):
    """0.05 · 34 · 5 / 5 is not 1.7 in double precision."""
    window = assim.Window.regular(MODEL, slots=slots, steps=1)
    given = (MODEL, window, {"x": START}, Diagonal(1.0), VALUES)
    problem = assim.strong_constraint(*given, digital_filter=FILTER)
    *_, before, last = problem.lengthened(stages)
    assert float(last.horizon) == float(window.edges[-1]) > float(before.horizon)
    assert float(last.cost_terms(jnp.ones(5))["digital_filter"]) > 0


def test_under_weak_constraint_both_formulations_agree():
    """J of the same trajectory, from model errors and from states as the control."""
    error = assim.ModelError(Diagonal(0.3), every=2)
    given = (MODEL, WINDOW, {"x": START}, Diagonal(1.0), VALUES)
    options = {"model_error": error, "digital_filter": FILTER}
    forcing = assim.weak_constraint(*given, **options)
    state = assim.weak_constraint(*given, **options, formulation="state")
    chi = 0.4 * jax.random.normal(jax.random.key(2), (forcing.size(),))
    follows = error.on(MODEL, WINDOW).at_jumps(forcing.trajectory(chi).states)
    later = {n: (v - state.control.later[n]) / 0.3 for n, v in follows.items()}
    white = {**state.control.blank(), "later": later}
    white["background"] = forcing.control.split(chi)["background"]
    there = state.cost_terms(state.control.join(white))
    for term, value in forcing.cost_terms(chi).items():
        assert float(there[term]) == pytest.approx(float(value), rel=1e-9, abs=1e-12), term


@pytest.mark.parametrize(
    ("slots", "weight", "cutoff", "message"),
    [
        (3, 1.0, 0.2, r"number of slots must be even.*got 3"),
        (4, 1.0, 0.09, r"cutoff must be at least two slots, 0\.1, got 0\.09"),
        (4, {"y": 1.0}, 0.2, r"no field 'y'; it has x"),
        (4, {}, 0.2, "weight names no field"),
        (4, -1.0, 0.2, "weight must be positive and finite"),
        (4, float("inf"), 0.2, "weight must be positive and finite"),
        (4, 1.0, 0.0, "cutoff must be positive and finite"),
    ],
)
def test_a_filter_that_does_not_fit(slots, weight, cutoff, message):
    window = assim.Window.regular(MODEL, slots=slots)
    with pytest.raises(ValueError, match=message):
        DigitalFilter(weight, cutoff).on(MODEL.labels(), window)


def test_edges_in_single_precision_are_regular():
    """As far as they can be."""
    edges = (12345.678 + 0.1 * np.arange(5.0)).astype(np.float32)
    assert np.ptp(np.diff(edges)) > 5e-4
    fitted = DigitalFilter(1.0, 0.2).on(MODEL.labels(), assim.Window(jnp.asarray(edges)))
    expected = np.array([1, 4, 6 - 16, 4, 1]) / 16
    np.testing.assert_allclose(fitted.coefficients, expected, atol=0.01)


def test_slots_of_different_lengths():
    window = assim.Window(jnp.asarray([0.0, 0.05, 0.15]))
    with pytest.raises(ValueError, match=r"slots must be of one length, got 0\.05 to 0\.1"):
        DigitalFilter(1.0, 0.5).on(MODEL.labels(), window)


def test_what_needs_the_prior_alone_refuses_it():
    problem = posed(digital_filter=FILTER)
    with pytest.raises(ValueError, match="nothing can be drawn from a prior with a digital filter"):
        prior_draws(problem, 3, jax.random.key(0))
    with pytest.raises(ValueError, match="a digital filter is a term of one window"):
        in_carried_coordinates(problem)
