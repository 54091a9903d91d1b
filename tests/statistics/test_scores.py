"""Scores and ranks against closed forms and direct sums."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from assim.statistics.scores import (
    agreement,
    compared,
    coverage,
    crps,
    crps_gaussian,
    leave_one_out,
    log_score,
    pit,
    ranks,
)
from assim.statistics.uniformity import (
    binomial_interval,
    chi_squared_uniform,
    choose_bins,
    ecdf,
    ecdf_band,
    ecdf_p_value,
    rank_histogram,
    within,
)

# ---- CRPS ----------------------------------------------------------------------------------------


def test_crps_of_a_gaussian_is_its_integral():
    """∫ (F(x) - 1[x ≥ y])² dx."""
    for mean, stdev, y in ((0.0, 1.0, 0.3), (2.0, 0.5, 4.0)):
        f = lambda x, m=mean, s=stdev: scipy.stats.norm.cdf(x, m, s)  # noqa: E731
        below = scipy.integrate.quad(lambda x, f=f: f(x) ** 2, mean - 12 * stdev, y)[0]
        above = scipy.integrate.quad(lambda x, f=f: (f(x) - 1) ** 2, y, y + 15 * stdev)[0]
        np.testing.assert_allclose(crps_gaussian(mean, stdev, y), below + above, rtol=1e-8)


def test_crps_of_weighted_members_is_the_double_sum():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 3)), rng.normal(size=3)
    w = rng.dirichlet(np.ones(9))
    spread = np.einsum("i,j,ijk->k", w, w, np.abs(x[:, None] - x[None]))
    expected = w @ np.abs(x - y) - spread / 2
    np.testing.assert_allclose(crps(x, y, w), expected, rtol=1e-12)
    fair = w @ np.abs(x - y) - spread / 2 / (1 - np.sum(w**2))
    np.testing.assert_allclose(crps(x, y, w, fair=True), fair, rtol=1e-12)


@pytest.mark.parametrize("fair", [False, True])
def test_crps_of_one_member_is_the_absolute_error(fair):
    found = crps(np.array([[2.0, 3.0]]), np.array([0.5, 4.0]), fair=fair)
    np.testing.assert_allclose(found, [1.5, 1.0])


def test_fair_crps_of_few_members_is_that_of_their_density():
    """On average over ensembles of three; the standard score is larger by E|x - x'|/6."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(3, 200_000)), 0.7
    exact = crps_gaussian(0.0, 1.0, y)
    observed = np.full(x.shape[1], y)
    of = {fair: crps(x, observed, fair=fair) for fair in (True, False)}
    stderr = np.std(of[True]) / np.sqrt(x.shape[1])
    assert abs(np.mean(of[True]) - exact) < 4 * stderr
    excess = 2 / np.sqrt(np.pi) / 6
    assert abs(np.mean(of[False]) - exact - excess) < 4 * stderr


# ---- log score -----------------------------------------------------------------------------------


def test_log_score_of_a_mixture():
    means, y, w = np.array([0.0, 1.0, 30.0]), np.array([0.4, -60.0]), np.array([0.5, 0.3, 0.2])
    each = scipy.stats.norm.logpdf(y[None], means[:, None])
    expected = scipy.special.logsumexp(each, axis=0, b=w[:, None])
    np.testing.assert_allclose(log_score(each, w), expected, rtol=1e-12)
    assert log_score(np.array([-np.inf, np.log(0.2)])) == pytest.approx(np.log(0.1))
    assert log_score(np.full(3, -np.inf)) == -np.inf


def test_leave_one_out_of_a_known_mean():
    """y_i ~ N(μ, 1), μ flat: p(y_i | others) = N(mean of the others, 1 + 1/(m - 1))."""
    rng = np.random.default_rng(2)
    y, n = rng.normal(size=12), 20_000
    mu = np.mean(y) + rng.normal(size=n) / np.sqrt(y.size)
    found = leave_one_out(scipy.stats.norm.logpdf(y[None], mu[:, None]))
    others = (np.sum(y) - y) / (y.size - 1)
    exact = scipy.stats.norm.logpdf(y, others, np.sqrt(1 + 1 / (y.size - 1)))
    np.testing.assert_allclose(found.pointwise, exact, atol=0.02)
    np.testing.assert_allclose(found.elpd, np.sum(exact), atol=0.05)
    np.testing.assert_allclose(found.stderr, np.sqrt(12 * np.var(exact, ddof=1)), rtol=0.05)
    assert np.all(found.k_hat < 0.5)


def test_leave_one_out_of_an_impossible_draw():
    """No weight is finite there: -∞, and no other reading is touched. NaN draws are left out."""
    logs = scipy.stats.norm.logpdf(np.random.default_rng(0).normal(size=(500, 3)))
    whole, broken = leave_one_out(logs), logs.copy()
    broken[7, 1] = -np.inf
    found = leave_one_out(broken)
    assert found.pointwise[1] == -np.inf and found.k_hat[1] == np.inf
    assert found.elpd == -np.inf and np.isnan(found.stderr)
    np.testing.assert_array_equal(found.pointwise[::2], whole.pointwise[::2])
    holed = np.vstack([logs, np.full((2, 3), np.nan)])
    np.testing.assert_array_equal(leave_one_out(holed).pointwise, whole.pointwise)


def test_one_reading_has_no_standard_error():
    """Nor has the only one of several whose draws are not NaN."""
    logs = np.log([[0.5, np.nan], [0.3, np.nan]])
    for found in (leave_one_out(logs), leave_one_out(logs[:, :1])):
        assert np.isfinite(found.elpd) and np.isnan(found.stderr)


# ---- ranks and coverage --------------------------------------------------------------------------


def test_pit_of_counts_is_uniform():
    rng = np.random.default_rng(3)
    y, draws = rng.poisson(2.0, 4000), rng.poisson(2.0, (999, 4000))
    values = pit(draws, y, rng)
    assert scipy.stats.kstest(values, "uniform").pvalue > 0.01
    assert set(np.unique(ranks(draws[:9], y, rng))) == set(range(10))


def test_draws_that_are_nan_are_left_out():
    """Ranks and PIT stay uniform where a third of the draws is none."""
    rng = np.random.default_rng(8)
    y, draws = rng.normal(size=6000), rng.normal(size=(9, 6000))
    draws[:3, :4000] = np.nan
    assert chi_squared_uniform(rank_histogram(ranks(draws, y, rng), 9, 10)) > 0.01
    assert abs(np.mean(pit(draws, y, rng)) - 0.5) < 4 * np.sqrt(0.12 / 6000)
    whole = ranks(draws[:, 4000:], y[4000:], rng)
    np.testing.assert_array_equal(whole, np.sum(draws[:, 4000:] < y[None, 4000:], axis=0))


def test_pit_with_weights():
    draws, w = np.array([1.0, 2.0, 3.0]), np.array([0.2, 0.3, 0.5])
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(pit(draws, np.array(2.5), rng, w), 0.5)
    assert 0.2 < pit(draws, np.array(2.0), rng, w) < 0.5


def test_coverage_is_exact_for_few_draws():
    """Of 19 draws, the first and the last hold another with probability 0.9."""
    rng = np.random.default_rng(4)
    draws, y = rng.normal(size=(19, 20_000)), rng.normal(size=20_000)
    half, most = coverage(draws, y)
    assert (half.level, most.level) == (0.5, 0.9)
    assert abs(half.covered - 0.5) < 0.015 and half.right()
    assert abs(most.covered - 0.9) < 0.01 and most.right()
    narrow = coverage(0.8 * draws, y)[1]
    assert not narrow.right() and narrow.covered < narrow.low


def test_coverage_of_weighted_draws():
    rng = np.random.default_rng(5)
    x, y = rng.normal(0.0, 2.0, 20_000), rng.normal(size=3000)
    w = scipy.stats.norm.pdf(x) / scipy.stats.norm.pdf(x, 0, 2)
    wide = np.repeat(x[:, None], 200, axis=1)
    assert coverage(wide, y[:200], (0.9,), w / w.sum())[0].right()
    assert not coverage(wide, y[:200], (0.9,))[0].right()


def test_binomial_interval_leaves_its_tails():
    for number, p, level in ((200, 0.5, 0.99), (10, 0.05, 0.95), (37, 0.9, 0.99), (5, 1.0, 0.9)):
        low, high = binomial_interval(number, p, level)
        of = scipy.stats.binom(number, p)
        tail = (1 - level) / 2
        assert of.cdf(low - 1) <= tail < of.cdf(low) + 1e-12
        assert of.sf(high) <= tail + 1e-12
        assert high == 0 or of.sf(high - 1) > tail - 1e-12


def test_the_interval_given_is_the_one_whose_coverage_is_counted():
    rng = np.random.default_rng(9)
    draws, y = rng.gamma(2.0, size=(23, 500)), rng.gamma(2.0, size=500)
    logs = scipy.stats.norm.logpdf(y, draws)
    rows = compared(draws, y, 0.9, logs)
    inside = (rows.low <= y) & (y <= rows.high)
    assert np.mean(inside) == coverage(draws, y, (0.9,))[0].covered
    np.testing.assert_array_equal(rows.log_score, log_score(logs))
    np.testing.assert_array_equal(rows.crps, crps(draws, y, fair=True))
    assert np.isnan(compared(draws, y, 0.9).log_score).all()


# ---- uniformity ----------------------------------------------------------------------------------


def test_chi_squared_against_scipy():
    counts = np.array([12, 8, 9, 14, 7])
    expected = scipy.stats.chisquare(counts).pvalue
    np.testing.assert_allclose(chi_squared_uniform(counts), expected, rtol=1e-10)


def test_what_has_no_draw_has_no_rank():
    """A random one would fill a histogram evenly, as that of a perfect forecast."""
    draws = np.array([[1.0, np.nan, np.nan], [2.0, 1.0, np.nan]])
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="1 of 3 values have no draw"):
        ranks(draws, np.zeros(3), rng)
    with pytest.raises(ValueError, match="3 of 3 values have no draw"):
        ranks(draws[:0], np.zeros(3), rng)
    np.testing.assert_array_equal(ranks(draws[:, :1], np.full(1, 1.5), rng), [1])
    assert ranks(np.zeros((4, 0)), np.zeros(0), rng).shape == (0,)


def test_bins_divide_the_ranks():
    assert [choose_bins(99, n) for n in (10, 40, 100, 200, 10_000)] == [2, 4, 10, 20, 20]
    assert choose_bins(63, 200) == 16
    assert list(rank_histogram(np.array([0, 4, 5, 99]), 99, 20)) == [2, 1] + [0] * 17 + [1]
    with pytest.raises(ValueError, match="no bins divide"):
        choose_bins(100, 200)


def test_ecdf_band_holds_as_often_as_it_says():
    rng = np.random.default_rng(6)
    band = ecdf_band(100, 49, 0.9)
    inside = [within(ecdf(rng.integers(0, 50, 100), 49), band) for _ in range(2000)]
    low, high = scipy.stats.binom(2000, 0.9).interval(0.999)
    assert low <= np.sum(inside) <= high + 40  # discrete: it may hold a little more often
    skewed = rng.beta(1.6, 1, 100) * 50
    assert not within(ecdf(skewed.astype(int), 49), band)


@pytest.mark.parametrize(("number", "draws"), [(27, 49), (61, 49), (246, 99), (297, 49)])
def test_bands_and_p_values_of_an_ecdf_are_the_same_upside_down(number, draws):
    """Ranks L - r say what the ranks r do: tails that are equal are so whatever their rounding."""
    band = ecdf_band(number, draws)
    np.testing.assert_allclose(band.low, 1 - band.high[::-1], atol=1e-12)
    ranks = np.random.default_rng(number).integers(0, draws + 1, number)
    assert ecdf_p_value(ranks, draws) == ecdf_p_value(draws - ranks, draws)


def test_p_value_of_an_ecdf_is_uniform_and_goes_with_its_band():
    rng = np.random.default_rng(7)
    band, several = ecdf_band(100, 49, 0.9), [rng.integers(0, 50, 100) for _ in range(1000)]
    values = np.array([ecdf_p_value(ranks, 49) for ranks in several])
    for level in (0.05, 0.5):
        low, high = scipy.stats.binom(1000, level).interval(0.999)
        assert low <= np.sum(values <= level) <= high
    inside = np.array([within(ecdf(ranks, 49), band) for ranks in several])
    assert np.all(inside[values > 0.12]) and not np.any(inside[values < 0.08])
    assert ecdf_p_value(np.full(100, 3), 49) == 1 / 4001
    assert ecdf_p_value(np.full(100, 3), 49, samples=99) == 1 / 100


def test_agreement_by_the_definitions():
    """Nash–Sutcliffe and Kling–Gupta of readings by their textbook formulas."""
    rng = np.random.default_rng(3)
    y = 10 + rng.standard_normal(50)
    predicted = 1.2 * y - 1 + 0.3 * rng.standard_normal(50)
    found = agreement(predicted, y)
    r = np.corrcoef(predicted, y)[0, 1]
    away = predicted - y
    np.testing.assert_allclose(found.correlation, r)
    np.testing.assert_allclose(
        found.nash_sutcliffe, 1 - (away**2).sum() / (y - y.mean()).dot(y - y.mean())
    )
    ratio, beta = predicted.std() / y.std(), predicted.mean() / y.mean()
    distance = np.sqrt((r - 1) ** 2 + (ratio - 1) ** 2 + (beta - 1) ** 2)
    np.testing.assert_allclose(found.kling_gupta, 1 - distance)
    np.testing.assert_allclose((found.bias, found.rmse), (away.mean(), np.sqrt((away**2).mean())))


def test_agreement_of_a_perfect_prediction_and_of_the_mean():
    y = np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(agreement(y, y), (3, 0, 0, 1, 1, 1), atol=1e-12)
    mean = agreement(np.full(3, y.mean()), y)
    np.testing.assert_allclose(mean.nash_sutcliffe, 0.0, atol=1e-12)
    assert np.isnan(mean.correlation) and np.isnan(mean.kling_gupta)


@pytest.mark.parametrize("y", [[], [3.0], [0.1, 0.1, 0.1]])
def test_readings_that_do_not_vary_have_no_efficiency(y):
    found = agreement(np.array(y) + 1.0, np.array(y))
    assert found.number == len(y)
    assert np.isnan(found.nash_sutcliffe) and np.isnan(found.correlation)
    assert np.isnan(found.kling_gupta)
