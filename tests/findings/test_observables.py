"""What instruments would read at every slot edge, against what is known of it in closed form."""

import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.models import LotkaVolterra

YEARS = np.arange(13.0)
SEEN = np.r_[1:5, 9:13]  # a gap of four years
DRAWS_ERROR = 4 / np.sqrt(2 * 1000)  # four standard errors of a standard deviation of 1,000 draws


def only_at_readings(trajectory, points):
    """An operator that knows how many readings there are, and nothing of where it is asked."""
    return trajectory.states["lynx"][SEEN]


@pytest.fixture(scope="module")
def analysis():
    rng = np.random.default_rng(4)
    model = LotkaVolterra(assim.FixedStep(0.25))
    times, hares = YEARS[SEEN], 30 + 5 * rng.standard_normal(SEEN.size)
    lynx = np.full(SEEN.size, 8.0)
    given = (
        ("hare", hares, assim.Points.at(times), assim.operator.PointSample("hare"), 5.0),
        (
            "lynx mean",
            lynx,
            assim.Points.over(times - 1, times),
            assim.operator.TimeMean("lynx"),
            3,
        ),
        ("own", lynx, assim.Points.at(times), assim.operator.Function(only_at_readings), 3.0),
    )
    problem = assim.strong_constraint(
        model,
        assim.Window.at(model, YEARS, reference="1900-01-01"),
        background={"hare": jnp.asarray(30.0), "lynx": jnp.asarray(4.0)},
        covariance=assim.covariance.Diagonal(0.3),
        observations=[assim.Observations(*row) for row in given],
        parameters={"alpha": assim.prior.LogNormal(0.5, 0.05)},
    )
    return assim.analyse(problem, posterior=assim.posterior.Laplace(certificate=2000), starts=1)


@pytest.fixture(scope="module")
def series(analysis):
    return assim.finding.observables(analysis).series


def test_a_field_that_is_read_has_its_own_moments_through_the_gap(analysis, series):
    hare, posterior = series["hare"], analysis.posterior
    np.testing.assert_allclose(
        hare.of["analysis"][:, 0], analysis.analysis.trajectory.states["hare"], rtol=1e-12
    )
    stdev = posterior.trajectory_stdev["hare"]
    np.testing.assert_allclose(hare.predicted.stdev[:, 0], stdev, rtol=DRAWS_ERROR)
    off = (hare.predicted.mean[:, 0] - posterior.trajectory_mean["hare"]) / stdev
    assert np.abs(off).max() < 4 / np.sqrt(1000)


def test_new_readings_scatter_by_their_errors_too(series):
    hare = series["hare"]
    both = np.sqrt(hare.predicted.stdev**2 + 5.0**2)
    np.testing.assert_allclose(hare.readings.stdev, both, rtol=DRAWS_ERROR)
    width = hare.readings.q95 - hare.readings.q05
    np.testing.assert_allclose(width, 2 * 1.645 * both, rtol=0.12)


def test_new_readings_of_few_members_have_errors_of_their_own(analysis):
    """Ten members with one error each would scatter by a fifth too much or too little."""
    few = assim.analyse(
        analysis.problem, posterior=assim.posterior.Laplace(members=10, certificate=0), starts=1
    )
    hare = assim.finding.observables(few).series["hare"]
    both = np.sqrt(hare.predicted.stdev**2 + 5.0**2)
    np.testing.assert_allclose(hare.readings.stdev, both, rtol=DRAWS_ERROR)
    assert hare.draws == 1000


def test_a_mean_over_a_year_has_no_reading_before_the_first_year_is_over(analysis, series):
    mean = series["lynx mean"].of["analysis"][:, 0]
    lynx = np.asarray(analysis.analysis.trajectory.states["lynx"])
    assert np.isnan(mean[0])
    np.testing.assert_allclose(mean[1:], (lynx[1:] + lynx[:-1]) / 2, rtol=1e-12)


def test_an_operator_that_knows_its_readings_alone_is_left_out_and_told(analysis):
    found = assim.finding.observables(analysis)
    assert list(found.series) == ["hare", "lynx mean"]
    assert found.left_out == ("the operator of own reads at the times of its readings alone",)
    assert found.summary() == {
        "places": {"hare": 1, "lynx mean": 1},
        "left_out": list(found.left_out),
    }


def test_listed_times_lie_between_edges(analysis, series):
    at = np.array([2.5, 6.25])
    found = assim.finding.observables(analysis, at).series["hare"]
    hare = series["hare"].of["analysis"][:, 0]
    np.testing.assert_allclose(found.of["analysis"][:, 0], np.interp(at, YEARS, hare), rtol=1e-12)


@pytest.mark.parametrize("times", [[3.0, 2.0], [-1.0, 2.0], [11.0, 12.5], []])
def test_times_that_do_not_fit_are_refused(analysis, times):
    with pytest.raises(ValueError, match=r"observables: times must (increase|lie in the window)"):
        assim.finding.observables(analysis, np.array(times))


def test_files_have_them_beside_the_fields(analysis, series):
    more = analysis.with_findings(assim.finding.observables(analysis))
    file = assim.plot.results_of(more).file("trajectory")
    np.testing.assert_allclose(file["hare_hofx_stddev"], series["hare"].predicted.stdev[:, 0])
    np.testing.assert_allclose(
        file["lynx_mean_reading_q95"], series["lynx mean"].readings.q95[:, 0]
    )
    assert file["hare_reading_q05"].attrs["observable"] == "hare"
    assert file["hare_reading_q05"].dims == ("time",)


def test_places_have_series_each_and_moving_instruments_have_none():
    from assim.problem.observable import Observable, observable

    def places(x):
        times = np.repeat(np.arange(1.0, 5.0), 60)[: len(x)]
        points = assim.Points.at(times, {"x": np.asarray(x, float)})
        stdev = 0.1 + np.asarray(x, float)
        return assim.Observations(
            "u", np.ones(len(x)), points, assim.operator.PointSample("u"), stdev
        )

    fixed = observable(places(np.tile([0.0, 1.0, 2.0], 80)), np.arange(5.0))
    assert isinstance(fixed, Observable)
    assert fixed.rows.shape == (5, 3) and fixed.places["x"].tolist() == [0.0, 1.0, 2.0]
    np.testing.assert_allclose(
        fixed.series(np.sqrt(fixed.observations.covariance.variance())), [[0.1, 1.1, 2.1]] * 5
    )
    some = observable(places(np.r_[np.tile(np.arange(60.0), 2), [7.0] * 9]), np.arange(5.0))
    assert isinstance(some, Observable) and some.rows.shape == (5, 50)
    assert (
        some.notes[0] == "The 50 of 60 places that are read most often." and 7.0 in some.places["x"]
    )
    moving = observable(places(np.arange(80.0)), np.arange(5.0))
    assert moving == ("u reads another place each time (80 places), so that it has no series")


def test_a_forecast_leaves_out_an_operator_that_knows_its_readings_alone(analysis):
    from assim.analysis.forecast import StartMembers, forecast
    from assim.findings.observables import observables_ahead

    problem, number = analysis.problem, 5
    state = {"hare": np.full(number, 30.0), "lynx": np.full(number, 4.0)}
    draws = StartMembers(state, {}, {}, {})
    ahead = forecast(problem.model, state, {}, assim.Window.at(problem.model, YEARS[:6]))
    found = observables_ahead(ahead, problem.observations, draws)
    assert list(found.series) == ["hare", "lynx mean"]
    assert found.left_out == ("the operator of own reads at the times of its readings alone",)
    hare = found.series["hare"].predicted
    np.testing.assert_allclose(hare.mean[:, 0], ahead.mean["hare"], rtol=1e-12)
