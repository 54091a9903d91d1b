"""A cycle of a linear model equals the Kalman filter, and its windows' starts the smoother."""

import dataclasses
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.analysis.cycle import posterior, signal, static, variational
from assim.analysis.cycle.cycle import Cycle
from assim.analysis.cycle.inflation import Inflated, Innovation
from assim.analysis.cycle.plan import Plan
from assim.analysis.cycle.static import ThreeDVar
from assim.analysis.cycle.variational import FourDVar
from assim.solve.posterior import laplace
from tests.cycle.toy import (
    BACKGROUND,
    B,
    H,
    N,
    R,
    batch_posterior,
    in_turn,
    kalman,
    matrix,
    traced,
    twin,
)

MINIMISER = assim.minimiser.GaussNewton(n_outer=3, tolerance=1e-12)
WINDOWS = 7


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-8)


def of_state(found):
    """Mean and covariance without the drift."""
    return found[0][:N], found[1][:N, :N]


def slow(*given):
    return pytest.param(*given, marks=pytest.mark.slow)


@pytest.mark.parametrize("lag", [slow(1), 3])
def test_the_posterior_carried_is_the_kalman_filter(lag):
    given = twin(FourDVar(minimiser=MINIMISER), Plan(lag, 1), WINDOWS)
    for number, (_, analysed, _) in enumerate(in_turn(given, WINDOWS)):
        mean, covariance = of_state(kalman(given.observed)[number])
        newest = min(number + 1, lag)
        close(analysed.analysis["x"][newest], mean)
        close(analysed.analysis_stdev["x"][newest], np.sqrt(np.diag(covariance)))


def test_the_windows_start_is_the_smoother():
    given = twin(FourDVar(minimiser=MINIMISER), Plan(3, 1), WINDOWS)
    for number, (_, analysed, _) in enumerate(in_turn(given, WINDOWS)):
        mean, covariance = batch_posterior(given.observed[: number + 1])
        m = np.linalg.matrix_power(matrix(), int(given.cycle.plan.first_slot(number)))
        close(analysed.analysis["x"][0], m @ mean)
        close(analysed.analysis_stdev["x"][0], np.sqrt(np.diag(m @ covariance @ m.T)))


def test_observations_that_enter_several_windows_count_once():
    """After the last window the powers of the first batches have added up to one."""
    plan = Plan(3, 1, "several")
    given = twin(FourDVar(minimiser=MINIMISER), plan, WINDOWS)
    number = WINDOWS - 1
    _, analysed, _ = in_turn(given, WINDOWS)[-1]
    powers = np.minimum(1.0, (WINDOWS - np.arange(WINDOWS)) / 3)
    mean, covariance = batch_posterior(given.observed, powers)
    m = np.linalg.matrix_power(matrix(), int(plan.first_slot(number)))
    close(analysed.analysis["x"][0], m @ mean)
    close(analysed.analysis_stdev["x"][0], np.sqrt(np.diag(m @ covariance @ m.T)))


def test_draws_carry_the_covariance_exactly_where_the_model_is_linear():
    """Draws in balanced blocks have the posterior's moments, and the model keeps them."""
    scheme = FourDVar(carry="ensemble", members=8, minimiser=MINIMISER)
    given = twin(scheme, Plan(1, 1), WINDOWS)
    for number, (_, analysed, _) in enumerate(in_turn(given, WINDOWS)):
        mean, covariance = of_state(kalman(given.observed)[number])
        close(analysed.analysis["x"][-1], mean)
        close(analysed.analysis_stdev["x"][-1], np.sqrt(np.diag(covariance)))


@pytest.mark.parametrize("forgetting", [slow(0.0), 0.1])
def test_parameters_are_carried_with_what_is_known_of_them(forgetting):
    """Joint with the state, and given back a share of their prior's variance."""
    scheme = FourDVar(forgetting=forgetting, minimiser=MINIMISER)
    prior = {"drift": assim.prior.Normal(0.0, 0.4)}
    given = twin(scheme, Plan(1, 1), WINDOWS, prior)
    expected = kalman(given.observed, drift=0.4, forgetting=forgetting)
    for (mean, covariance), (_, analysed, _) in zip(expected, in_turn(given, WINDOWS), strict=True):
        close(analysed.analysis["x"][-1], mean[:N])
        close(analysed.scalars["drift"], mean[N])
        close(analysed.scalars_stdev["drift"], np.sqrt(covariance[N, N]))


@pytest.mark.parametrize(
    ("lag", "formulation"), [slow(1, "forcing"), slow(1, "state"), slow(3, "state")]
)
def test_model_errors_are_those_of_the_kalman_filter(lag, formulation):
    """Also in windows that overlap, which hand on those of the slots that they share."""
    error = assim.ModelError(assim.covariance.Diagonal(0.2))
    scheme = FourDVar(minimiser=MINIMISER)
    given = twin(scheme, Plan(lag, 1), WINDOWS, error=error, formulation=formulation)
    expected = kalman(given.observed, q=0.04)
    for number, (_, analysed, _) in enumerate(in_turn(given, WINDOWS)):
        mean, covariance = of_state(expected[number])
        newest = min(number + 1, lag)
        close(analysed.analysis["x"][newest], mean)
        close(analysed.analysis_stdev["x"][newest], np.sqrt(np.diag(covariance)))


def test_model_errors_correlated_in_time_in_windows_that_overlap_are_refused():
    error = assim.ModelError(
        assim.covariance.Diagonal(0.2), in_time=assim.covariance.Autoregressive(1.0, 1.0)
    )
    given = twin(FourDVar(), Plan(2, 1), 2, error=error)
    with pytest.raises(ValueError, match="overlap"):
        given.cycle.start()


def test_low_rank_keeps_the_leading_vectors_beside_a_static_share():
    """In units of the static standard deviations; the next window has rank + n white numbers."""
    scheme = FourDVar(rank=3, share=0.1, inflation=1.1, minimiser=MINIMISER)
    given = twin(scheme, Plan(1, 1), 2)
    (carry, analysed, _), (_, after, _) = in_turn(given, 2)
    mean, covariance = of_state(kalman(given.observed)[0])
    close(analysed.analysis["x"][-1], mean)
    scale = np.sqrt(np.diag(B))
    values, vectors = np.linalg.eigh(1.1**2 * covariance / np.outer(scale, scale))
    leading = (vectors[:, 1:] * values[1:]) @ vectors[:, 1:].T * np.outer(scale, scale)
    found = np.asarray(carry.background.vectors["background"]["x"])
    close(found.T @ found, leading)
    p = leading + 0.1 * B
    forecast = matrix() @ p @ matrix().T
    close(after.background_stdev["x"][-1], np.sqrt(np.diag(forecast)))


def test_many_controls_take_the_randomised_way_to_the_same_covariance(monkeypatch):
    """Beyond a number of controls no matrix of them is formed."""
    monkeypatch.setattr(posterior, "WHOLE", 3)
    given = twin(FourDVar(rank=4, minimiser=MINIMISER), Plan(1, 1), 3)
    for number, (carry, analysed, _) in enumerate(in_turn(given, 3)):
        mean, covariance = of_state(kalman(given.observed)[number])
        close(analysed.analysis["x"][-1], mean)
        vectors = np.asarray(carry.background.vectors["background"]["x"])
        close(vectors.T @ vectors, covariance)


@pytest.mark.parametrize("overlap", ["newest", slow("several")])
def test_all_windows_are_traced_once(overlap):
    """Also the first ones, in which a cycle fills up, and whatever was handed on."""
    given = twin(FourDVar(minimiser=MINIMISER), Plan(3, 1, overlap), WINDOWS)
    in_turn(given, 1)
    before = len(traced)
    in_turn(given, WINDOWS)
    assert len(traced) == before > 0


@pytest.mark.parametrize("carry", [slow("static"), slow("posterior"), "ensemble"])
def test_loop_and_scan_give_the_same_figures(carry):
    scheme = FourDVar(carry=carry, inflation=1.02, share=0.3, members=8, minimiser=MINIMISER)
    given = twin(scheme, Plan(3, 1), WINDOWS)
    looped = [measures for _, _, measures in in_turn(given, WINDOWS)]
    _, scanned = given.cycle.scan(WINDOWS, given.edges, given.batches, given.truth)
    stacked = jax.tree.map(lambda *several: np.stack(several), *looped)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), stacked, scanned
    )


def test_localised_members_keep_the_kalman_filters_covariance_of_their_own():
    """Everything correlated with everything: the update of the sample covariance, exactly."""
    localisation = assim.covariance.GaspariCohn(0.0)
    scheme = FourDVar(carry="ensemble", members=7, localisation=localisation, minimiser=MINIMISER)
    given = twin(scheme, Plan(1, 1), 3)
    m, p = matrix(), None
    for number, (carry, analysed, _) in enumerate(in_turn(given, 3)):
        if p is not None:
            forecast = m @ p @ m.T
            gain = forecast @ H.T @ np.linalg.inv(H @ forecast @ H.T + R * np.eye(2))
            expected = forecast - gain @ H @ forecast
            close(analysed.analysis_stdev["x"][-1], np.sqrt(np.diag(expected)))
            increment = gain @ (given.observed[number] - H @ analysed.background["x"][-1])
            close(analysed.analysis["x"][-1], analysed.background["x"][-1] + increment)
        vectors = np.asarray(carry.background.vectors["background"]["x"])
        p = vectors.T @ vectors


def test_innovations_of_windows_that_share_observations_are_of_the_newest():
    """The background has not seen those; of the others it has seen a share."""
    given = twin(FourDVar(minimiser=MINIMISER), Plan(3, 1, "several"), WINDOWS)
    for number, (_, analysed, measures) in enumerate(in_turn(given, WINDOWS)):
        edge = min(number + 1, 3)
        innovation = given.observed[number] - H @ np.asarray(analysed.background["x"][edge])
        variance = np.asarray(analysed.background_stdev["x"][edge][:2]) ** 2 + R
        found = measures.innovations[0]
        close(found.number, 2.0)
        close(found.mean, np.sum(innovation))
        close(found.square, np.sum(innovation**2))
        close(found.expected, np.sum(variance))
        assert np.isnan(found.observation) and np.isnan(measures.chi_squared)


@pytest.mark.parametrize("kept", [2, 1])
def test_adaptive_inflation_is_wang_and_bishops(kept, monkeypatch):
    """Of the factor that the background has: none at first; also where a trace is estimated."""
    if kept == 1:
        monkeypatch.setattr(variational, "WHOLE", 1)
        monkeypatch.setattr(laplace, "PROBES", 20_000)
    inflation = assim.scheme.Inflation(1.1, adaptive=True, stdev=0.3, lower=0.1, upper=9.0)
    scheme = FourDVar(inflation=inflation, rank=4 if kept == 2 else 1, minimiser=MINIMISER)
    given = twin(scheme, Plan(1, 1), 2)
    factor, applied, p, x = 1.1, 1.0, B, BACKGROUND
    for (carry, analysed, measures), y in zip(in_turn(given, kept), given.observed, strict=False):
        assert float(measures.inflation) == pytest.approx(applied, rel=1e-9)
        d = (y - H @ matrix() @ x) / np.sqrt(R)
        signal = H @ matrix() @ p @ matrix().T @ H.T / R
        estimate = applied**2 * (d @ d - 2) / np.trace(signal)
        total = signal + np.eye(2)
        noise = 2 * applied**4 * np.trace(total @ total) / np.trace(signal) ** 2
        gain = 0.3**2 / (0.3**2 + noise)
        factor = applied = np.sqrt(factor**2 + gain * (estimate - factor**2))
        np.testing.assert_allclose(carry.inflation.factor, factor, rtol=1e-9 if kept == 2 else 1e-3)
        x = np.asarray(carry.background.mean["background"]["x"])
        vectors = np.asarray(carry.background.vectors["background"]["x"])
        p = vectors.T @ vectors
        assert abs(factor - 1.1) > 1e-3 and np.all(np.isfinite(analysed.analysis["x"]))


@pytest.mark.parametrize("scheme", [FourDVar, slow(ThreeDVar)])
def test_signal_counts_directions_that_have_no_vector(scheme, monkeypatch):
    """One eigenpair of two is kept; the degrees of freedom are those of the Kalman gain."""
    for module in (posterior, variational, static):
        monkeypatch.setattr(module, "WHOLE", 1)
    monkeypatch.setattr(laplace, "PROBES", 10_000)
    given = twin(scheme(rank=1, minimiser=MINIMISER), Plan(1, 1), 1)
    ((_, _, measures),) = in_turn(given, 1)
    p = matrix() @ B @ matrix().T if scheme is FourDVar else B
    share = np.linalg.eigvalsh(H @ p @ H.T @ np.linalg.inv(H @ p @ H.T + R * np.eye(2)))
    assert share.min() > 0.5
    assert float(measures.signal) == pytest.approx(share.sum(), rel=5e-3)


@pytest.mark.parametrize("scheme", [FourDVar(rank=5), ThreeDVar(rank=5)])
def test_fewer_vectors_than_may_be_informed_are_told(scheme, monkeypatch):
    given = twin(scheme, Plan(1, 1), 1).cycle
    assert scheme.remarks(given.problem, given.plan) == {}
    for module in (signal, variational):
        monkeypatch.setattr(module, "WHOLE", 1)
    few = dataclasses.replace(scheme, rank=1)
    remark = few.remarks(given.problem, given.plan)["rank"]
    assert re.match("1 vectors for [45] controls and 2 observations of a window", remark)


def test_inflation_that_is_not_applied_explains_no_innovations():
    """A factor of 1.5 that the background lacks, whose variances are right."""
    adaptive = assim.scheme.Inflation(1.5, adaptive=True, stdev=0.3)
    m = jnp.array(1000.0)
    right = Innovation(2 * m, m, m, 4 * m)
    found = adaptive.after(Inflated(jnp.array(1.5), jnp.array(1.0)), right, jnp.array(True))
    gain = 0.3**2 / (0.3**2 + 2 * 4 / 1000)
    close(found.factor, np.sqrt(1.5**2 + gain * (1 - 1.5**2)))


def test_inflation_does_not_follow_innovations_of_unknown_size():
    adaptive = FourDVar(inflation=assim.scheme.Inflation(adaptive=True), minimiser=MINIMISER)
    given = twin(adaptive, Plan(1, 1), 2)
    o = given.cycle.problem.observations[0]
    robust = eqx.tree_at(lambda o: o.likelihood, o, assim.likelihood.StudentT(4.0))
    problem = eqx.tree_at(lambda p: p.observations, given.cycle.problem, (robust,))
    with pytest.raises(ValueError, match="Gaussian errors of known scale"):
        Cycle(problem, adaptive, Plan(1, 1)).start()


def test_starts_are_not_tried_where_observations_enter_several_windows():
    scheme = FourDVar(starts=3, minimiser=MINIMISER)
    with pytest.raises(ValueError, match="starts = 1"):
        twin(scheme, Plan(2, 1, "several"), 2).cycle.start()


@pytest.mark.slow
def test_starts_of_a_quadratic_cost_end_at_its_one_minimum():
    """A gate that every window fails, so that other first guesses are tried in each."""
    several = FourDVar(starts=3, gate=-1e6, minimiser=MINIMISER)
    costs = []
    for scheme in (FourDVar(minimiser=MINIMISER), several):
        given = twin(scheme, Plan(1, 1), WINDOWS)
        _, measures = given.cycle.scan(WINDOWS, given.edges, given.batches)
        costs.append(np.asarray(measures.cost))
    assert (costs[0] > 0).all()
    np.testing.assert_allclose(costs[1], costs[0], rtol=1e-10)
