"""Many chains that are adjusted late, on posteriors whose moments are known."""

import jax
import numpy as np
import pytest

from assim.solve.posterior.chains.laps import LAPS
from assim.solve.posterior.chains.samplers import MCLMC
from assim.solve.posterior.ensemble import Trust
from tests.solve.departures import Misfit
from tests.solve.targets import banana, errors, gaussian, laplace_at, truncated, two_modes

ACCURACY = 0.03
LATE = LAPS(accuracy=ACCURACY, chains=128)


@pytest.mark.parametrize(
    "target", [banana, pytest.param(gaussian, marks=pytest.mark.slow)], ids=lambda t: t.__name__
)
def test_moments_are_right(target):
    """Without the bias of unadjusted steps, which two thirds of the warm-up have."""
    target = target()
    found = LATE.sample(target.problem, target.around, jax.random.key(0))
    assert found.trust is Trust.CERTIFIED, found.advice
    mean, stdev = errors(found, target)
    assert np.max(np.abs(mean)) < 4 * ACCURACY
    assert np.max(np.abs(stdev)) < 4 * ACCURACY
    assert found.chains == 128 and found.certificates["energy_variance"] == 0


@pytest.mark.slow
def test_it_knows_where_the_target_ends():
    target = truncated()
    found = LATE.sample(target.problem, target.around, jax.random.key(0))
    assert found.trust is Trust.CERTIFIED, found.advice
    assert np.min(np.asarray(found.members)[:, 0]) >= -0.5
    mean, stdev = errors(found, target)
    assert max(np.max(np.abs(mean)), np.max(np.abs(stdev))) < 4 * ACCURACY


@pytest.mark.slow
def test_modes_that_no_chain_leaves():
    target = two_modes()
    found = LATE.sample(target.problem, target.around, jax.random.key(1))
    assert found.trust is Trust.DOUBTFUL


def test_the_test_comes_late():
    """All phases of the warm-up but the last go without it."""
    early = LATE.early()
    assert isinstance(early, MCLMC) and not early.exact() and LATE.exact()
    assert (early.chains, early.phase_draws()) == (128, LATE.phase_draws())


def test_one_control_has_no_direction_to_forget():
    problem = Misfit(lambda chi, data: chi, 1, 1.0)
    found = LATE.sample(problem, laplace_at(np.zeros(1), np.eye(1) / 2), jax.random.key(0))
    assert found.trust is Trust.FAILED and "run NUTS" in found.advice
