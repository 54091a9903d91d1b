"""Whether the data agree with the problem: faults that were planted, and sound problems."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from assim import (
    Observations,
    Points,
    Window,
    analyse,
    finding,
    likelihood,
    strong_constraint,
)
from assim.findings.outliers import when
from assim.findings.residuals import Residuals
from assim.problem.covariance import Dense, Diagonal
from assim.problem.operator import PointSample
from assim.problem.prior import Normal
from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.laplace import Laplace
from tests.solve.linear import DrivenLinear

SITES, SLOTS, STDEV = 2, 30, 0.3
PLAIN = Laplace(certificate=0, members=20)
MODEL = DrivenLinear(
    jnp.asarray([[0.95, 0.1], [-0.1, 0.95]]), jnp.asarray([1.0, 0.5]), {"b": jnp.asarray(0.3)}
)
WINDOW = Window.regular(MODEL, SLOTS, 1)


def drawn(seed, b=None, noise=None):
    """Values at every edge and site from a truth drawn from the prior, times, and sites."""
    rng = np.random.default_rng(seed)
    state, values = rng.normal(size=SITES), []
    b = rng.normal(0.3, 0.5) if b is None else b
    for _ in range(SLOTS):
        state = np.asarray(MODEL.matrix) @ state + b * np.asarray(MODEL.drive)
        values.append(state)
    flat = np.concatenate(values)
    return flat + (rng.normal(0, STDEV, flat.size) if noise is None else noise(rng, flat.size))


def analysed(values, posterior=PLAIN, narrow=0.5, **settings):
    """The analysis with its fit."""
    times = np.repeat(np.asarray(WINDOW.edges[1:]), SITES)
    points = Points.at(times, {"site": np.tile(np.arange(float(SITES)), SLOTS)})
    given = {"stdev": STDEV, **settings}
    observed = Observations("u", values, points, PointSample("u"), **given)
    prior = {"b": Normal(0.3, narrow)}
    background = {"u": jnp.zeros(SITES)}
    problem = strong_constraint(MODEL, WINDOW, background, Diagonal(1.0), observed, prior)
    return analyse(problem, posterior=posterior)


def fit(values, **settings):
    return finding.goodness_of_fit(analysed(values, **settings))


def autoregressive(rho, stdev=STDEV):
    """Errors of every site that follow one another."""

    def noise(rng, number):
        errors = np.zeros((number // SITES, SITES))
        for k in range(len(errors)):
            before = rho * errors[k - 1] if k else 0.0
            spread = stdev * (np.sqrt(1 - rho**2) if k else 1.0)
            errors[k] = before + spread * rng.normal(size=SITES)
        return errors.ravel()

    return noise


def test_sound_problems_are_good():
    verdicts = [fit(drawn(seed)).verdict for seed in range(30)]
    assert verdicts.count("good") >= 29  # at most 3 in 1,000 are not


@pytest.mark.slow
def test_as_many_sound_problems_fail_as_is_said():
    number = 1000
    fits = [fit(drawn(seed)) for seed in range(number)]
    poor = sum(each.verdict == "poor" for each in fits)
    assert poor <= scipy.stats.binom.ppf(0.999, number, 5e-3)  # 2 sides of χ², 3 parts
    p_values = [each.p_value for each in fits]
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 1e-3
    worst = [each.residuals["u"].worst_p_value for each in fits]
    assert np.mean(np.asarray(worst) < 0.05) <= scipy.stats.binom.ppf(0.999, number, 0.05) / number


FAULTS = {
    "understated": (lambda y, rng: y + rng.normal(0, 2 * STDEV, y.size), "larger than the errors"),
    "overstated": (lambda y, rng: y, "smaller than the errors"),
    "another unit": (lambda y, rng: 1000 * y, "larger than the errors"),
    "offset": (lambda y, rng: y + 20, "larger than the errors"),
    "gross error": (lambda y, rng: y + 9 * STDEV * (np.arange(y.size) == 17), "value 17 (from 0)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found(fault):
    spoil, words = FAULTS[fault]
    for seed in range(5):
        quiet = (lambda rng, n: rng.normal(0, 0.3 * STDEV, n)) if fault == "overstated" else None
        values = spoil(drawn(seed, noise=quiet), np.random.default_rng(100 + seed))
        spoilt = fit(values)
        assert spoilt.verdict == "poor"
        assert any(words in remark for remark in spoilt.remarks()), spoilt.remarks()
        assert spoilt.judged(Trust.CERTIFIED) is Trust.DOUBTFUL
        assert spoilt.judged(Trust.FAILED) is Trust.FAILED


def test_a_gross_error_is_named_with_its_time():
    values = drawn(3)
    values[17] += 10 * STDEV
    spoilt = fit(values)
    gross = next(remark for remark in spoilt.remarks() if "gross error" in remark)
    time = float(WINDOW.edges[1 + 17 // SITES])
    assert f"at time {time:g}" in gross
    residual = spoilt.residuals["u"]
    assert residual.worst_row == 17
    assert 7 < residual.worst < 13
    assert not any("Usual causes: another minimum" in remark for remark in spoilt.remarks())


@pytest.mark.parametrize(
    ("squares", "number", "worst", "understated"),
    [(33.0, 10, 4.1, True), (26.0, 10, 4.1, False), (136.0, 101, 6.0, False)],
)
def test_errors_that_are_understated_are_offered_where_the_others_are_large(
    squares, number, worst, understated
):
    """Σd² of so many values, the worst among them; 100 others are as large as they may be."""
    p_values = scipy.stats.chi2.sf(squares, number), number * 2 * scipy.stats.norm.sf(worst)
    residual = Residuals(
        squares, float(number), p_values[0], worst, 17, p_values[1], np.nan, 0, number
    )
    spoilt = dataclasses.replace(fit(drawn(3)), residuals={"u": residual})
    (gross,) = (remark for remark in spoilt.remarks() if "gross error" in remark)
    assert ("understated" in gross) == understated


@pytest.mark.parametrize(
    ("unit", "reference", "words"),
    [
        ("hours", "2024-03-01", "2024-03-02T09:24:00"),
        ("days", "2024-02-01T12:00:00", "2024-03-05T21:36:00"),
        ("days", "2024-03-01T04:48+02:00", "33.4 days after 2024-03-01T04:48+02:00"),
        ("years", "1900-01-01", "33.4 years after 1900-01-01"),
        ("1", None, "at time 33.4"),
    ],
)
def test_a_time_is_said_as_its_date(unit, reference, words):
    assert when(33.4, unit, reference) == words


def test_residuals_are_studentised():
    """Σ r² of a linear problem, drawn often, is m: that of d alone is less by the signal."""
    squares, plain = [], []
    for seed in range(60):
        analysis = analysed(drawn(seed))
        influence = finding.consistency(analysis).instruments["u"].influence
        departure = np.asarray(analysis.departures.after["u"])
        squares.append(np.sum(departure**2 / (1 - influence)))
        plain.append(np.sum(departure**2))
    m = SITES * SLOTS
    assert abs(np.mean(squares) - m) < 4 * np.std(squares) / np.sqrt(len(squares))
    assert np.mean(plain) < np.mean(squares)


def test_squares_that_are_rare_and_no_fault_are_said():
    """p = .004, on either side: good, and said; p = .03: nothing is said."""
    values = drawn(3)
    found = fit(values)
    for p, said in ((0.004, True), (0.03, False)):
        wanted = scipy.stats.chi2.isf(p, SITES * SLOTS)
        moved = dataclasses.replace(found, chi_squared=wanted, p_value=p, residuals={}, terms={})
        assert moved.verdict == "good"
        assert any(f"1 of {1 / p:.0f} sound" in remark for remark in moved.remarks()) == said
        few = dataclasses.replace(moved, p_value=1 - p)
        assert any(f"1 of {1 / p:.0f} sound" in remark for remark in few.remarks()) == said


def test_overstated_errors_are_said_before_what_their_correlation_does():
    """Errors of 3 for residuals of 0.3, that follow one another: ten times too large."""
    found = fit(drawn(5, noise=autoregressive(0.9)), stdev=10 * STDEV)
    (remark,) = [r for r in found.remarks() if "follow one another" in r]
    assert "times as large as residuals" in remark and "too small" not in remark
    assert 7 < float(remark.split("stated are about ")[1].split(" times")[0]) < 14


def test_dependent_residuals_are_said_and_decide_nothing():
    values = drawn(1, noise=autoregressive(0.8))
    dependent = fit(values).residuals["u"]
    assert dependent.dependent
    assert 0.4 < dependent.autocorrelation < 0.95
    rho, m = dependent.autocorrelation, SITES * SLOTS
    assert dependent.effective_count == pytest.approx(m * (1 - rho) / (1 + rho))
    assert any("correlated" in remark for remark in fit(values).remarks())
    assert not fit(drawn(1)).residuals["u"].dependent
    assert fit(drawn(1)).residuals["u"].effective_count == m


def test_a_parameter_outside_its_prior_is_named():
    far = fit(drawn(5, b=0.3 + 4.5 * 0.5))
    assert far.outside["b"] == pytest.approx(4.5, abs=0.4)
    assert any(remark.startswith("b ends 4.") for remark in far.remarks())
    assert not fit(drawn(5, b=0.4)).outside


def test_what_cannot_be_tested_is_untested():
    values = drawn(2)
    robust = fit(values, likelihood=likelihood.StudentT(4.0))
    assert robust.verdict == "untested"
    assert np.isnan(robust.p_value)
    assert robust.judged(Trust.CERTIFIED) is Trust.CERTIFIED


def test_single_values_with_correlated_errors_are_told_to_be_untested():
    number = SITES * SLOTS
    covariance = Dense(STDEV**2 * np.eye(number))
    correlated = fit(drawn(5), stdev=None, covariance=covariance)
    line = "Single values of u not tested: their errors are correlated."
    assert correlated.verdict == "good" and line in correlated.untested
    assert line not in fit(drawn(5)).untested


def test_what_eigenpairs_that_are_left_out_decide_is_untested():
    """With one of many eigenpairs influence, and what instruments and terms expect, are unknown."""
    few = Laplace(rank=1, dense_limit=1, certificate=0)
    analysis = analysed(drawn(0), few)
    assert not analysis.laplace.is_whole()
    consistency, result = finding.consistency(analysis), finding.goodness_of_fit(analysis)
    assert all(np.isnan(fit.expected) for fit in consistency.instruments.values())
    assert np.isnan(consistency.signal)
    assert all(np.isnan(term.expected) for term in consistency.terms.values())
    assert result.verdict == "good" and np.isfinite(result.p_value)
    assert any("raise the rank" in line for line in result.untested)
    assert not any("is expected" in line for line in result.remarks())


def test_without_a_posterior_chi_squared_in_all_is_tested():
    sound = fit(drawn(4), posterior=None)
    assert sound.verdict == "good"
    assert not sound.residuals
    assert sound.degrees == SITES * SLOTS
    assert fit(drawn(4) * 1000, posterior=None).verdict == "poor"


@pytest.mark.parametrize("posterior", [None, PLAIN])
def test_no_expectation_where_there_is_none(posterior):
    """E[d²] of a t of 4 degrees of freedom is 5 (ψ(5/2) - ψ(2)) = 1.40, not 1."""
    robust = fit(drawn(4), posterior=posterior, likelihood=likelihood.StudentT(4.0))
    assert np.isnan(robust.degrees) and robust.chi_squared > 0
    assert np.isnan(robust.summary()["chi_squared_expected"])
    weighed = fit(drawn(4), posterior=posterior, weight=np.full(SITES * SLOTS, 0.5))
    assert np.isnan(weighed.degrees)


def test_the_fit_in_files_and_summary():
    analysis = analysed(drawn(4) * 1000)
    spoilt = finding.goodness_of_fit(analysis)
    variables = spoilt.variables()
    assert variables["fit"].values == 1
    assert variables["residual_worst"].dims == variables["residual_instrument"].dims
    summary = spoilt.summary()
    assert summary["verdict"] == "poor"
    assert summary["instruments"]["u"]["p_value"] < 1e-12
