"""How well members of nested Laplace know what is published of them, against many repetitions."""

import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.nested.members import Logs, _known, _of_scalar, weighted
from assim.solve.posterior.nested.nested import Nested
from assim.solve.posterior.nested.pooling import parted, pooled
from assim.statistics.accuracy import Errors
from tests.solve.posterior.test_nested import Bare, mixture, sampled

NUMBER, REPEATS = 2000, 300
LEVELS = (0.05, 0.5, 0.95)


def independent(terms):
    return np.sqrt(np.sum(terms**2, axis=0))


@pytest.mark.parametrize("width", [0.2, 0.7])
def test_errors_of_a_log_normal_scale(width):
    """Of moments and the worst quantile of exp(width z), not of z; some are not finite."""
    rng, weights = np.random.default_rng(0), np.full(NUMBER, 1 / NUMBER)
    moments, quantiles, stated = [], [], []
    for _ in range(REPEATS):
        f = np.exp(width * rng.normal(size=NUMBER))
        f[:20] = np.nan
        stated.append(_of_scalar(f, weights, independent))
        moments.append((np.nanmean(f), np.nanstd(f)))
        quantiles.append(np.nanquantile(f, LEVELS))
    scatter, stdev = np.std(moments, axis=0), np.mean(moments, axis=0)[1]
    span = np.mean(quantiles, axis=0)
    of_quantile = np.max(np.std(quantiles, axis=0)) / (span[2] - span[0])
    expected = (*scatter / stdev, of_quantile)
    np.testing.assert_allclose(np.mean(stated, axis=0), expected, rtol=0.2)


class Scaled(Bare):
    """Of ψ ~ N(0, 1) the scale exp(ψ), and something that is finite nowhere."""

    def scalars(self, chi):
        return {"scale": jnp.exp(chi[0]), "absent": jnp.full((), jnp.nan)}


def test_the_scale_is_judged_and_not_its_logarithm():
    """Members that know ψ within limits, and not the scale, whose kurtosis is 114."""
    begin, settings = jnp.array([0.0, 0.9]), Nested(number=1500)
    of_logarithm, of_scale = (sampled(kind(mixture), settings, begin) for kind in (Bare, Scaled))
    assert of_logarithm.trust is Trust.CERTIFIED, of_logarithm.advice
    assert of_logarithm.certificates["quantile_error"] == 0
    assert of_scale.certificates["quantile_error"] > 0
    assert of_scale.certificates["accuracy"] > of_logarithm.certificates["accuracy"]
    assert of_scale.trust is Trust.DOUBTFUL and "are known within" in of_scale.advice


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_error_that_is_not_measured_never_vanishes(place):
    """Wherever it stands among those of scalars: it is NaN, and in excess of every limit."""
    values = np.random.default_rng(0).normal(size=(100, 1))
    weights = np.full(100, 0.01)
    of_scalars = [Errors(0.01, 0.01, 0.01)] * 3
    of_scalars[place] = Errors(np.nan, 0.02, 0.01)
    known = _known(values, weights, [np.array([0.01]), np.array([0.01])], of_scalars)
    assert np.isnan(known.errors.mean) and known.errors.stdev == 0.02
    assert not known.errors.excess() <= 1


def members(rng, number, spread):
    """ψ ~ N(0, 1), each with two z whose corrections are of this spread."""
    psi, ratio = rng.normal(size=(number, 1)), spread * rng.normal(size=(number, 2))
    chi = np.concatenate([np.repeat(psi, 2, axis=0), rng.normal(size=(2 * number, 1))], axis=1)
    return weighted(chi, np.arange(number), Logs(psi, np.full(number, -np.log(number)), ratio), 0.0)


@pytest.mark.parametrize(
    ("others", "spread", "corrected"), [(10, 0.1, True), (40, 3.0, False)], ids=["few", "heavy"]
)
def test_sets_of_members_are_corrected_together_or_not_at_all(others, spread, corrected):
    """One that weights correct with one that is too small or too heavy: k̂ is that of all draws."""
    rng = np.random.default_rng(1)
    light, heavy = members(rng, 2000, 0.1), members(rng, others, spread)
    assert light.corrected and not heavy.corrected
    whole = pooled(light, heavy)
    logs = np.concatenate([one.logs.ratio.ravel() for one in (light, heavy)])
    right = np.exp(logs) / np.exp(logs).sum() if corrected else np.full(logs.size, 1 / logs.size)
    assert whole.corrected == corrected
    np.testing.assert_allclose(whole.weights, right, rtol=0.2)
    evidence = np.log(np.mean(np.exp(logs))) if corrected else 0.0
    assert whole.log_evidence == pytest.approx(evidence, abs=0.02)
    for one in parted(whole, light, heavy):
        assert one.weights.sum() == pytest.approx(1) and one.corrected == corrected
