"""Laws of weights: p(y | Hx)^w, so that a value of weight 0 is none, and one of weight 2 is two."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.problem.covariance import Autoregressive, Blocks, Dense, Diagonal
from assim.problem.observation import ErrorScale, Observations
from assim.problem.operator import PointSample
from assim.problem.points import Points
from assim.problem.prior import LogNormal
from tests.registry import LIKELIHOODS

SCALE = {"sigma": jnp.asarray(1.9)}
CASES = [
    (name, scaled)
    for name, entry in LIKELIHOODS.items()
    for scaled in ((False, True) if entry.has_scale else (False,))
]


def instrument(name, scaled, rows=slice(None), weight=None):
    entry = LIKELIHOODS[name]
    observed = np.asarray(entry.observed)
    stdev = np.linspace(0.4, 1.3, observed.size)[rows]
    points = Points.at(jnp.arange(float(observed.size))[rows])
    scale = ErrorScale("sigma", LogNormal(1.0, 0.5)) if scaled else None
    return Observations(
        "y", observed[rows], points, PointSample("x"), stdev, entry.make(), scale, weight=weight
    )


def figures(o, predicted):
    """|d|², c and the constant, and the log density that they make."""
    square = jnp.sum(o.normalised(predicted, SCALE) ** 2)
    c, constant = o.normaliser(SCALE), o.log_constant()
    return np.array([square, c, constant, constant - square / 2 - c])


@pytest.mark.parametrize(("name", "scaled"), CASES)
def test_a_value_of_weight_zero_is_as_if_it_were_not_there(name, scaled):
    predicted = jnp.asarray(LIKELIHOODS[name].predicted)
    keep = np.arange(predicted.size) % 3 != 1
    weighted = instrument(name, scaled, weight=keep.astype(float))
    alone = instrument(name, scaled, keep)
    impossible = jnp.where(keep, predicted, -1.0)  # neither a logarithm nor a count
    d = weighted.normalised(impossible, SCALE)
    np.testing.assert_array_equal(d[keep], alone.normalised(predicted[keep], SCALE))
    assert not d[~keep].any() and weighted.count() == alone.count() == keep.sum()
    np.testing.assert_allclose(
        figures(weighted, impossible), figures(alone, predicted[keep]), rtol=1e-13, atol=1e-13
    )
    slope = jax.grad(lambda hx: jnp.sum(weighted.normalised(hx, SCALE) ** 2))(impossible)
    assert np.isfinite(slope).all() and not slope[~keep].any()


@pytest.mark.parametrize(("name", "scaled"), CASES)
def test_a_value_of_weight_two_is_as_if_it_were_given_twice(name, scaled):
    predicted = jnp.asarray(LIKELIHOODS[name].predicted)
    twice = np.repeat(np.arange(predicted.size), 1 + np.arange(predicted.size) % 2)
    weighted = instrument(name, scaled, weight=1.0 + np.arange(predicted.size) % 2)
    repeated = instrument(name, scaled, twice)
    assert weighted.count() == repeated.count()
    np.testing.assert_allclose(
        figures(weighted, predicted), figures(repeated, predicted[twice]), rtol=1e-12
    )


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", [name for name, e in LIKELIHOODS.items() if e.has_scale])
def test_one_weight_is_the_power_of_all_values_with_correlated_errors(name, weight):
    entry = LIKELIHOODS[name]
    predicted = jnp.asarray(entry.predicted)
    plain = instrument(name, True)
    given = {f.name: getattr(plain, f.name) for f in dataclasses.fields(plain)}
    given["covariance"] = Autoregressive(2.0, 0.7)
    whole = Observations(**{**given, "weight": None})
    weighted = Observations(**{**given, "weight": np.full(predicted.size, weight)})
    np.testing.assert_allclose(
        figures(weighted, predicted), weight * figures(whole, predicted), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(
    "covariance", [Dense(np.eye(3) + 0.5), Blocks([Diagonal(1.0), Dense(np.eye(2) + 0.5)], [1, 2])]
)
def test_correlated_errors_take_no_weights_of_single_values(covariance):
    given = ("y", np.ones(3), Points.at(jnp.arange(3.0)), PointSample("x"))
    with pytest.raises(ValueError, match=r"^y: errors with a \w+ covariance .*subset"):
        Observations(*given, covariance=covariance, weight=np.array([1.0, 1.0, 0.0]))


def test_independent_blocks_take_weights_of_single_values():
    blocks = Blocks([Diagonal(1.0), Diagonal(2.0)], [1, 2])
    points, weight = Points.at(jnp.arange(3.0)), np.array([1.0, 0.0, 0.5])
    given = ("y", np.ones(3), points, PointSample("x"))
    one = Observations(*given, covariance=blocks, weight=weight)
    other = Observations(*given, np.array([1.0, 2.0, 2.0]), weight=weight)
    np.testing.assert_allclose(one.log_constant(), other.log_constant(), rtol=1e-14)
