"""NUTS and HMC on posteriors whose moments are known."""

import jax
import numpy as np
import pytest

from assim.solve.posterior.chains.samplers import HMC, NUTS
from assim.solve.posterior.ensemble import Trust
from tests.solve.targets import banana, errors, gaussian, truncated, two_modes

ACCURACY = 0.03


def check(method, target, seed=0):
    """Certified, with the errors that were promised: four standard errors bound the largest."""
    found = method.sample(target.problem, target.around, jax.random.key(seed))
    assert found.trust is Trust.CERTIFIED, found.advice
    mean, stdev = errors(found, target)
    assert np.max(np.abs(mean)) < 4 * ACCURACY
    assert np.max(np.abs(stdev)) < 4 * ACCURACY
    assert np.sqrt(np.mean(stdev**2)) < 1.7 * ACCURACY
    assert found.certificates["accuracy"] <= ACCURACY
    assert found.certificates["r_hat"] < 1.01
    return found


@pytest.mark.parametrize("method", [NUTS, HMC])
def test_correlated_gaussian(method):
    found = check(method(accuracy=ACCURACY), gaussian())
    assert found.certificates["effective_draws"] > 1 / ACCURACY**2
    assert found.certificates["moved"] == 0
    assert found.certificates["chains_from_prior"] == 4
    assert found.certificates["chains_from_prior_agree"] < 8 * ACCURACY
    assert found.gradients < 100_000


@pytest.mark.slow
def test_banana_without_a_prior_of_its_own():
    check(NUTS(accuracy=ACCURACY), banana())


@pytest.mark.parametrize("method", [pytest.param(NUTS, marks=pytest.mark.slow), HMC])
def test_target_that_ends(method):
    """Proposals beyond the edge are rejected, and no member lies there."""
    found = check(method(accuracy=ACCURACY), truncated())
    assert found.certificates["outside"] > 0.1
    assert found.certificates["divergences"] < 0.01
    assert np.min(np.asarray(found.members)[:, 0]) >= -0.5


@pytest.mark.slow
def test_modes_that_no_chain_leaves():
    """Chains from the prior find the other mode; nobody knows its weight."""
    target = two_modes()
    found = NUTS(max_gradients=100_000).sample(target.problem, target.around, jax.random.key(1))
    assert found.trust is Trust.DOUBTFUL
    assert found.certificates["r_hat"] > 1.5 and "several modes" in found.advice
    assert found.certificates["chains_from_prior_agree"] > 0.2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"accuracy": 0.0}, "NUTS: accuracy must be positive and finite, got 0.0"),
        ({"chains": 1}, "NUTS: chains must be at least 2, got 1"),
        ({"acceptance": 1.0}, "NUTS: acceptance must lie between 0 and 1, got 1.0"),
        ({"doublings": 0}, "NUTS: doublings must be at least 1, got 0"),
        ({"members": 7}, "NUTS: members must be at least 8, got 7"),
    ],
)
def test_settings_that_make_no_sense(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        NUTS(**arguments)
