"""ESMDA: exact for linear departures as members grow, and what it says where they are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.esmda import ESMDA
from tests.solve.departures import Misfit, UnknownScale
from tests.solve.posterior.closed_posteriors import (
    given,
    linear,
    nowhere,
    separable,
    walled,
    with_wall,
)

KEY = jax.random.key(3)
N = 3


@pytest.fixture(scope="module")
def case():
    return linear(n=N, m=5)


def around(case):
    return given(case.mean, np.diag(case.covariance))


@pytest.mark.parametrize("update", ["perturbed", "square_root"])
def test_linear_posterior_within_the_standard_error_of_its_members(case, update):
    method = ESMDA(members=4000, update=update, check=4000)
    found = method.sample(case.problem, around(case), KEY)
    stdev = np.sqrt(np.diag(case.covariance))
    prior_error = 1 / np.sqrt(4000)  # of the prior's draws; that of the posterior's is no larger
    np.testing.assert_allclose(found.mean(), case.mean, atol=4 * prior_error)
    np.testing.assert_allclose(found.stdev(), stdev, rtol=4 * prior_error)
    assert found.trust is Trust.CERTIFIED, found.advice
    assert found.certificates["failed"] == 0 and found.evaluations == 5 * 4000 + 4000


def test_errors_fall_as_members_grow(case):
    away = []
    for members in (50, 5000):
        found = ESMDA(members=members, check=0).sample(case.problem, around(case), KEY)
        away.append(float(np.max(np.abs(np.asarray(found.mean()) - case.mean))))
    assert away[1] < away[0] / 3


def test_without_a_check_it_is_doubtful(case):
    found = ESMDA(members=50, check=0).sample(case.problem, around(case), KEY)
    assert found.trust is Trust.DOUBTFUL and "give it draws to `check`" in found.advice


def test_nonlinear_departures_are_told():
    case = separable()
    start = given(case.mode, case.stdev**2)
    found = ESMDA(members=3000).sample(case.problem, start, KEY)
    assert found.trust is Trust.DOUBTFUL and "not linear enough for ESMDA" in found.advice
    assert found.certificates["check_stdev_moved"] > 0.05


def test_members_that_fail_are_left_out_and_counted(case):
    walls = Misfit(walled, N, 1.0, with_wall(case.problem.data, -2.0))
    found = ESMDA(members=400, check=0).sample(walls, around(case), KEY)
    failed = int(found.certificates["failed"])
    assert failed > 0 and len(found.members) == 400 - failed
    assert found.advice.startswith(f"{failed} members failed and are left out.")
    assert np.isfinite(np.asarray(found.members)).all()
    nothing = ESMDA(members=50).sample(Misfit(nowhere, N, 1.0, jnp.zeros(N)), around(case), KEY)
    assert nothing.trust is Trust.FAILED and "50 of 50 members failed" in nothing.advice


def test_what_it_refuses(case):
    scale = ESMDA().sample(UnknownScale(jnp.ones(3)), around(case), KEY)
    assert scale.trust is Trust.FAILED and "an error scale is estimated" in scale.advice
    flat = ESMDA().sample(Misfit(nowhere, N, 0.0), around(case), KEY)
    assert flat.trust is Trust.FAILED and "a control has none" in flat.advice
    with pytest.raises(ValueError, match="update must be one of"):
        ESMDA(update="other")
