"""Stiff and sloppy directions, and predictive checks, in files."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from assim.analysis.finding import flag_meaning
from assim.files.netcdf import strict, write_dataset
from assim.files.write.encode import encoded
from assim.findings.predictive import Predicted, PredictiveCheck, PredictiveChecks
from assim.findings.sloppy import Directions, Profile, Sloppy

NAMES = ("alpha", "error of u", "x[0]")
VECTORS = np.array([[0.6, 0.8, 0.0], [0.8, -0.6, 0.0], [0.0, 0.0, 1.0]])


def found(least=0.5):
    values = np.array([200.0, 4.0, least])
    return Directions(NAMES, values, VECTORS, np.ones(3), (1 + values) ** -0.5)


def sloppy(converged=(True, True, False)):
    t = np.array([-1.0, 0.0, 2.0])
    rise = np.array([0.6, 0.0, np.inf])
    along = Profile(NAMES, -VECTORS[:, 1], t, rise, t**2 / 2, np.zeros((3, 4)), np.array(converged))
    return Sloppy(found(), along)


@pytest.mark.filterwarnings("ignore")
def test_conventions_are_kept(tmp_path):
    runner = pytest.importorskip("compliance_checker.runner")
    runner.CheckSuite.load_all_available_checkers()
    path, report = tmp_path / "diagnostics.nc", tmp_path / "report.json"
    data = xr.Dataset(encoded(sloppy().variables()))
    write_dataset(data, path, title="diagnostics")
    runner.ComplianceChecker.run_checker(
        str(path), ["cf:1.11"], 0, "strict", skip_checks=["check_domain_variables"],
        output_filename=str(report), output_format="json",
    )  # fmt: skip
    told = json.loads(report.read_text())["cf:1.11"]["high_priorities"]
    assert [check["msgs"] for check in told if check["msgs"]] == []


def test_eigenpairs_stand_on_directions_and_coordinates():
    content = encoded(sloppy().variables())
    assert content["coordinate"].attrs["flag_meanings"] == "alpha error_of_u x_0"
    np.testing.assert_array_equal(content["direction"], [1, 2, 3])
    assert content["direction_component"].dims == ("coordinate", "direction")
    np.testing.assert_array_equal(content["direction_component"], VECTORS)
    np.testing.assert_allclose(content["direction_participation"].sum("coordinate"), 1)
    np.testing.assert_allclose(content["direction_stddev"][0] ** -2, 201.0)
    assert float(content["condition_number"]) == 400.0
    assert float(content["condition_number_informed"]) == 50.0


def test_condition_number_that_is_infinite_is_left_out():
    content = Sloppy(found(least=0.0)).variables()
    assert "condition_number" not in content and "profile_rise" not in content
    assert strict(Sloppy(found(least=0.0)).summary())["condition_number"] is None


def test_profile_names_its_direction_and_hides_what_is_infinite():
    content = encoded(sloppy().variables())
    assert int(content["profile_direction"]) == 2  # whatever its sign
    np.testing.assert_array_equal(content["profile_rise"], [0.6, 0.0, np.nan])
    np.testing.assert_array_equal(content["profile_quadratic"], [0.5, 0.0, 2.0])
    np.testing.assert_array_equal(content["profile_converged"], [1, 1, 0])


def test_directions_in_words():
    told = sloppy().summary()
    assert told["informed"] == 2 and told["coordinates"] == list(NAMES)
    assert told["directions"][0]["words"] == "0.80 error of u + 0.60 alpha"
    assert [one["informed"] for one in told["directions"]] == [True, True, False]


@pytest.mark.parametrize(
    ("name", "meaning"), [("x[3]", "x_3"), ("σ", "_"), ("a b", "a_b"), ("model.u", "model.u")]
)
def test_names_are_legal_flag_meanings(name, meaning):
    assert flag_meaning(name) == meaning


def check(held_back=True):
    low, middle, high = np.arange(6.0).reshape(3, 2)
    band = ((0.2, 0.8), (0.7, 1.0))
    return PredictiveCheck(
        SimpleNamespace(name="u", counted=lambda: np.ones(2, bool)), held_back,
        Predicted(low, middle, high, np.array([0.1, 0.9])),
        (0.5, 1.0), band, 0.3, float("nan"), -1.2,
    )  # fmt: skip


def test_predictive_columns_have_a_value_a_reading():
    columns = {one.suffix: one for one in PredictiveChecks({"u": check()}).columns("u")}
    assert PredictiveChecks({}).columns("u") == []
    assert set(columns) == {f"_predictive_{end}" for end in ("q05", "q50", "q95", "pit")}
    np.testing.assert_array_equal(columns["_predictive_q95"].values, [4.0, 5.0])
    assert [one.dimensionless for one in columns.values()] == [False, False, False, True]


def test_predictive_scores_are_strict_json():
    told = strict(PredictiveChecks({"u": check(), "v": check(False)}).summary())
    assert told["u"] == {
        "coverage_50": 0.5, "coverage_90": 1.0, "coverage_50_band": [0.2, 0.8],
        "coverage_90_band": [0.7, 1.0], "crps": 0.3, "crps_prior": None, "log_score": -1.2,
        "count": 2, "held_back": True,
    }  # fmt: skip
    assert told["v"]["held_back"] is False
