"""One door for all results: `to_dataset` knows the labels of whatever the engine returns."""

import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.files.write.results import posterior_dataset, trajectory_dataset
from tests.cycle.toy import twin
from tests.files.toy import background_file, observation_file, toy


@pytest.fixture(scope="module")
def analysis():
    model = toy()
    window = assim.read_window(observation_file(), model)
    observed = assim.read_observations(observation_file(), model, window, "u")
    given = (
        model,
        window,
        assim.read_state(background_file(), model),
        assim.covariance.Diagonal(1.0),
    )
    problem = assim.strong_constraint(*given, observed)
    return assim.analyse(problem, posterior=assim.posterior.Laplace(members=4, certificate=0))


def test_the_analysed_window_is_the_trajectory(analysis):
    found, whole = assim.to_dataset(analysis.analysed_window()), trajectory_dataset(analysis)
    for name in found.variables:
        assert found[name].identical(whole[name]), name
    assert {"u", "u_stddev", "u_background"} <= set(found)


def test_readings_of_an_analysis(analysis):
    (reading,) = analysis.analysed_window().readings.values()
    (observed,) = analysis.problem.observations
    np.testing.assert_array_equal(reading.observed, observed.values)
    np.testing.assert_array_equal(reading.analysis, analysis.analysis.predictions[observed.name])
    (fit,) = assim.finding.consistency(analysis).instruments.values()
    np.testing.assert_allclose(reading.analysis_stdev, fit.predicted_stdev)
    np.testing.assert_allclose(reading.stdev**2, observed.covariance.variance())
    assert np.isnan(reading.background_stdev).all()


def test_a_posterior_comes_with_its_analysis(analysis):
    found = assim.to_dataset(analysis.posterior, analysis)
    assert found.identical(posterior_dataset(analysis))
    with pytest.raises(TypeError, match=r"to_dataset\(posterior, analysis\)"):
        assim.to_dataset(analysis.posterior)


def test_a_cycle_comes_with_its_measures():
    """Its series are compared in tests/cycle/test_python.py."""
    with pytest.raises(TypeError, match=r"to_dataset\(cycle, edges, measures\)"):
        assim.to_dataset(twin(assim.scheme.ThreeDVar(share=0.5), assim.scheme.Plan(1, 1), 1).cycle)


def test_a_finding_is_its_variables(analysis):
    found = assim.to_dataset(assim.finding.consistency(analysis))
    assert found["instrument_count"].attrs["finding"] == "diagnostics"
    assert "instrument" in found.coords


def test_a_forecast_knows_its_labels(analysis):
    model, window = analysis.problem.model, analysis.problem.window
    state = {name: value[None] for name, value in analysis.analysis.control.state.items()}
    found = assim.to_dataset(assim.forecast(model, state, {}, window))
    assert found["u"].attrs["units"] == "m s-1" and found["u_q95"].dims == found["u"].dims
    assert found["u"].attrs["ancillary_variables"] == "u_stddev"


def test_a_window_of_a_cycle():
    given = twin(assim.scheme.ThreeDVar(share=0.5), assim.scheme.Plan(1, 1), 1)
    cycle, edges = given.cycle, given.edges
    rows = cycle.plan.rows(given.batches, 0)
    _, analysed, _ = cycle.window(cycle.start(), 0, edges, rows)
    found = assim.to_dataset(analysed)
    np.testing.assert_array_equal(found["x_background_stddev"], analysed.background_stdev["x"])
    np.testing.assert_array_equal(found["t"], edges)
    assert list(analysed.readings) == ["x"]


@pytest.mark.parametrize("thing", [1.0, {"x": jnp.zeros(3)}])
def test_what_it_does_not_take(thing):
    words = r"expected an Analysis, .*, got (float|dict); a Trajectory"
    with pytest.raises(TypeError, match=words):
        assim.to_dataset(thing)
