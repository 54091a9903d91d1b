"""Analyses of a model that brings its step alone, beside the same model with all derivatives."""

import jax.numpy as jnp
import numpy as np
import pytest

import assim
from tests.couple import heat

FEW = assim.posterior.Laplace(certificate=200)
TIGHT = assim.minimiser.GaussNewton(tolerance=1e-10)


@pytest.fixture(scope="module")
def theirs():
    return assim.analyse(heat.problem(heat.InJax(heat.DEFAULTS)), TIGHT, FEW, starts=1)


def test_with_a_full_rank_ensemble_it_is_4d_var(theirs):
    minimiser = assim.minimiser.FourDEnVar(members=heat.N, tolerance=1e-9)
    ours = assim.analyse(heat.problem(heat.model()), minimiser, FEW, starts=1)
    assert not ours.failures and ours.solution.status is assim.Status.CONVERGED
    np.testing.assert_allclose(ours.solution.chi, theirs.solution.chi, atol=1e-8)
    covariances = [
        np.asarray([found.laplace.gaussian.covariance(row) for row in jnp.eye(heat.N)])
        for found in (ours, theirs)
    ]
    np.testing.assert_allclose(*covariances, atol=1e-8)
    np.testing.assert_allclose(ours.trajectory_stdev["T"], theirs.trajectory_stdev["T"], atol=1e-8)
    assert ours.laplace.certificates()["members"] == heat.N + 10
    assert ours.laplace.log_evidence == pytest.approx(theirs.laplace.log_evidence, abs=1e-6)
