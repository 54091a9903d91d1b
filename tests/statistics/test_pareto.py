"""Pareto-smoothed importance sampling on draws whose tails and moments are known."""

import numpy as np
import pytest
import scipy.stats

from assim.statistics import pareto
from assim.statistics.pareto import Tail, generalised_pareto, pareto_smooth, tail_of_squares


@pytest.mark.parametrize("k", [-0.5, -0.2, 0.0, 0.3, 0.5, 0.7, 1.0, 1.5])
def test_shape_of_exact_draws(k):
    """Asymptotic standard errors (1 + k)/√n of k and σ√(1 + (1 + k)²)/√n … of its scale."""
    n, scale = 4000, 2.0
    errors = []
    for seed in range(4):
        draws = scipy.stats.genpareto(k, scale=scale).rvs(n, random_state=seed)
        k_hat, scale_hat = generalised_pareto(np.sort(draws))
        prior = (k_hat * (n + 10) - 5) / n  # without the weak prior
        errors.append((prior - k, scale_hat / scale - 1))
    k_error, scale_error = np.abs(np.mean(errors, axis=0))
    spread = max(1 + k, 0.5) / np.sqrt(4 * n)
    assert k_error < 4 * spread
    assert scale_error < 4 * np.sqrt(1 + (1 + max(k, 0)) ** 2) / np.sqrt(4 * n)


def test_a_place_of_the_grid_at_zero():
    """Of 20 excesses whose largest is three times the quartile it is, where k and b both vanish."""
    excesses = np.concatenate([np.linspace(0.2, 1.0, 5), np.linspace(1.05, 3.0, 15)])
    with np.errstate(all="raise"):
        k_hat, scale = generalised_pareto(excesses)
    near = [generalised_pareto(excesses * (1 + step * (excesses == 3.0))) for step in (-1e-6, 1e-6)]
    np.testing.assert_allclose(np.mean(near, axis=0), [k_hat, scale], rtol=1e-5)


def test_weak_prior():
    """Ten further draws with k = 1/2 (Vehtari et al. 2024, appendix C)."""
    draws = np.sort(scipy.stats.genpareto(0.0).rvs(20, random_state=0))
    k_hat, scale = generalised_pareto(draws)
    raw = (k_hat * 30 - 5) / 20
    assert abs(k_hat - 0.5) < abs(raw - 0.5)
    assert scale > 0


def gaussian_weights(stdev, n, seed=0):
    """Draws of N(0, stdev²) with their log weights towards N(0, 1)."""
    x = stdev * np.random.default_rng(seed).normal(size=n)
    return x, scipy.stats.norm.logpdf(x) - scipy.stats.norm.logpdf(x, scale=stdev)


@pytest.mark.parametrize("stdev", [1.1, 1.5, 3.0])
def test_wide_proposal(stdev):
    """Bounded weights: k̂ is low, the mean weight is one, the moments are right."""
    x, log_weights = gaussian_weights(stdev, 20_000)
    smoothed = pareto_smooth(log_weights)
    error = np.sqrt(1 / smoothed.effective_draws)
    assert smoothed.k_hat < 0.3
    assert abs(np.sum(smoothed.weights) - 1) < 1e-12
    assert abs(smoothed.log_mean) < 4 * error
    assert abs(smoothed.weights @ x) < 4 * error
    assert abs(smoothed.weights @ x**2 - 1) < 6 * error
    # E[w²] = σ²/√(2σ² - 1)
    expected = 20_000 * np.sqrt(2 * stdev**2 - 1) / stdev**2
    assert abs(smoothed.effective_draws / expected - 1) < 0.05


@pytest.mark.parametrize("stdev", [0.9, 0.7, 0.5])
def test_narrow_proposal(stdev):
    """P(w > t) falls as t^(-1/k) with k = 1 - σ², but for a factor 1/√log t."""
    k_hat = [pareto_smooth(gaussian_weights(stdev, 20_000, s)[1]).k_hat for s in range(5)]
    assert abs(np.mean(k_hat) - (1 - stdev**2)) < 0.12
    assert (np.mean(k_hat) > 0.5) == (stdev < 0.7 + 1e-9) or stdev == 0.7


def test_shift_changes_nothing_but_the_mean():
    _, log_weights = gaussian_weights(0.8, 2000)
    here, there = pareto_smooth(log_weights), pareto_smooth(log_weights + 1234.5)
    assert abs(here.k_hat - there.k_hat) < 1e-9
    np.testing.assert_allclose(here.weights, there.weights, rtol=1e-9)
    assert abs(there.log_mean - here.log_mean - 1234.5) < 1e-9


def test_only_the_tail_is_smoothed():
    """3√n draws at most, none above the largest raw weight, in the same order."""
    _, log_weights = gaussian_weights(0.6, 10_000)
    smoothed = pareto_smooth(log_weights)
    raw = np.exp(log_weights - log_weights.max())
    ratio = smoothed.weights / raw
    assert np.sum(~np.isclose(ratio, np.median(ratio), rtol=1e-9)) <= 300
    assert np.array_equal(np.argsort(smoothed.weights[np.argsort(raw)]), np.arange(10_000))


def test_equal_weights():
    smoothed = pareto_smooth(np.full(1000, -3.0))
    assert smoothed.k_hat == 0
    assert smoothed.effective_draws == pytest.approx(1000)
    assert smoothed.log_mean == pytest.approx(-3)


@pytest.mark.parametrize("missing", [-np.inf, np.nan])
def test_draws_outside_the_support(missing):
    """Weight zero: they count in the mean, and nowhere else."""
    x, log_weights = gaussian_weights(1.3, 4000)
    log_weights[::2] = missing
    smoothed = pareto_smooth(log_weights)
    assert np.all(np.isfinite(smoothed.weights)) and not np.any(smoothed.weights[::2])
    assert smoothed.k_hat < 0.5
    assert abs(smoothed.log_mean - np.log(0.5)) < 0.1
    assert abs(smoothed.weights @ x**2 - 1) < 0.15


def test_one_draw_has_all_the_weight():
    log_weights = np.full(1000, -1e4)
    log_weights[7] = 0.0
    smoothed = pareto_smooth(log_weights)
    assert smoothed.k_hat > 0.7
    assert np.all(np.isfinite(smoothed.weights))
    assert smoothed.effective_draws < 5


def test_all_outside_the_support():
    """Nothing to go by: no weight is anything, and k̂ says so without an error."""
    smoothed = pareto_smooth(np.full(100, -np.inf))
    assert not smoothed.k_hat < 0.7


def test_one_draw_alone():
    found = pareto_smooth(np.array([-3.0]))
    assert found.k_hat == np.inf and found.weights == [1.0] and found.log_mean == -3.0


def test_a_quartile_that_is_equal_to_the_cut():
    """Half of the tail's weights are those of the body: no shape fits, and nothing fails."""
    found = pareto_smooth(np.concatenate([np.zeros(95), [0.0, 0.0, 0.0, 1.0, 2.0]]))
    assert found.k_hat == np.inf and np.isfinite(found.weights).all()


def test_stated_error_of_the_shape():
    """Over 200 repetitions, of weights x^(-1/k) with k = 0.4; within a fifth."""
    found = [
        pareto_smooth(-0.4 * np.log(np.random.default_rng(seed).uniform(size=5000))).tail
        for seed in range(200)
    ]
    scatter, stated = np.std([tail.k_hat for tail in found]), np.mean([t.error for t in found])
    assert abs(stated / scatter - 1) < 0.2
    light = np.mean([tail.light() for tail in found])
    assert 0.3 < light < 0.95  # k = 0.5, where half would pass by k̂ alone, passes seldom
    edge = [
        pareto_smooth(-0.5 * np.log(np.random.default_rng(seed).uniform(size=5000))).tail
        for seed in range(200)
    ]
    assert np.mean([tail.light() for tail in edge]) < 0.3


def test_squares_see_a_tail_that_weights_hide():
    """Equal weights of a t with 3 degrees of freedom: squares have a tail of k = 2/3."""
    values = np.random.default_rng(0).standard_t(3, (20_000, 1))
    equal = np.full(20_000, 1 / 20_000)
    tail = tail_of_squares(np.column_stack([values, values**0]), np.zeros(20_000), equal)
    assert 0.45 < tail.k_hat < 0.85 and not tail.light()
    gaussian = np.random.default_rng(0).normal(size=(20_000, 3))
    assert tail_of_squares(gaussian, np.zeros(20_000), equal).light()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_tail_that_is_not_measured_is_the_heaviest(monkeypatch, place):
    """Wherever it stands among the columns: no luck of their order makes it vanish."""
    shapes = [0.1, 0.2, 0.1]
    shapes[place] = np.nan
    smooth = iter(pareto.ParetoSmoothed(np.ones(1), k, 1.0, 0.0) for k in shapes)
    monkeypatch.setattr(pareto, "pareto_smooth", lambda _: next(smooth))
    values = np.random.default_rng(0).normal(size=(10, 3))
    tail = tail_of_squares(values, np.zeros(10), np.full(10, 0.1))
    assert isinstance(tail, Tail) and np.isnan(tail.k_hat) and not tail.light()
