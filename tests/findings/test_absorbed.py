"""What an estimated error scale hides: gross errors, and a prior that holds the data back."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from assim import ErrorScale, Observations, Points, finding, likelihood
from assim.findings.absorbed import conflict
from assim.findings.linearised import Linearised, linearised
from assim.findings.outliers import way_out
from assim.findings.residuals import by_the_others, residuals_of
from assim.findings.untested import Estimated
from assim.problem.operator import PointSample
from assim.problem.prior import LogNormal
from assim.solve.posterior.ensemble import Trust
from tests.findings.test_fit import STDEV, analysed, drawn, fit

SCALE = ErrorScale("sigma", LogNormal(1.0, 0.7))
LEVEL = 0.05


def posed(y, slope, weight=1.0, scales=None):
    """A linear problem of the values y = slope χ + errors, of one scale where none are given."""
    m, n = slope.shape
    scales = np.full(m, "sigma") if scales is None else scales
    controls = tuple(f"c{k}" for k in range(n))
    number = np.unique(scales, return_inverse=True)[1]
    row = np.array([np.sum(number[:i] == number[i]) for i in range(m)])
    return Linearised(y, slope, np.full(n, weight), controls, number, row, scales)


def left(y, x):
    """Squares that least squares leave."""
    return float(np.sum((y - x @ np.linalg.lstsq(x, y)[0]) ** 2))


def test_without_a_prior_residuals_are_those_of_deletion():
    """Against n fits, each without a value: (y_i - x_i b)/(s √(1 + x_i (XᵀX)⁻¹ x_iᵀ))."""
    rng = np.random.default_rng(0)
    x, m = rng.normal(size=(10, 3)), 10
    y = x @ [1.0, -2.0, 0.5] + 0.3 * rng.normal(size=m)
    expected = []
    for i in range(m):
        others = np.arange(m) != i
        b = np.linalg.lstsq(x[others], y[others])[0]
        s = np.sqrt(left(y[others], x[others]) / (m - 1 - 3))
        grow = 1 + x[i] @ np.linalg.inv(x[others].T @ x[others]) @ x[i]
        expected.append((y[i] - x[i] @ b) / (s * np.sqrt(grow)))
    residuals, degrees = by_the_others(posed(y, x, weight=0.0), "sigma")
    np.testing.assert_allclose(residuals, expected, rtol=1e-9)
    np.testing.assert_allclose(degrees, m - 1 - 3)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 30.0])
def test_as_many_sound_values_are_far_as_is_said(spread):
    """Bonferroni's bound over ten values of an unknown scale, whatever the prior says of χ."""
    rng, number, found = np.random.default_rng(1), 1500, 0
    for _ in range(number):
        slope = spread * rng.normal(size=(10, 3))
        y = slope @ rng.normal(size=3) + rng.normal(size=10)
        residuals, degrees = by_the_others(posed(y, slope), "sigma")
        p = 2 * scipy.stats.t.sf(np.abs(residuals), degrees)
        found += 10 * p.min() < LEVEL
    low, high = scipy.stats.binom.ppf([1e-4, 1 - 1e-3], number, [0.8 * LEVEL, LEVEL])
    assert low <= found <= high


def test_a_tight_prior_gives_the_f_test_of_regression():
    """χ that can hardly move, against y that asks it to: all of T is regression's."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(12, 2))
    y = x @ [2.0, -1.0] + 0.4 * rng.normal(size=12)
    tested = conflict(posed(y, 1e-7 * x))
    rest = left(y, x)
    f = (y @ y - rest) / 2 / (rest / 10)
    assert tested.statistic / 2 == pytest.approx(f, rel=1e-6)
    assert tested.p_value == pytest.approx(scipy.stats.f.sf(f, 2, 10), rel=1e-5)
    assert tested.factors["sigma"] == pytest.approx(np.sqrt(rest / 10), rel=1e-9)


def test_the_control_that_is_held_back_is_named():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12, 3))
    y = 3 * x[:, 1] + 0.3 * rng.normal(size=12)
    assert conflict(posed(y, np.array([1.0, 0.01, 1.0]) * x)).control == "c1"


@pytest.mark.parametrize("spread", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("several", [False, True])
def test_sound_priors_are_in_conflict_as_rarely_as_is_said(spread, several):
    rng, number, found = np.random.default_rng(4), 1000, 0
    scales = np.repeat(["sigma", "tau"], 8) if several else None
    for _ in range(number):
        slope = spread * rng.normal(size=(16, 3))
        y = slope @ rng.normal(size=3) + rng.normal(size=16)
        found += conflict(posed(y, slope, scales=scales)).p_value < LEVEL
    assert found <= scipy.stats.binom.ppf(0.999, number, LEVEL)


def test_too_few_values_say_nothing():
    rng = np.random.default_rng(5)
    assert conflict(posed(rng.normal(size=4), rng.normal(size=(4, 3)))) is None


def test_a_gross_error_is_named_though_the_scale_absorbs_it():
    values = drawn(3)
    values[17] += 9 * STDEV
    spoilt = fit(values, scale=SCALE)
    assert spoilt.verdict == "poor"
    assert spoilt.judged(Trust.CERTIFIED) is Trust.DOUBTFUL
    assert spoilt.residuals["u"].worst_row == 17
    (gross,) = (remark for remark in spoilt.remarks() if "gross error" in remark)
    assert "value 17 (from 0)" in gross and "of the others" in gross


def test_without_the_tangent_linear_many_values_are_judged_more_cautiously():
    values = drawn(3)
    values[17] += 7 * STDEV
    analysis = analysed(values, scale=SCALE)
    (o,), fits = analysis.problem.observations, finding.consistency(analysis).instruments
    exact = residuals_of(analysis, o, fits, linearised(analysis))
    cautious = residuals_of(analysis, o, fits)
    assert exact.worst_row == cautious.worst_row == 17
    assert 0.9 * exact.worst < cautious.worst <= exact.worst


def test_what_a_scale_came_to_is_said_where_nothing_is_tested():
    sound = fit(drawn(4), scale=SCALE)
    assert sound.verdict == "untested" and not sound.remarks()
    (line,) = sound.untested
    value, distance = sound.scales["sigma"].value, sound.scales["sigma"].distance
    assert 0.7 < value < 1.3 and value == pytest.approx(np.exp(0.7 * distance))
    assert line.startswith("Fit of u not tested: the error scale sigma is estimated, so that χ²")
    assert f"sigma came to {value:.3g} times the errors stated" in line
    assert json.loads(json.dumps(sound.summary()))["untested"] == [line]
    assert not fit(drawn(4)).untested


def test_a_prior_far_from_the_truth_is_named_though_the_scale_absorbs_it():
    """b can hardly move, and is 4 where its prior has 0.3 ± 0.01; so can the state not."""
    far = fit(drawn(5, b=4.0), scale=SCALE, narrow=0.01)
    assert far.verdict == "poor"
    assert far.conflict.control == "b" and far.conflict.p_value < 1e-6
    (line,) = (remark for remark in far.remarks() if remark.startswith("b: "))
    assert "prior of b" in line and "unit" in line and "model" in line
    free = far.conflict.factors["sigma"] * far.scales["sigma"].value
    assert 0.6 < free < 1.5 < far.scales["sigma"].value


def test_a_scale_outside_its_prior_has_its_causes_named():
    wrong = fit(1000 * drawn(4), scale=SCALE)
    assert wrong.outside["sigma"] > 3
    (line,) = (remark for remark in wrong.remarks() if remark.startswith("sigma ends"))
    assert "unit of the data" in line and "priors of parameters" in line and "its prior" in line


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, 'likelihood = "StudentT", which bears with such values.'),
        ({"likelihood": likelihood.LogNormal()}, "a standard deviation of about 0.06 times itself"),
        ({"likelihood": likelihood.LogNormal(), "scale": SCALE}, "sigma is the factor"),
    ],
)
def test_the_way_out_of_a_gross_error_is_in_the_units_of_the_likelihood(given, words):
    points = Points.at(jnp.asarray([1.0, 2.0]))
    o = Observations("u", np.array([1.0, 2.0]), points, PointSample("u"), 0.06, **given)
    assert words in way_out(o, 0.06)
    assert ("not of their logarithm" in way_out(o, 0.06)) == ("likelihood" in given)


def test_untested_errors_are_named():
    (line,) = fit(drawn(2), likelihood=likelihood.StudentT(4.0)).untested
    assert line == "Fit of u not tested: its errors are StudentT, of which χ² is not known."


def test_a_scale_whose_prior_has_no_median_is_told_without_it():
    words = Estimated(("u",), 1.7, np.nan, np.nan, stated=False).words("sigma")
    assert words == "sigma, whose prior has no median, came to 1.7"


def test_no_value_of_an_estimated_scale_is_no_conflict():
    of = posed(np.ones(4), np.ones((4, 1)), scales=np.full(4, ""))
    assert conflict(of) is None
