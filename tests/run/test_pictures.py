"""Pictures of an analysis in memory are those of its finished files."""

import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.models import LotkaVolterra

YEARS = np.arange(9.0)


@pytest.fixture(scope="module")
def analysis():
    """Readings of hares, and of a mean of lynx over years; strong constraint."""
    rng = np.random.default_rng(2)
    hares = 30 + 10 * rng.standard_normal(8)
    model = LotkaVolterra(assim.FixedStep(0.25))
    readings = assim.Observations(
        "hare", hares, assim.Points.at(YEARS[1:]), assim.operator.PointSample("hare"), 10.0
    )
    means = assim.Observations(
        "lynx mean",
        np.full(8, 20.0),
        assim.Points.over(YEARS[:-1], YEARS[1:]),
        assim.operator.TimeMean("lynx"),
        10.0,
    )
    problem = assim.strong_constraint(
        model,
        assim.Window.at(model, YEARS, reference="1900-01-01"),
        background={"hare": jnp.asarray(30.0), "lynx": jnp.asarray(4.0)},
        covariance=assim.covariance.Diagonal(3.0),
        observations=[readings, means],
        parameters={"alpha": assim.prior.LogNormal(0.5, 0.2)},
    )
    return assim.analyse(problem, posterior=assim.posterior.Laplace(certificate=200), starts=1)


def test_a_picture_of_an_analysis_has_axes_that_can_be_changed(analysis):
    picture = assim.plot.trajectory(analysis)
    assert picture.png.startswith(b"\x89PNG") and "Analysed trajectory" in picture.caption
    labels = [axes.get_ylabel() for axes in picture.axes]
    assert any("hare" in label for label in labels)
    picture.axes[0].set_ylim(0, 100)
    assert picture.figure.axes[0].get_ylim() == (0, 100)


def test_readings_are_in_it(analysis):
    """Times, values and predictions of the feedback are those of the problem, to rounding."""
    run = assim.plot.results_of(analysis)
    feedback = run.file("feedback")
    values = feedback["hare"].values[np.isfinite(feedback["hare"].values)]
    np.testing.assert_allclose(values, analysis.problem.observations[0].values)
    predicted = feedback["hare_hofx_analysis"].values
    ours = analysis.analysis.predictions["hare"]
    np.testing.assert_allclose(predicted[np.isfinite(predicted)], ours, rtol=1e-6)
    assert set(run.files) >= {"background", "analysis", "trajectory", "posterior", "feedback"}


PICTURES = sorted(set(assim.plot.__all__) - {"results", "results_of", "write_report"})


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_that_of_the_results(analysis, name):
    draw = getattr(assim.plot, name)
    of_results = draw(assim.plot.results_of(analysis))
    assert draw(analysis) == of_results
