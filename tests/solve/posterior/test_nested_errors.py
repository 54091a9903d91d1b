"""How well members of nested Laplace know what is published of them, against many repetitions."""

import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.nested.members import _of_scalar
from assim.solve.posterior.nested.nested import Nested
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
