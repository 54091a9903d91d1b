"""Files and the report of a weak-constraint analysis with biases, derived quantities, impacts."""

import json

import numpy as np
import pytest
import xarray as xr

from assim import (
    BiasCorrection,
    Derived,
    ModelError,
    analyse,
    finding,
    read_observations,
    weak_constraint,
)
from assim.files.netcdf import write_dataset, write_json
from assim.files.read.observations import to_instrument
from assim.files.read.states import read_state
from assim.files.read.tables import observed_variables, open_observations
from assim.files.read.windows import read_window
from assim.files.write.feedback import feedback_dataset
from assim.files.write.results import diagnostics_dataset, posterior_dataset, trajectory_dataset
from assim.files.write.summary import summary
from assim.problem.covariance import Diagonal
from assim.problem.prior import LogNormal, Normal
from assim.show import write_report
from assim.solve.posterior.laplace import Laplace
from tests.files.toy import background_file, observation_file, toy

AMPLITUDE = 0.3


def instruments(model, window):
    """A value without its error, and one with a bias and a value that is missing."""
    labels = model.labels()
    second = observation_file((1.5, np.nan, 2.5, 3.0))
    bias = BiasCorrection({"offset": Normal(0.0, 0.5)})
    found = []
    for dataset, name, given in ((observation_file(), "u", None), (second, "speed", bias)):
        table = open_observations(dataset, "u", labels)
        found.append(to_instrument(table, model, window, name=name, bias=given))
    return found


@pytest.fixture(scope="module")
def answer():
    model = toy()
    window = read_window(observation_file(), model)
    group = instruments(model, window)
    problem = weak_constraint(
        model,
        window,
        read_state(background_file(), model),
        Diagonal(1.0),
        [instrument.observations for instrument in group],
        {"rate": LogNormal(0.1, 0.5)},
        model_error=ModelError({"u": Diagonal(AMPLITUDE)}, every=3),
    )
    wanted = {"range": Derived(lambda t: t.states["u"][-1].max() - t.states["c"][-1], "m s-1", "R")}
    analysis = analyse(problem, posterior=Laplace(members=50, certificate=500), quantities=wanted)
    impact = finding.observation_impact(analysis, finding.ForecastError({"c": 0.0}))
    return group, analysis.with_findings(finding.consistency(analysis), impact)


@pytest.fixture(scope="module")
def datasets(answer):
    group, one = answer
    return {
        "trajectory": trajectory_dataset(one),
        "feedback": feedback_dataset(group, one),
        "posterior": posterior_dataset(one),
        "diagnostics": diagnostics_dataset(one),
    }


@pytest.fixture(scope="module")
def folder(datasets, answer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for name, dataset in datasets.items():
        write_dataset(dataset, folder / f"{name}.nc", title=name)
    write_json(summary(answer[1], answer[0]), folder / "summary.json")
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stage", ["trajectory", "feedback", "posterior", "diagnostics"])
def test_conventions_are_kept(stage, folder, tmp_path):
    runner = pytest.importorskip("compliance_checker.runner")
    runner.CheckSuite.load_all_available_checkers()
    report = tmp_path / "report.json"
    runner.ComplianceChecker.run_checker(
        str(folder / f"{stage}.nc"), ["cf:1.11"], 0, "strict",
        skip_checks=["check_domain_variables"], output_filename=str(report), output_format="json",
    )  # fmt: skip
    found = json.loads(report.read_text())["cf:1.11"]["high_priorities"]
    assert [check["msgs"] for check in found if check["msgs"]] == []


def test_model_error_is_on_the_slot_edges(datasets, answer):
    found, one = datasets["trajectory"], answer[1]
    eta = np.asarray(one.analysis.control.model_error["u"])
    assert eta.shape == (1, 2, 3) and found["u_model_error"].dims == ("time", "y", "x")
    assert np.isnan(found["u_model_error"][0]).all()
    for edge in (1, 2, 3):  # one group of three slots
        np.testing.assert_array_equal(found["u_model_error"][edge], eta[0])
    np.testing.assert_array_equal(found["u_model_error_stddev"][1], one.model_error_stdev["u"][0])
    np.testing.assert_allclose(found["u_model_error_prior_stddev"][1:], AMPLITUDE)
    assert found["u_model_error"].attrs["units"] == "m s-1"
    assert "c_model_error" not in found


def test_feedback_has_a_column_for_every_value(datasets, answer):
    found, one = datasets["feedback"], answer[1]
    consistent, impact = one.findings["diagnostics"], one.findings["impact"]
    influence = consistent.instruments["speed"].influence
    used = [0, 2, 3]  # both instruments have the same rows
    np.testing.assert_array_equal(found["speed_influence"][used], influence)
    np.testing.assert_array_equal(found["speed_impact"][used], impact.observations["speed"])
    spread = consistent.instruments["speed"].predicted_stdev
    np.testing.assert_array_equal(found["speed_hofx_analysis_stddev"][used], spread)
    assert np.isnan(found["speed_influence"][1])
    assert found["speed_hofx_analysis_stddev"].attrs["units"] == "m s-1"


def test_feedback_can_be_read_as_observations(folder):
    table = open_observations(folder / "feedback.nc", "speed", toy().labels())
    assert table.variable == "speed"
    with pytest.raises(ValueError, match="got u, speed"):
        open_observations(folder / "feedback.nc", None, toy().labels())


@pytest.mark.parametrize("bare", [False, True])
def test_no_column_is_taken_for_an_observed_variable(bare, answer):
    """Neither by attributes nor, where they are lost, by name."""
    group, one = answer
    model, window = toy(), one.problem.window
    table = open_observations(observation_file(), "u", model.labels())
    later = to_instrument(table, model, window, name="u_held_back")
    checked = finding.predictive_checks(one, [later.observations], draws=10)
    written = feedback_dataset([*group, later], one.with_findings(checked))
    for end in ("bias_analysis", "influence", "impact", "predictive_pit", "hofx_analysis_stddev"):
        assert f"speed_{end}" in written
    for name in written.data_vars if bare else ():
        written[name].attrs = {"units": written[name].attrs.get("units", "1")}
    names = ["u", "speed", "u_held_back"]
    assert [n for n in observed_variables(written, model.labels()) if n != "instrument"] == names
    found = read_observations(written, model, window, "u")
    np.testing.assert_array_equal(found.values, group[0].observations.values)


def test_diagnostics(datasets, answer):
    found, one = datasets["diagnostics"], answer[1]
    assert found["instrument"].attrs["flag_meanings"] == "u speed"
    np.testing.assert_array_equal(found["instrument_count"], [4, 3])
    consistent, impact = one.findings["diagnostics"], one.findings["impact"]
    fit = consistent.instruments["speed"]
    assert found["instrument_cost_expected"][1] == fit.expected == (3 - fit.signal) / 2
    assert found["instrument_impact"][1] == impact.observations["speed"].sum()
    assert found["chi_squared_expected"] == 7
    assert found["chi_squared_ratio"] * 7 == pytest.approx(float(found["chi_squared"]))
    assert found["cost_model_error_expected"] == consistent.terms["model_error"].expected
    costs = found["instrument_cost"].sum() + sum(
        float(found[f"cost_{term}_at_analysis"])
        for term in ("background", "parameters", "model_error")
    )
    assert 2 * float(costs) == pytest.approx(float(found["chi_squared"]))
    assert found["chi_squared"].attrs["finding"] == "diagnostics"
    assert found["instrument_impact"].attrs["finding"] == "impact"
    assert "finding" not in found["instrument"].attrs
    assert found["forecast_measure_analysis"] == impact.analysis


def test_draws_of_biases_and_derived_quantities(datasets, answer):
    found, one = datasets["posterior"], answer[1]
    np.testing.assert_array_equal(found["offset"], one.draws.biases["offset"])
    assert found["offset"].attrs["units"] == one.quantities["offset"].units == "m s-1"
    np.testing.assert_array_equal(found["range"], one.derived["range"].members)
    assert {"offset_prior", "range_prior"} <= set(found) and found["range"].attrs[
        "units"
    ] == "m s-1"


def test_summary_and_report(folder):
    found = json.loads((folder / "summary.json").read_text())
    assert found["quantities"]["range"]["draws"] in (50, 500)
    assert set(found["quantities"]["range"]["prior"]) == {"q05", "q50", "q95"}
    assert "draws" not in found["quantities"]["rate"]
    assert set(found["impact"]) == {"background", "analysis", "total", "instruments"}
    assert set(found["diagnostics"]["terms"]) == {"background", "parameters", "model_error"}
    assert found["diagnostics"]["instruments"]["u"]["count"] == 4
    drawn = [path.stem for path in write_report(folder)]
    assert {"model_error", "influence"} <= set(drawn)
    text = (folder / "report.html").read_text(encoding="utf-8")
    for piece in (
        "<th>range: R</th>",
        "<th>missing (10)</th>",
        "χ² = ",
        "impacts of all",
        "offset",
    ):
        assert piece in text


def test_without_a_posterior_there_are_no_diagnostics(answer):
    group, one = answer
    bare = analyse(one.problem, posterior=None)
    assert finding.consistency(bare) is None and not bare.with_findings(None).findings
    assert "diagnostics" not in summary(bare)
    assert "instrument" not in diagnostics_dataset(bare)
    assert "u_influence" not in feedback_dataset(group, bare)
    found = trajectory_dataset(bare)
    assert "u_model_error" in found and "u_model_error_stddev" not in found
    assert isinstance(found, xr.Dataset)
