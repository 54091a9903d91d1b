"""Evidence by several methods of one problem, and what it says of several problems."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.findings.evidence import Evidence, bic, compare, of_ensemble, of_laplace, preferred
from assim.solve.posterior.ensemble import Ensemble, Trust, equal_weights
from assim.solve.posterior.importance import Importance
from assim.solve.posterior.laplace import Laplace
from tests.cycle.toy import BACKGROUND, STEP, B, Linear, N, matrix
from tests.solve.departures import Misfit
from tests.solve.posterior.closed_posteriors import affine, linear, posterior_at


@pytest.fixture(scope="module")
def case():
    return linear(n=2, m=30, scale=2.0)


@pytest.fixture(scope="module")
def table(case):
    posterior = posterior_at(case.problem, case.mean)
    settings = Importance(5000, "gaussian")
    ensemble = settings.sample(case.problem, posterior, jax.random.key(0))
    return (
        of_laplace(posterior),
        bic(case.problem, posterior.chi),
        of_ensemble("importance", ensemble),
    )


def test_table_of_a_linear_problem(case, table):
    """Laplace and importance exactly."""
    found = {one.method: one for one in table}
    assert abs(found["laplace"].log_evidence - case.log_evidence) < 1e-8
    assert abs(found["importance"].log_evidence - case.log_evidence) < 1e-8
    assert np.isnan(found["laplace"].stdev) and found["importance"].stdev < 1e-8


def test_bic_counts_controls_and_departures(case, table):
    """Log L(χ*) - (2/2) ln 30."""
    g, y = np.split(np.asarray(case.problem.data), [2], axis=1)
    misfit = y[:, 0] - g @ case.mean
    expected = -misfit @ misfit / 2 - np.log(30)
    assert abs(table[1].log_evidence - expected) < 1e-10
    other = bic(case.problem, jnp.asarray(case.mean), controls=1, observations=10)
    assert abs(other.log_evidence - (-misfit @ misfit / 2 - np.log(10) / 2)) < 1e-10


def test_preferred(table):
    assert preferred(table).method == "importance"
    doubtful = Evidence("importance", 1.0, 0.1, Trust.DOUBTFUL)
    certified = Evidence("tempered", 1.1, 0.2, Trust.CERTIFIED)
    assert preferred((doubtful, certified)) is certified
    laplace = Evidence("laplace", 1.2)
    assert preferred((laplace, doubtful)) is doubtful
    assert preferred((doubtful, replace(laplace, trust=Trust.CERTIFIED))).method == "laplace"


def test_bic_is_never_preferred():
    """It knows constants of the prior of no problem: where it is alone there is nothing."""
    crude = Evidence("bic", 1.0, trust=Trust.CERTIFIED)
    doubtful = Evidence("importance", 1.0, 0.1, Trust.DOUBTFUL)
    assert preferred((crude, doubtful)) is doubtful
    nothing = preferred((Evidence("laplace", float("nan")), crude))
    assert np.isnan(nothing.log_evidence) and nothing.trust is Trust.FAILED


def test_bic_nears_the_evidence_of_a_unit_information_prior():
    """One mean of m values with the prior N(0, 1), which is worth one value.

    Log p(y) = -½ Σ(y - ȳ)² - m ȳ²/(2(m + 1)) - ½ ln(m + 1), and BIC differs by O(1/m) but for the
    prior's own ȳ²/2 (Kass & Wasserman 1995, J. Am. Stat. Assoc. 90, 928).
    """
    m, mean = 1000, 0.3
    y = np.random.default_rng(0).normal(size=m)
    y += mean - np.mean(y)
    problem = Misfit(affine, 1, 1.0, jnp.asarray(np.column_stack([np.ones(m), y])))
    found = bic(problem, jnp.asarray([m * mean / (m + 1)])).log_evidence
    square = np.sum((y - mean) ** 2)
    exact = -square / 2 - m * mean**2 / (2 * (m + 1)) - np.log(m + 1) / 2
    assert abs(found - exact - mean**2 / 2) < 1 / m


def test_constants_are_added():
    assert Evidence("laplace", -3.0, 0.2).completed(1.5) == Evidence("laplace", -1.5, 0.2)


def test_comparison():
    """Two problems a factor three apart, and one that has no evidence."""
    given = {
        "worse": Evidence("tempered", -10.0 - np.log(3), 0.3),
        "none": Evidence("laplace", float("nan")),
        "better": Evidence("tempered", -10.0, 0.4),
    }
    better, worse, none = compare(given)
    assert [one.name for one in (better, worse, none)] == ["better", "worse", "none"]
    assert better.log_bayes_factor == 0 and better.log_bayes_factor_stdev == 0
    assert abs(worse.log_bayes_factor + np.log(3)) < 1e-12
    assert abs(worse.log_bayes_factor_stdev - 0.5) < 1e-12
    assert abs(better.probability - 0.75) < 1e-12 and abs(worse.probability - 0.25) < 1e-12
    # p(1 - p) times the standard deviation of the difference
    assert abs(better.probability_stdev - 0.75 * 0.25 * 0.5) < 1e-12
    assert abs(worse.probability_stdev - 0.75 * 0.25 * 0.5) < 1e-12
    assert np.isnan(none.probability)


def test_probability_stdev_of_three():
    """The first-order formula against draws of small errors."""
    rng = np.random.default_rng(0)
    log_z, stdev = np.array([0.0, -0.5, -1.5]), np.array([0.01, 0.03, 0.02])
    names = "abc"
    found = compare(
        {n: Evidence("x", z, s) for n, z, s in zip(names, log_z, stdev, strict=True)},
        {"a": 0.2, "b": 0.5, "c": 0.3},
    )
    z = np.exp(log_z + stdev * rng.normal(size=(20_000, 3))) * [0.2, 0.5, 0.3]
    p = z / z.sum(axis=1, keepdims=True)
    np.testing.assert_allclose([one.probability for one in found], p.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose([one.probability_stdev for one in found], p.std(axis=0), rtol=0.03)


def test_unknown_errors_stay_unknown():
    a, b = compare({"a": Evidence("laplace", 1.0), "b": Evidence("laplace", 0.0)})
    assert np.isnan(a.probability_stdev) and np.isnan(b.log_bayes_factor_stdev)
    assert abs(a.probability - 1 / (1 + np.exp(-1))) < 1e-12


@pytest.mark.parametrize(
    "prior", [{"a": 1.0}, {"a": 0.5, "b": 0.0}, {"a": 0.5, "b": 0.3, "c": 0.2}]
)
def test_prior_probabilities_must_fit(prior):
    with pytest.raises(ValueError, match="compare: prior"):
        compare({"a": Evidence("x", 0.0), "b": Evidence("x", 0.0)}, prior)


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="at least one"):
        compare({})


def test_ensemble_without_an_error_estimate():
    ensemble = Ensemble(jnp.zeros((2, 1)), equal_weights(2), Trust.DOUBTFUL, "", log_evidence=1.0)
    found = of_ensemble("other", ensemble)
    assert found.log_evidence == 1.0 and np.isnan(found.stdev)


def test_no_evidence_where_a_likelihood_is_no_density():
    """A reading on the flat part of quality control, which goes on for ever; none within ±w."""
    model = Linear()
    window, points = assim.Window.at(model, STEP * np.arange(2)), {"place": jnp.arange(float(N))}
    truth = matrix() @ BACKGROUND
    for shift, known in ((0.0, True), (100.0, False)):
        observed = assim.Observations(
            "x",
            truth + shift,
            assim.Points.at(jnp.full(N, STEP), points),
            assim.operator.PointSample("x"),
            1.0,
            likelihood=assim.likelihood.VariationalQC(),
        )
        b = assim.covariance.Dense(B)
        problem = assim.strong_constraint(model, window, {"x": BACKGROUND}, b, observed)
        analysis = assim.analyse(problem, posterior=Laplace(certificate=0, members=2))
        assert np.isfinite(analysis.log_evidence()) == known
        assert np.isfinite(analysis.posterior.log_evidence) == known
