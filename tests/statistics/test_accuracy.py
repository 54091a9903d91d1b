"""Stated errors of weighted moments against how these scatter over repetitions."""

import numpy as np
import pytest

from assim.statistics.accuracy import (
    ACCURATE,
    CENTRED,
    Errors,
    controlled_moments,
    errors_of_weighted,
    more_draws,
)

REPEATS, NUMBER = 400, 400


def moments(values, weights):
    mean = weights @ values
    return mean, np.sqrt(weights @ (values - mean) ** 2)


def scatter(draw):
    """Of mean, in standard deviations, and of the relative standard deviation; and as stated."""
    rng = np.random.default_rng(0)
    found, stated = [], []
    for _ in range(REPEATS):
        values, weights, how = draw(rng)
        found.append(moments(values, weights))
        stated.append(errors_of_weighted(values[:, None], weights, **how)[:2])
    means, stdevs = np.array(found).T
    middle = np.mean(stdevs)
    return (np.std(means) / middle, np.std(stdevs) / middle), np.mean(stated, axis=0)


def independent(rng):
    return rng.normal(2.0, 3.0, NUMBER), np.full(NUMBER, 1 / NUMBER), {}


def antithetic(rng):
    half = rng.normal(size=NUMBER // 2)
    values = 1.0 + np.concatenate([half, -half])
    return values, np.full(NUMBER, 1 / NUMBER), {"paired": True}


def weighted(rng):
    """N(0, 1) from a t with 5 degrees of freedom."""
    values = rng.standard_t(5, NUMBER)
    weights = np.exp(-(values**2) / 2) * (1 + values**2 / 5) ** 3
    return values, weights / weights.sum(), {}


@pytest.mark.parametrize("draw", [independent, weighted])
def test_stated_errors_are_those_over_repetitions(draw):
    """Each within 15 per cent, about four times the error of 400 repetitions."""
    true, stated = scatter(draw)
    np.testing.assert_allclose(stated, true, rtol=0.15)


def test_antithetic_draws_know_a_deviation_as_half_of_them():
    """√(1/N), not √(1/2N), and the mean exactly."""
    true, stated = scatter(antithetic)
    assert true[0] < 1e-12 and stated[0] < 1e-12
    np.testing.assert_allclose([true[1], stated[1]], np.sqrt(1 / NUMBER), rtol=0.15)
    plain = errors_of_weighted(*(v for v in (antithetic(np.random.default_rng(1))[0][:, None],)),
                               np.full(NUMBER, 1 / NUMBER))  # fmt: skip
    assert plain.stdev < 0.85 * stated[1]


def test_against_known_moments_equal_weights_leave_no_error():
    values = np.random.default_rng(0).normal(size=(NUMBER, 3))
    values = np.concatenate([values, -values])
    equal = np.full(len(values), 1 / len(values))
    found = errors_of_weighted(values, equal, paired=True, against=True)
    assert found.mean < 1e-12 and found.stdev < 0.05  # 1 is not quite their variance
    assert errors_of_weighted(values, equal, paired=True).stdev > found.stdev


def test_no_weight_and_no_spread():
    values = np.ones((10, 2))
    assert errors_of_weighted(values, np.zeros(10)) == Errors(np.inf, np.inf)
    assert errors_of_weighted(values, np.full(10, 0.1)) == Errors(0.0, 0.0)
    assert errors_of_weighted(np.zeros((10, 0)), np.full(10, 0.1)) == Errors(0.0, 0.0)


def test_what_is_asked_is_what_2222_gaussian_draws_reach():
    number = int(1 / (2 * ACCURATE**2))
    values = np.random.default_rng(0).normal(size=(number, 1))
    found = errors_of_weighted(values, np.full(number, 1 / number))
    assert number == 2222 and found.excess() == pytest.approx(1.0, abs=0.06)
    assert Errors(CENTRED, 0.0).excess() == Errors(0.0, ACCURATE).excess() == 1.0
    assert Errors(np.nan, 0.0).excess() == np.inf


def test_how_many_more():
    assert more_draws(1000, Errors(0.0, ACCURATE / 2)) == 1000
    assert more_draws(1000, Errors(0.0, ACCURATE * 1.5)) == pytest.approx(2700, abs=1)
    assert more_draws(1000, Errors(0.0, ACCURATE * 9)) == 4000


# ---- with known moments of unweighted draws ------------------------------------------------------


def drawn(rng, number=2000):
    half = rng.normal(size=number // 2)
    return np.concatenate([half, -half])


def test_equal_weights_give_what_is_known_to_rounding():
    z = drawn(np.random.default_rng(0))
    equal = np.full(z.size, 1 / z.size)
    for f, known in ((3 * z, (0.0, 9.0)), (np.exp(z / 2), (np.exp(1 / 8), np.exp(1 / 2)))):
        found = controlled_moments(f, equal, known)
        assert found.mean == pytest.approx(known[0], abs=1e-12)
        assert found.variance == pytest.approx(known[1] - known[0] ** 2, rel=1e-9)
        assert found.errors.excess() < 1e-6


def test_controlled_moments_scatter_as_they_say():
    """exp(z/2), z ~ N(1/3, 1) by weights of N(0, 1); better than weights alone."""
    rng, mean = np.random.default_rng(0), np.exp(1 / 6 + 1 / 8)
    variance = mean**2 * np.expm1(1 / 4)
    known, found, plain = (np.exp(1 / 8), np.exp(1 / 2)), [], []
    for _ in range(REPEATS):
        z = drawn(rng, 4000)
        weights = np.exp(z / 3)
        weights /= weights.sum()
        found.append(controlled_moments(np.exp(z / 2), weights, known))
        plain.append(moments(np.exp(z / 2), weights))
    means, stdevs = (np.array(v) for v in zip(*[(m.mean, m.variance**0.5) for m in found],
                                              strict=True))  # fmt: skip
    stated = np.mean([m.errors[:2] for m in found], axis=0)
    true = np.std(means) / variance**0.5, np.std(stdevs) / variance**0.5
    np.testing.assert_allclose(stated, true, rtol=0.2)
    assert abs(np.mean(means) - mean) < 4 * np.std(means) / REPEATS**0.5 + 1e-3 * mean
    assert abs(np.mean(stdevs) / variance**0.5 - 1) < 0.01
    assert true[1] < np.std([s for _, s in plain]) / variance**0.5


def test_a_constant_has_no_spread():
    assert controlled_moments(np.zeros(10), np.full(10, 0.1), (0.0, 0.0)).variance == 0
