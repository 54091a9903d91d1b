"""The export for ArviZ: group names, dimensions, and values that are those of the posterior."""

import dataclasses
import io

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from assim import Observations, Points, Window, analyse, finding, strong_constraint
from assim.analysis.fields import of_members
from assim.files.netcdf import write_tree
from assim.files.write.arviz import to_datatree
from assim.models import Lorenz63
from assim.problem.covariance import Diagonal
from assim.problem.operator import PointSample
from assim.problem.prior import Normal
from assim.run.terminal.screen import Screen
from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.laplace import Laplace

GROUPS = {
    *("posterior", "prior", "posterior_predictive"),
    *("log_likelihood", "observed_data", "sample_stats"),
}


@pytest.fixture(scope="module")
def analysis():
    model = Lorenz63()
    window = Window.regular(model, 3, 5)
    observed = Observations(
        "x", [1.2, 1.3, 1.5], Points.at(window.edges[1:]), PointSample("x"), 0.5
    )
    start = {"x": 1.0, "y": 1.0, "z": 20.0}
    given = {"rho": Normal(28.0, 1.0)}
    problem = strong_constraint(model, window, start, Diagonal(0.5), observed, parameters=given)
    return analyse(problem, posterior=Laplace(certificate=0, members=40))


def test_groups_and_values(analysis, tmp_path):
    write_tree(to_datatree(analysis), tmp_path / "a.nc", title="Toy", config="seed = 0", inputs={})
    tree = xr.open_datatree(tmp_path / "a.nc")
    assert set(tree.children) == GROUPS
    assert tree.attrs["title"] == "Toy" and tree.attrs["assim_config"] == "seed = 0"
    assert tree.attrs["inference_library"] == "assim" and tree.attrs["assim_config_sha256"]
    rho = tree["posterior"]["rho"]
    assert rho.dims == ("chain", "draw") and rho.shape == (1, 40)
    np.testing.assert_array_equal(rho[0], analysis.draws.parameters["rho"])
    assert tree["posterior_predictive"]["x"].dims == ("chain", "draw", "x_obs")
    np.testing.assert_array_equal(tree["observed_data"]["x"], [1.2, 1.3, 1.5])
    times = np.asarray(analysis.problem.observations[0].points.times)
    for group in ("observed_data", "posterior_predictive", "log_likelihood"):
        assert tree[group]["x_time"].dims == ("x_obs",)
        np.testing.assert_array_equal(tree[group]["x_time"], times)
    each, total = tree["log_likelihood"]["x"], tree["sample_stats"]["log_likelihood"]
    np.testing.assert_allclose(each.sum("x_obs"), total, rtol=1e-12)
    assert np.ptp(tree["prior"]["rho"].values) > 2
    tree.close()


def test_unequal_weights_are_resampled_and_chains_kept(analysis):
    weights = np.zeros(40)
    weights[[3, 7]] = 0.5
    posterior = dataclasses.replace(analysis.posterior, weights=weights, chains=4)
    rho = to_datatree(analysis, posterior)["posterior"]["rho"]
    assert rho.shape == (4, 10)
    expected = np.asarray(analysis.draws.parameters["rho"])[[3, 7]]
    np.testing.assert_array_equal(rho.values.ravel(), np.repeat(expected, 20))


def test_no_posterior(analysis):
    with pytest.raises(ValueError, match="has no posterior"):
        to_datatree(dataclasses.replace(analysis, posteriors={}))


# ---- predictive checks ---------------------------------------------------------------------------


def with_posterior(analysis, **changes):
    one = dataclasses.replace(analysis.posterior, **changes)
    return finding.predictive_checks(analysis, draws=800, posterior=one).instruments["x"]


def test_one_member_of_all_weight_is_drawn_often_with_errors_of_its_own(analysis):
    weights = np.zeros(40)
    weights[3] = 1.0
    predicted = with_posterior(analysis, weights=weights).predicted
    np.testing.assert_allclose(predicted.q95 - predicted.q05, 2 * 1.645 * 0.5, rtol=0.15)


def test_nothing_is_predicted_where_no_member_is_finite(analysis):
    check = with_posterior(analysis, chi=np.nan * analysis.posterior.chi)
    assert np.isnan(check.predicted.pit).all() and np.isnan([*check.coverage, check.crps]).all()
    assert np.isfinite(check.crps_prior)


def test_a_failed_posterior_is_told(analysis):
    failed = dataclasses.replace(analysis.posterior, trust=Trust.FAILED)
    for one, told in ((failed, True), (analysis.posterior, False)):
        console = Console(record=True, file=io.StringIO())
        changed = dataclasses.replace(analysis, posteriors={analysis.chosen: one})
        Screen(console).results(changed)
        assert ("has failed: use none of its error bars" in console.export_text()) == told


def test_no_moments_where_no_trajectory_is_finite(analysis):
    problem, chi = analysis.problem, analysis.solution.chi
    members, weights = np.nan * analysis.posterior.chi, jnp.full(40, 1 / 40)
    found = of_members(problem, members, weights, chi)
    assert np.isnan(found.mean["x"]).all() and np.isnan(found.stdev["x"]).all()
