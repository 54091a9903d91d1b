import dataclasses
import json
import os
import resource
import shutil
import subprocess

import numpy as np
import pytest
import xarray as xr

from assim.files.errors import DataError
from assim.files.netcdf import hash_file, write_dataset, write_json
from assim.files.read.states import read_state, read_stdev
from assim.files.read.tables import open_observations
from assim.files.read.windows import read_window
from assim.files.write.encode import state_dataset
from assim.files.write.feedback import feedback_dataset
from assim.files.write.results import (
    analysis_dataset,
    diagnostics_dataset,
    posterior_dataset,
    trajectory_dataset,
)
from assim.files.write.summary import summary
from tests.files.toy import analysis, observations_dataset, state, toy

CONFIG = 'title = "toy"\n'
STAGES = (
    *("background", "analysis", "trajectory", "posterior", "diagnostics"),
    *("observations", "feedback", "abstract"),
)


@pytest.fixture(scope="session")
def answer():
    return analysis()


@pytest.fixture(scope="session")
def datasets(answer):
    instruments, one = answer
    labels, window = toy().labels(), one.problem.window
    return {
        "background": state_dataset(labels, state(), 0.0, window.reference, stdev=state()),
        "analysis": analysis_dataset(one),
        "trajectory": trajectory_dataset(one),
        "posterior": posterior_dataset(one),
        "diagnostics": diagnostics_dataset(one),
        "observations": observations_dataset(instruments[:1], labels, window),
        "feedback": feedback_dataset(instruments, one),
        "abstract": state_dataset(toy("1").labels(), state(), 2.0),
    }


@pytest.fixture(scope="session")
def folder(datasets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    for name, dataset in datasets.items():
        inputs = {"data.nc": "0" * 64}
        write_dataset(dataset, folder / f"{name}.nc", title=name, config=CONFIG, inputs=inputs)
    return folder


# ---- every file ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stage", STAGES)
def test_conventions_are_kept(stage, folder, conventions):
    assert conventions(folder / f"{stage}.nc") == []


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("command", [["cdo", "-s", "sinfon"], ["ncks", "-m"]])
def test_other_programs_read_it(stage, command, folder):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([*command, folder / f"{stage}.nc"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_a_file_says_what_made_it(stage, folder):
    with xr.open_dataset(folder / f"{stage}.nc", decode_times=False) as found:
        assert found.attrs["Conventions"] == "CF-1.11"
        assert found.attrs["title"] == stage
        assert found.attrs["assim_config"] == CONFIG
        assert len(found.attrs["assim_config_sha256"]) == 64
        assert found.attrs["assim_inputs"] == f"{'0' * 64}  data.nc"
        assert {"source", "history", "assim_version"} <= set(found.attrs)
        for name in found.coords:
            assert "_FillValue" not in found[name].encoding
        for name in found.data_vars:
            assert found[name].attrs.get("long_name") or name.endswith("_bnds")


@pytest.mark.parametrize("stage", STAGES)
def test_values_survive_bit_by_bit(stage, folder, datasets):
    with xr.open_dataset(folder / f"{stage}.nc", decode_times=False) as found:
        assert set(found.variables) == set(datasets[stage].variables)
        for name, variable in datasets[stage].variables.items():
            np.testing.assert_array_equal(found[name].values, variable.values)
            assert found[name].dims == variable.dims


# ---- what is in them -----------------------------------------------------------------------------


def test_an_analysis_is_a_valid_background(folder, answer):
    found = read_state(folder / "analysis.nc", toy())
    for name, value in answer[1].analysis.control.state.items():
        np.testing.assert_array_equal(found[name], value)
    assert set(read_stdev(folder / "analysis.nc", toy())) == {"u", "c"}
    read_state(folder / "trajectory.nc", toy(), time="2000-01-02")


def test_analysis(datasets):
    found = datasets["analysis"]
    assert found["u"].dims == ("time", "y", "x")
    assert found["u"].attrs["ancillary_variables"] == "u_stddev"
    assert {"u_increment", "c_stddev", "rate", "rate_stddev"} <= set(found.data_vars)


def test_trajectory(datasets, answer):
    found, states = datasets["trajectory"], answer[1].analysis.trajectory.states
    np.testing.assert_array_equal(found["u"], states["u"])
    assert found["c_background"].dims == ("time",)


def test_posterior(datasets):
    found = datasets["posterior"]
    assert found.sizes["realization"] == 8
    assert {"u", "c", "rate", "sigma", "rate_prior", "sigma_prior", "u_prior"} <= set(found)
    assert found.attrs["assim_method"] == "laplace"
    assert found.attrs["k_hat"] == 0.3
    assert "effective_draws" not in found.attrs  # not a number
    np.testing.assert_allclose(found["weight"].sum(), 1)


def test_no_posterior_no_file(answer):
    with pytest.raises(ValueError, match="no posterior"):
        posterior_dataset(dataclasses.replace(answer[1], posteriors={}))


def test_diagnostics(datasets, answer):
    found = datasets["diagnostics"]
    np.testing.assert_array_equal(found["cost"], [9, 5])
    np.testing.assert_array_equal(found["hessian_eigenvalue"], [3, 1])
    np.testing.assert_array_equal(found["minimum_starts"], [3, 1])
    assert found["cost_total_at_background"] == 9
    np.testing.assert_allclose(found["chi_squared_ratio"], answer[1].chi_squared / 6)
    assert "degrees_of_freedom" not in found


def test_feedback(datasets, answer):
    found, instrument = datasets["feedback"], answer[0][1]
    assert dict(found.sizes) == {"obs": 9}
    assert found["instrument"].attrs["flag_meanings"] == "u speed"
    np.testing.assert_array_equal(found["instrument"], [0] * 4 + [1] * 5)
    np.testing.assert_array_equal(found["speed_effective_qc"][4:], [0, 10, 1, 0, 14])
    np.testing.assert_array_equal(found["speed_qc"][4:], [0, 0, 1, 0, 0])
    predicted = answer[1].analysis.predictions["speed"]
    np.testing.assert_array_equal(found["speed_hofx_analysis"][[4, 7]], predicted)
    assert np.isnan(found["speed_hofx_analysis"][8])  # outside the window
    assert np.isnan(found["speed_oman"][5])  # of a missing value
    quarter = np.array([0.75, 0.25]) @ answer[1].analysis.trajectory.states["u"][1, :, :2]
    np.testing.assert_allclose(found["speed_hofx_analysis"][5], quarter.mean(), rtol=1e-12)
    between = answer[1].analysis.trajectory.states["u"][2, :, 1].mean()
    np.testing.assert_allclose(found["speed_hofx_analysis"][6], between, rtol=1e-12)  # passive
    np.testing.assert_array_equal(found["u_oman"], found["u"] - found["u_hofx_analysis"])
    assert instrument.table.rows == 5


def test_instruments_of_one_table_share_its_rows(answer):
    instruments, one = answer
    first = instruments[0]
    twin = dataclasses.replace(one, problem=one.problem)
    again = dataclasses.replace(first)
    found = feedback_dataset([first, again], twin)
    assert dict(found.sizes) == {"obs": 4} and "instrument" not in found


def test_written_observations_can_be_read_again(folder, answer):
    window = read_window(folder / "observations.nc", toy())
    np.testing.assert_array_equal(window.edges, answer[1].problem.window.edges)
    for file in ("observations", "feedback"):
        table = open_observations(folder / f"{file}.nc", "u", toy().labels())
        np.testing.assert_array_equal(table.values[:4], answer[0][0].table.values)
    assert open_observations(folder / "observations.nc", None, toy().labels()).variable == "u"


def test_summary(answer):
    instruments, one = answer
    found = summary(one, instruments, truth=one.background.control.state)
    json.dumps(found, allow_nan=False)
    assert found["status"] == "converged" and found["advice"]
    assert found["cost"]["total"] == 3.5
    assert found["posterior"]["effective_draws"] is None
    assert found["quantities"]["sigma"]["stddev"] is None
    rejected = {"missing": 1, "passive": 1, "window": 1}
    assert found["observations"]["speed"] == {"used": 2, "rejected": rejected}
    assert found["minima"][0] == {"cost": 5.0, "starts": 3}
    assert found["rmse"]["u"]["background"] == 0 and found["spread"]["u"] == pytest.approx(0.3)
    assert summary(dataclasses.replace(one, posteriors={}))["posterior"] is None


# ---- all or nothing ------------------------------------------------------------------------------


def test_what_cannot_be_written_leaves_nothing(tmp_path, datasets):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_dataset(datasets["analysis"], tmp_path / "file" / "a.nc", title="a")
    (tmp_path / "a.nc").mkdir()
    with pytest.raises(DataError, match=r"a\.nc: cannot be written"):
        write_dataset(datasets["analysis"], tmp_path / "a.nc", title="a")
    assert sorted(os.listdir(tmp_path)) == ["a.nc", "file"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "big.nc"
    path.write_text("old")
    noise = xr.Dataset({"x": ("i", np.random.default_rng(0).normal(size=100_000))})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match=r"big\.nc: cannot be written"):
            write_dataset(noise, path, title="big")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["big.nc"]


def test_json_is_strict(tmp_path):
    path = tmp_path / "new" / "summary.json"
    write_json({"a": np.float64("nan"), "b": [np.int32(1), float("inf")], "c": np.arange(2)}, path)
    assert json.loads(path.read_text()) == {"a": None, "b": [1, None], "c": [0, 1]}
    assert len(hash_file(path)) == 64
