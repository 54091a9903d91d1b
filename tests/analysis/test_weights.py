"""Weights of observations in every figure of an analysis: 0 is none, 2 is two, 1/2 is stated."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim import finding, likelihood
from assim.analysis.forecast import Readings
from assim.files.write.arviz import to_datatree
from assim.files.write.results import diagnostics_dataset
from assim.files.write.summary import summary
from assim.findings.evidence import evidence_table
from assim.findings.verification import judged, scores
from assim.problem.predictive import predictive, samples_its_density
from assim.statistics.scores import leave_one_out

TIMES, VALUES = jnp.arange(1.0, 5.0), np.array([1.0, 0.7, 5.0, 0.5])
KEEP = np.array([True, True, False, True])
PLAIN = assim.posterior.Laplace(certificate=0, members=20)
EXACT = assim.minimiser.GaussNewton(tolerance=1e-10)


class Decay(assim.AbstractModel):
    parameters: dict
    dt: float = eqx.field(default=1.0, static=True)

    def step(self, x, theta, t):
        return {"x": 0.9 * x["x"]}

    def labels(self):
        return assim.Labels(state={"x": assim.Label()}, time_unit="1")


def read(rows=slice(None), weight=None, kind=None, name="x"):
    points = assim.Points.at(TIMES[rows])
    given = (name, VALUES[rows], points, assim.operator.PointSample("x"), 0.3, kind)
    return assim.Observations(*given, weight=weight)


def analysis(*observations):
    model = Decay({})
    window = assim.Window.regular(model, 4)
    problem = assim.strong_constraint(
        model, window, {"x": jnp.array(1.0)}, assim.covariance.Diagonal(0.5), observations
    )
    return assim.analyse(problem, EXACT, PLAIN)


class Pair(NamedTuple):
    alone: assim.Analysis
    weighted: assim.Analysis


@pytest.fixture(scope="module")
def pair():
    """Values without the third, and all of them with its weight 0; read in two ways."""
    kinds = {"x": None, "log": likelihood.LogNormal()}
    alone = [read(KEEP, kind=kind, name=name) for name, kind in kinds.items()]
    weight = KEEP.astype(float)
    return Pair(
        analysis(*alone),
        analysis(*(read(weight=weight, kind=kind, name=name) for name, kind in kinds.items())),
    )


def same(one, other):
    """Two trees of numbers, or of dictionaries of them."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif one is None or isinstance(one, str):
        assert one == other
    else:
        np.testing.assert_allclose(
            np.asarray(one, float), np.asarray(other, float), rtol=1e-9, atol=1e-9
        )


def test_diagnostics_and_evidence_of_weight_zero_are_those_without_the_value(pair):
    alone, weighted = pair
    same(alone.cost_analysis, weighted.cost_analysis)
    same(alone.chi_squared, weighted.chi_squared)
    same(alone.log_evidence(), weighted.log_evidence())
    for one, other in zip(evidence_table(alone), evidence_table(weighted), strict=True):
        same(one.log_evidence, other.log_evidence)
    assert finding.consistency(weighted).degrees == 6 and finding.consistency(weighted).p_value > 0
    same(finding.consistency(alone).summary(), finding.consistency(weighted).summary())
    for name, one in finding.consistency(alone).instruments.items():
        other = finding.consistency(weighted).instruments[name]
        assert other.count == 3 and isinstance(other.count, int)
        same(one.influence, other.influence[KEEP])
        assert other.influence[2] == 0 and other.predicted_stdev[2] > 0


def test_files_of_weight_zero_are_those_without_the_value(pair):
    alone, weighted = pair
    judged = [one.with_findings(finding.consistency(one)) for one in pair]
    found = [diagnostics_dataset(one).drop_vars("instrument") for one in judged]
    for name, variable in found[0].data_vars.items():
        if not name.startswith("seconds"):
            assert variable.dtype == found[1][name].dtype
            same(variable.values, found[1][name].values)
    used = summary(weighted)["observations"]
    assert used == summary(alone)["observations"] and used["x"]["used"] == 3


def test_impact_and_innovations_of_weight_zero(pair):
    alone, weighted = (
        finding.observation_impact(one, finding.ForecastError({"x": 1.0})) for one in pair
    )
    same(alone.total(), weighted.total())
    for name, impact in weighted.observations.items():
        assert impact[2] == 0
        same(alone.observations[name], impact[KEEP])
    alone, weighted = (finding.innovation_stdev(one.problem) for one in pair)
    for name, stdev in weighted.items():
        same(alone[name], stdev[KEEP])


def test_predictive_checks_of_weight_zero_are_those_without_the_value(pair):
    alone, weighted = (finding.predictive_checks(one, draws=40).instruments for one in pair)
    for name, one in alone.items():
        other = weighted[name]
        for column, whole in zip(one.predicted, other.predicted, strict=True):
            assert np.isnan(whole[2])
            same(column, whole[KEEP])
        for key in ("coverage", "band", "crps", "crps_prior", "log_score"):
            same(getattr(one, key), getattr(other, key))


def test_densities_of_weight_zero(pair):
    chi = jax.random.normal(jax.random.key(1), (50, 1))
    alone, weighted = (predictive(one.problem, chi, jax.random.key(0)) for one in pair)
    for name in alone.log_density:
        same(alone.log_density[name], weighted.log_density[name])
        one, other = (leave_one_out(found.log_densities[name]) for found in (alone, weighted))
        same((one.elpd, one.stderr), (other.elpd, other.stderr))
        assert np.isnan(other.pointwise[2]) and np.isnan(other.k_hat[2])
    trees = [to_datatree(one) for one in pair]
    for group in ("log_likelihood", "posterior_predictive", "observed_data"):
        same(*({n: v.values for n, v in tree[group].data_vars.items()} for tree in trees))


def test_nothing_that_counts():
    """An instrument all of whose weights are 0 moves nothing, and has no scores."""
    found = analysis(read(KEEP), read(weight=np.zeros(4), name="silent"))
    same(found.log_evidence(), analysis(read(KEEP)).log_evidence())
    one = finding.consistency(found).instruments["silent"]
    assert one.count == one.signal == one.cost == 0 and finding.consistency(found).degrees == 3
    assert np.isnan(one.mean_influence) and np.isnan(one.error_variance_ratio)
    assert finding.consistency(found).summary()["instruments"]["silent"]["count"] == 0
    check = finding.predictive_checks(found, draws=20).instruments["silent"]
    assert np.isnan(check.crps) and np.isnan(check.predicted.pit).all()


def test_weight_two_is_the_value_given_twice():
    twice = np.array([0, 1, 1, 2, 3])
    repeated, weighted = analysis(read(twice)), analysis(read(weight=[1.0, 2.0, 1.0, 1.0]))
    same(repeated.cost_analysis, weighted.cost_analysis)
    for one, other in zip(evidence_table(repeated), evidence_table(weighted), strict=True):
        same(one.log_evidence, other.log_evidence)
    one, other = (finding.consistency(found).instruments["x"] for found in (repeated, weighted))
    assert one.count == other.count == 5
    same((one.cost, one.signal, one.error_stdev), (other.cost, other.signal, other.error_stdev))
    same(one.influence[1] + one.influence[2], other.influence[1])


def test_nothing_is_expected_of_a_value_of_half_weight():
    """What the variance of its error is, p(y | x)^½ does not say; nor is it drawn from that."""
    found = analysis(read(weight=[1.0, 0.5, 0.0, 1.0]), read(name="other"))
    for one in finding.consistency(found).instruments.values():
        ratios = (one.error_variance_ratio, one.background_variance_ratio)
        assert np.isnan([one.expected, *ratios]).all()
    assert (
        finding.consistency(found).instruments["x"].count == 2.5
        and finding.consistency(found).chi_squared > 0
    )
    assert np.isnan([finding.consistency(found).degrees, finding.consistency(found).p_value]).all()
    assert samples_its_density(found.problem) == {"x": False, "other": True}
    assert diagnostics_dataset(found)["observation_count"] == 6.5


def test_scores_leave_out_readings_that_do_not_count():
    exact = np.random.default_rng(0).normal(size=(30, 4))
    part = lambda keep: Readings(exact[:, keep], exact[:, keep], exact[:, keep], KEEP[keep])  # noqa: E731
    alone, whole = judged(part(KEEP), VALUES[KEEP]), judged(part(slice(None)), VALUES)
    assert np.isnan(whole.crps[2]) and whole.observed[2] == 5.0
    one, other = scores(alone), scores(whole)
    assert one.number == other.number == 3
    same(one[1:6], other[1:6])
    same(one.coverage.covered, other.coverage.covered)
