"""Analyses of a model that brings its step alone, beside the same model with all derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.solve.posterior.ensemble import Trust
from tests.couple import hares, heat

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


def test_a_radius_beyond_what_is_seen_changes_no_minimum(theirs):
    minimiser = assim.minimiser.FourDEnVar(members=6, tolerance=1e-8, radius={"x": 7.0})
    problem = heat.problem(heat.InJax(heat.DEFAULTS))
    solution = assim.minimiser.minimise(problem, minimiser, jnp.zeros(heat.N))
    assert solution.status is assim.Status.CONVERGED
    np.testing.assert_allclose(solution.chi, theirs.solution.chi, atol=1e-6)


def test_members_of_esmda_are_those_of_the_model_in_jax():
    method = assim.posterior.ESMDA(members=20, assimilations=2, check=0)
    ours, theirs = (
        method.sample(hares.problem(given), None, jax.random.key(0)).members
        for given in (hares.model(), hares.in_jax())
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_parameters_by_members_alone_are_those_of_a_chain():
    """Within .1 standard deviations, and 10 % of these, of NUTS; both on the model in JAX."""
    esmda = assim.posterior.ESMDA(members=4000, assimilations=32)
    methods = {"nuts": assim.posterior.NUTS(), "e4000_32_p": esmda}
    found = assim.analyse(hares.problem(hares.in_jax()), posterior=methods, starts=1).posteriors
    chains, ours = found["nuts"].quantities, found["e4000_32_p"]
    assert ours.trust is Trust.DOUBTFUL and "not linear enough" in ours.advice
    for name in hares.DEFAULTS:
        scalar, right = ours.quantities[name], chains[name]
        assert abs(scalar.mean - right.mean) < 0.1 * right.stddev, name
        assert scalar.stddev == pytest.approx(right.stddev, rel=0.1), name
