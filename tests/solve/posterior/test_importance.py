"""Importance-corrected posteriors: densities, evidence and moments against closed forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from assim.solve.posterior.ensemble import Ensemble, Trust, equal_weights
from assim.solve.posterior.importance import Importance, corrected
from assim.solve.posterior.proposal import about, fitted
from assim.solve.together import affordable
from tests.solve.departures import Misfit, UnknownScale
from tests.solve.linear import driven, innovation_density, stacked
from tests.solve.posterior.closed_posteriors import (
    affine,
    given,
    linear,
    nowhere,
    posterior_at,
    separable,
    walled,
    with_wall,
)

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def gaussian_case():
    case = linear()
    return case, posterior_at(case.problem, case.mean)


@pytest.fixture(scope="module")
def skewed_case():
    case = separable()
    return case, posterior_at(case.problem, case.mode)


_fitted = eqx.filter_jit(fitted)


@eqx.filter_jit
def _drawn(proposal, number):
    """Draws with their density as drawn, and as asked for."""
    chi, log_q = proposal.draw(KEY, number)
    return chi, log_q, jax.vmap(proposal.log_density)(chi)


def off(ensemble, mean, stdev):
    """Largest errors of means, in sds, and of sds, relative."""
    return (
        np.max(np.abs(np.asarray(ensemble.mean()) - mean) / stdev),
        np.max(np.abs(np.asarray(ensemble.stdev()) / stdev - 1)),
    )


# ---- the proposal --------------------------------------------------------------------------------


@pytest.mark.parametrize("heavy", [False, True])
def test_density_of_the_proposal(heavy):
    """Against SciPy's, with a mean and a covariance of its own."""
    start = about(given([1.0, 2.0, -1.0], [0.1, 0.9, 0.3]).gaussian, heavy)
    members = jnp.asarray(np.random.default_rng(0).normal(size=(40, 3)))
    proposal = _fitted(start, members, equal_weights(40))
    chi, log_q, again = _drawn(proposal, 6)
    np.testing.assert_allclose(again, log_q, rtol=1e-10)
    turned = np.sqrt([0.1, 0.9, 0.3])[:, None] * np.asarray(proposal.gaussian.eigenvectors)
    scale = turned @ np.asarray(proposal.root)
    mean = np.array([1.0, 2.0, -1.0]) + turned @ np.asarray(proposal.mean)
    exact = (
        scipy.stats.multivariate_t(mean, scale @ scale.T, 5)
        if heavy
        else scipy.stats.multivariate_normal(mean, scale @ scale.T)
    )
    expected = exact.logpdf(np.asarray(chi)) + 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(log_q, expected, rtol=1e-10)


def test_uninformed_directions_stay_gaussian():
    """Of 70 controls the data inform two: tails are those of the prior along the others."""
    proposal = about(given(np.zeros(70), np.repeat([0.1, 1.0], [2, 68])).gaussian, True)
    assert int(np.sum(proposal.informed)) == 2
    chi, log_q, again = _drawn(proposal, 4000)
    np.testing.assert_allclose(again, log_q, rtol=1e-10)
    kurtosis = scipy.stats.kurtosis(np.asarray(chi))
    assert np.min(kurtosis[:2]) > 1.5  # 6 for five degrees of freedom
    assert np.max(np.abs(kurtosis[2:])) < 5 * np.sqrt(24 / 4000)


def test_fit_has_the_moments_of_the_ensemble(gaussian_case):
    """But for what draws it to Laplace's, n parts to N."""
    case, posterior = gaussian_case
    exact = np.random.default_rng(1).multivariate_normal(case.mean, 4 * case.covariance, 50_000)
    members = jnp.asarray(exact + 0.3)
    proposal = _fitted(about(posterior.gaussian, False), members, equal_weights(50_000))
    chi = _drawn(proposal, 50_000)[0]
    np.testing.assert_allclose(np.mean(chi, axis=0), case.mean + 0.3, atol=0.02)
    np.testing.assert_allclose(np.cov(chi.T), 4 * case.covariance, atol=0.03)


def test_fit_of_few_members(gaussian_case):
    """Fewer than dimensions: still a proposal."""
    case, posterior = gaussian_case
    members = jnp.asarray(case.mean)[None] + jnp.asarray([[0.1] * 5, [-0.1] * 5])
    proposal = _fitted(about(posterior.gaussian, True), members, equal_weights(2))
    assert np.all(np.isfinite(proposal.root))


# ---- closed forms --------------------------------------------------------------------------------


def test_gaussian_proposal_is_exact_for_a_linear_problem(gaussian_case):
    """Equal weights, so that one draw would do."""
    case, posterior = gaussian_case
    found = Importance(200, "gaussian").sample(case.problem, posterior, KEY)
    assert abs(found.log_evidence - case.log_evidence) < 1e-8
    assert found.certificates["k_hat"] < 0.5
    assert found.certificates["log_evidence_stdev"] < 1e-8
    assert found.weight_size() == pytest.approx(200)


@pytest.mark.slow
def test_evidence_of_a_model():
    """The whole engine: a driven linear model against the density of its innovations."""
    case = driven()
    whole = posterior_at(case.problem, _minimum(case), 0)
    found = Importance(4000, "gaussian").sample(case.problem, whole, KEY)
    constant = -np.linalg.slogdet(2 * np.pi * stacked(case)[2])[1] / 2
    exact = innovation_density(case)[1]
    assert abs(found.log_evidence + constant - exact) < 1e-8


@eqx.filter_jit
def _minimum(case):
    """χ* of a linear problem, by one Newton step."""
    departed = lambda chi: case.problem(chi).normalised  # noqa: E731
    zero = jnp.zeros(case.problem.size())
    jacobian = jax.jacfwd(departed)(zero)
    hessian = jnp.eye(zero.size) + jacobian.T @ jacobian
    return -jnp.linalg.solve(hessian, jacobian.T @ departed(zero))


def test_t_proposal_of_a_linear_problem(gaussian_case):
    case, posterior = gaussian_case
    found = Importance(20_000).sample(case.problem, posterior, KEY)
    error = found.certificates["log_evidence_stdev"]
    assert found.trust is Trust.CERTIFIED and found.certificates["k_hat"] < 0.3
    assert 0.001 < error < 0.02
    assert abs(found.log_evidence - case.log_evidence) < 4 * error
    mean, stdev = off(found, case.mean, np.sqrt(np.diag(case.covariance)))
    assert mean < 5 / np.sqrt(found.weight_size()) and stdev < 5 / np.sqrt(2 * found.weight_size())
    assert found.evaluations == 20_000 and found.gradients == 0


def test_skewed_posterior(skewed_case):
    """Moments and evidence by quadrature, from which Laplace is far."""
    case, posterior = skewed_case
    found = Importance(40_000).sample(case.problem, posterior, KEY)
    assert found.trust is Trust.CERTIFIED
    mean, stdev = off(found, case.mean, case.stdev)
    assert mean < 0.03 and stdev < 0.03
    laplace_mean = np.max(np.abs(np.asarray(posterior.chi) - case.mean) / case.stdev)
    assert laplace_mean > 0.15 > 5 * mean
    error = found.certificates["log_evidence_stdev"]
    assert abs(found.log_evidence - case.log_evidence) < 4 * error < 0.03
    assert abs(posterior.log_evidence - case.log_evidence) > 0.03


def test_half_of_the_space_has_no_density():
    """Evidence and moments of a truncated Gaussian; members are finite where it is."""
    data = jnp.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    problem = Misfit(walled, 2, 1.0, with_wall(data, 0.0))
    found = Importance(20_000).sample(problem, given([0.0, 0.0], [0.5, 0.5]), KEY)
    assert found.trust is Trust.CERTIFIED
    assert abs(found.certificates["outside"] - 0.5) < 0.02
    assert abs(found.log_evidence - np.log(0.25)) < 4 * found.certificates["log_evidence_stdev"]
    assert abs(float(found.mean()[0]) - np.sqrt(0.5 * 2 / np.pi)) < 0.02
    assert bool(jnp.all(found.members[:, 0] >= 0))


# ---- adaptation ----------------------------------------------------------------------------------


def test_rounds_find_a_posterior_that_the_proposal_missed(gaussian_case):
    """A proposal three standard deviations off and half as wide."""
    case, _ = gaussian_case
    stdev = np.sqrt(np.diag(case.covariance))
    wrong = given(case.mean + 3 * stdev, (stdev / 2) ** 2)
    once = Importance(5000, rounds=0).sample(case.problem, wrong, KEY)
    lines = []
    found = Importance(5000, rounds=6).sample(case.problem, wrong, KEY, lines.append)
    assert once.trust is not Trust.CERTIFIED
    assert found.trust is Trust.CERTIFIED
    assert abs(found.log_evidence - case.log_evidence) < 0.1
    assert off(found, case.mean, stdev)[0] < 0.15
    assert found.evaluations == 5000 * len(lines) and "k̂" in lines[0]


def test_the_round_that_is_kept():
    """N(4, ½) from N(0, 0.2²): rounds of few draws deceive the delta method."""
    problem = Misfit(affine, 1, 1.0, jnp.asarray([[1.0, 8.0]]))
    settings = Importance(2000, "gaussian", rounds=8)
    found = settings.sample(problem, given([0.0], [0.04]), jax.random.key(2))
    mean, stdev = off(found, 4.0, 0.5**0.5)
    assert mean < 0.3 and stdev < 0.3  # the fifth is two standard deviations off
    assert found.certificates["k_hat"] < 0.5 and found.certificates["effective_draws"] >= 400


def test_draws_fit_in_memory():
    """Twenty million numbers, and ten draws of however many controls."""
    assert [affordable(10_000, n) for n in (2000, 20_000, 10**6, 10**8)] == [10_000, 1000, 20, 10]


def test_corrected_ensemble(skewed_case):
    """One that is too narrow, as reverse Kullback-Leibler fits and plain SVGD are."""
    case, posterior = skewed_case
    rng = np.random.default_rng(0)
    members = jnp.asarray(rng.normal(case.mode, 0.6 * case.stdev, (300, 3)))
    narrow = Ensemble(members, equal_weights(300), Trust.DOUBTFUL, "", gradients=70, evaluations=5)
    found = corrected(case.problem, narrow, posterior, KEY, Importance(20_000))
    assert found.trust is Trust.CERTIFIED
    mean, stdev = off(found, case.mean, case.stdev)
    assert mean < 0.04 and stdev < 0.04
    assert off(narrow, case.mean, case.stdev)[1] > 0.3
    assert found.gradients == 70 and found.evaluations % 20_000 == 5


def test_failed_ensembles_are_not_corrected(skewed_case):
    case, posterior = skewed_case
    failed = Ensemble(jnp.full((3, 3), jnp.nan), equal_weights(3), Trust.FAILED, "why")
    assert corrected(case.problem, failed, posterior, KEY) is failed


# ---- bad targets ---------------------------------------------------------------------------------


def test_no_draw_has_a_density():
    problem = Misfit(nowhere, 2, 1.0, jnp.zeros(2))
    found = Importance(200).sample(problem, given([0.0, 0.0], [1.0, 1.0]), KEY)
    assert found.trust is Trust.FAILED and "finite at none" in found.advice
    assert np.isnan(found.log_evidence)
    assert np.all(np.isfinite(found.members))
    np.testing.assert_allclose(found.weights, 1 / 200)


def test_heavy_tails_are_not_certified():
    """A flat prior and a proposal a fiftieth as wide as the posterior."""
    case = linear(n=6, m=1, scale=0.01)
    narrow = given(case.mean, np.full(6, 4e-4))
    found = Importance(1000, "gaussian", rounds=0).sample(case.problem, narrow, KEY)
    assert found.trust is not Trust.CERTIFIED
    assert found.certificates["k_hat"] > 0.7 and "chain" in found.advice
    assert np.isnan(found.log_evidence)


def test_too_few_effective_draws(skewed_case):
    case, posterior = skewed_case
    found = Importance(300, rounds=0).sample(case.problem, posterior, KEY)
    assert found.trust is Trust.DOUBTFUL and "number" in found.advice


def test_improper_prior_has_no_evidence():
    """σ = exp(χ) with Jeffreys' prior: σ⁻² of m values of zero mean is χ²_m/Σy²."""
    values = jnp.asarray([0.5, -1.0, 2.0, 0.1, -0.7, 1.2])
    problem = UnknownScale(values)
    least = 0.5 * np.log(np.mean(np.square(values)))
    posterior = posterior_at(problem, [least])
    found = Importance(20_000).sample(problem, posterior, KEY)
    assert np.isnan(found.log_evidence) and found.trust is Trust.CERTIFIED
    half = values.size / 2
    square = float(np.sum(np.square(values)))
    exact = -(scipy.special.digamma(half) + np.log(2 / square)) / 2
    spread = np.sqrt(scipy.special.polygamma(1, half)) / 2
    mean, stdev = off(found, exact, spread)
    assert mean < 0.04 and stdev < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"proposal": "cauchy"}, "proposal"), ({"number": 10}, "number"), ({"rounds": -1}, "rounds")],
)
def test_refused_settings(arguments, message):
    with pytest.raises(ValueError, match=f"Importance: {message}"):
        Importance(**arguments)


# ---- for batches of problems ---------------------------------------------------------------------
