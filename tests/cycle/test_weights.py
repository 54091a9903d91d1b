"""Values that do not count, and errors that are not Gaussian, in the windows of a cycle."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim import likelihood
from assim.analysis.cycle.cycle import Cycle
from assim.analysis.cycle.plan import Plan
from assim.analysis.cycle.variational import FourDVar
from assim.files.write.cycle import cycle_dataset, cycle_summary
from assim.problem.cycled import Rows
from tests.cycle.toy import STEP, Linear


def posed(likelihood, values, weight, scale=None):
    """One window in which the first two places are observed."""
    model = Linear()
    window = assim.Window.at(model, [0.0, STEP])
    points = assim.Points.at(jnp.full(2, STEP), {"place": jnp.arange(2.0)})
    seen = assim.Observations(
        "x", values, points, assim.operator.PointSample("x"), 0.3, likelihood, scale, weight=weight
    )
    background = {"x": np.array([-2.0, 1.0, 0.5, 0.0])}
    problem = assim.strong_constraint(
        model, window, background, assim.covariance.Diagonal(0.5), seen
    )
    cycle = Cycle(problem, FourDVar(minimiser=assim.minimiser.GaussNewton(n_outer=5)), Plan(1, 1))
    return cycle, window.edges, (Rows.of(seen),)


def test_a_log_normal_value_of_no_weight_may_have_no_logarithm():
    """The first predicted value is negative, and does not count; nor does it where none counts."""
    cycle, edges, rows = posed(likelihood.LogNormal(), np.array([1.0, 1.0]), np.zeros(2))
    predicted = cycle.problem.simulate(jnp.zeros(4)).predictions["x"]
    assert np.min(predicted) < 0
    carry, analysed, measures = cycle.window(cycle.start(), 0, edges, rows)
    assert np.isfinite(measures.cost) and float(measures.cost) == 0
    np.testing.assert_array_equal(analysed.analysis["x"], analysed.background["x"])
    assert all(np.all(np.isfinite(leaf)) for leaf in carry.background.mean["background"].values())
    assert np.isnan(measures.chi_squared)


@pytest.mark.parametrize(
    ("likelihood", "scale", "known"),
    [
        (None, None, True),
        pytest.param(likelihood.StudentT(4.0), None, False, marks=pytest.mark.slow),
        (None, assim.ErrorScale("s", assim.prior.LogNormal(1.0, 0.5)), False),
    ],
)
def test_2j_over_m_is_given_for_gaussian_errors_of_known_scale_alone(likelihood, scale, known):
    cycle, edges, rows = posed(likelihood, np.array([1.0, 1.0]), np.ones(2), scale)
    _, _, measures = cycle.window(cycle.start(), 0, edges, rows)
    assert np.isfinite(measures.chi_squared) == known


def test_rows_of_no_weight_change_nothing():
    """A window with room for more values than it has."""
    cycle, edges, rows = posed(None, np.array([1.0, 0.5]), np.ones(2))
    alone = cycle.window(cycle.start(), 0, edges, rows)[1]
    wider = eqx.tree_at(lambda r: r, rows[0], Rows.of(cycle.problem.observations[0].padded(5)))
    _, padded, measures = cycle.window(cycle.start(), 0, edges, (wider,))
    np.testing.assert_allclose(padded.analysis["x"], alone.analysis["x"], rtol=1e-12)
    assert float(measures.number) == 2


def test_nothing_is_expected_of_values_of_half_weight():
    """2J/m and Desroziers' estimates, as where a plan gives values a share of their weight."""
    cycle, edges, rows = posed(None, np.array([1.0, 0.5]), np.array([1.0, 0.5]))
    measures = cycle.window(cycle.start(), 0, edges, rows)[2]
    one = measures.innovations[0]
    assert float(measures.number) == 1.5 and float(one.stated) == 1.5 * 0.3**2
    assert np.isnan([measures.chi_squared, one.observation, one.background]).all()


def test_a_negative_variance_keeps_its_sign_in_the_series_and_the_summary():
    cycle, edges, rows = posed(None, np.array([1.0, 0.5]), np.ones(2))
    measures = cycle.window(cycle.start(), 0, edges, rows)[2]
    one = measures.innovations[0]
    negative = one._replace(observation=-one.stated / 2)
    several = [measures, measures._replace(innovations=(negative,))]
    series = cycle_dataset(cycle, STEP * np.arange(3.0), several)
    ratio, stdev = series["x_obs_error_variance_ratio"], series["x_obs_desroziers_error"]
    assert ratio.attrs["units"] == "1" and "negative" in ratio.attrs["long_name"]
    np.testing.assert_allclose(ratio[0], (stdev[0] / series["x_obs_stated_error"][0]) ** 2)
    assert float(ratio[1]) == -0.5 and np.isnan(stdev[1])
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *several)
    told = cycle_summary(stacked, cycle.problem.model.labels(), 0, ["x"])["instruments"]["x"]
    np.testing.assert_allclose(told["error_variance_ratio"], np.mean(ratio))
    np.testing.assert_allclose(
        told["background_variance_ratio"], series["x_obs_background_variance_ratio"][0]
    )


@pytest.mark.slow
def test_innovations_expect_the_variance_of_student_errors():
    """ν/(ν - 2) times R; for ν ≤ 2 there is none, and no rank is counted."""
    for dof, factor in ((4.0, 2.0), (1.5, np.nan)):
        given = posed(likelihood.StudentT(dof), np.array([1.0, 1.0]), np.ones(2))
        cycle, edges, rows = given
        measures = cycle.window(cycle.start(), 0, edges, rows)[2]
        stated = np.sum(np.asarray(rows[0].stdev) ** 2)
        np.testing.assert_allclose(measures.innovations[0].stated, factor * stated)
        assert np.sum(measures.innovations[0].ranks) == (2 if dof > 2 else 0)
