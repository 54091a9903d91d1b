"""Every case is run by the command line and meets its expected.toml, which describes itself.

What another case file of its folder must give, NAME.toml, is in expected_NAME.toml.
"""

import json
import runpy
import tomllib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from assim.case.case import read_case
from assim.run.check import pose_first
from assim.run.cli import main

CASES = Path(__file__).resolve().parent.parent / "cases"
LONG = {"climate_energy_balance", "friction_velocity_step", "friction_twin", "sir_waterborne"}
LONG |= {"lorenz96_twin", "flu_1978", "heat_pulse", "release_twin", "full_waveform"}
LONG |= {"sea_surface_height", "sea_surface_height/optimal_interpolation"}
LONG |= {"lorenz63_sakov2012", "lorenz96_sakov2008", "lorenz96_bocquet2013", "lorenz96_sakov2012"}
LONG |= {f"lorenz95_oops/{name}" for name in ("digital_filter", "outer_loops", "threedvar")}
OTHERS = ("expected", "published")  # what a run must give; tables of other methods
FILES = [path for path in sorted(CASES.glob("*/*.toml")) if not path.name.startswith(OTHERS)]


def name_of(path):
    """The folder of a case, with the file's name where it is not case.toml."""
    return path.parent.name if path.stem == "case" else f"{path.parent.name}/{path.stem}"


def expectation_of(path):
    """The file of what a run must give."""
    name = "expected.toml" if path.stem == "case" else f"expected_{path.stem}.toml"
    return path.with_name(name)


def marked(path):
    name = name_of(path)
    return pytest.param(path, id=name, marks=[pytest.mark.slow] if name in LONG else [])


CASE = [marked(path) for path in FILES if expectation_of(path).is_file()]


@pytest.fixture(scope="module", params=CASE)
def finished(request, tmp_path_factory):
    """What was expected, the directory with the results, and the folder of the case."""
    case = request.param
    out = tmp_path_factory.mktemp(case.parent.name)
    arguments = ["run", str(case), "--out", str(out), "--quiet"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return tomllib.loads(expectation_of(case).read_text()), out, case.parent


@pytest.fixture(scope="module")
def expected(finished):
    return finished[0]


@pytest.fixture(scope="module")
def summary(finished):
    return json.loads((finished[1] / "summary.json").read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_case_file_can_be_posed(path):
    posed = pose_first(read_case(path))
    assert posed.problem.size() > 0


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_case_file_passes_its_checks(path):
    result = CliRunner().invoke(main, ["check", str(path)])
    assert result.exit_code == 0 and "Every check passed." in result.output, result.output


def lookup(tree, path):
    for part in path.split("."):
        tree = tree[part]
    return tree


def check_value(name, value, expected):
    """A number, or as many leading ones as are expected, met within the tolerance beside it."""
    reference = np.asarray(expected["value"])
    start = np.asarray(value).ravel()[: reference.size].reshape(reference.shape)
    atol = expected["atol"] if "atol" in expected else expected["rtol"] * np.abs(reference)
    assert np.all(np.abs(start - reference) <= atol), (name, start, reference)


def check_moments(name, mean, stddev, expected):
    """Published moments, met within the tolerances beside them."""
    reference, spread = np.asarray(expected["mean"]), np.asarray(expected["stddev"])
    error = np.abs(np.asarray(mean) - reference)
    worst = np.argmax(error - expected["tolerance_sd"] * spread)
    assert np.all(error <= expected["tolerance_sd"] * spread), (name, int(worst))
    exact = spread == 0
    assert np.all(np.asarray(stddev)[exact] == 0), name
    ratio = np.asarray(stddev)[~exact] / spread[~exact]
    print(f"{name}: mean off by {np.max(error[~exact] / spread[~exact]):.3f} sd at most,", end=" ")
    print(f"stddev {ratio.min():.3f} to {ratio.max():.3f} of the reference")
    lower, upper = expected["stddev_ratio"]
    assert np.all((lower <= ratio) & (ratio <= upper)), (name, ratio.min(), ratio.max())


def test_status(expected, summary):
    assert summary["status"] == expected["status"]


def test_summary(expected, summary):
    for path, wanted in expected["summary"].items():
        value = lookup(summary, path)
        if "value" in wanted:
            check_value(path, value, wanted)
        else:
            assert wanted["lower"] <= value <= wanted["upper"], (path, value)


def test_diagnostics(expected, finished):
    if "diagnostics" not in expected:
        return
    with xr.open_dataset(finished[1] / "diagnostics.nc") as file:
        for name, reference in expected["diagnostics"].items():
            check_value(name, file[name].values, reference)


def test_scores(expected, finished):
    """What scores.py beside the case says of the results."""
    if "scores" not in expected:
        return
    _, out, folder = finished
    scores = runpy.run_path(str(folder / "scores.py"))["scores"](out)
    for name, reference in expected["scores"].items():
        check_value(name, scores[name], reference)


def test_trace(expected, finished):
    """The trace of the posterior covariance of a field at the window's start."""
    if "trace" not in expected:
        return
    with xr.open_dataset(finished[1] / "analysis.nc", decode_times=False) as file:
        for name, reference in expected["trace"].items():
            check_value(name, np.sum(file[f"{name}_stddev"].values ** 2), reference)


def test_quantities(expected, summary):
    kinds = {"quantities", "diagnostics", "scores"}
    assert kinds & set(expected) or "windows" in expected["summary"]
    for name, wanted in expected.get("quantities", {}).items():
        found = summary["quantities"][name]
        check_moments(name, found["mean"], found["stddev"], wanted)


def test_trajectory(expected, finished):
    if "trajectory" not in expected:
        return
    with xr.open_dataset(finished[1] / "trajectory.nc", decode_times=False) as file:
        for name, wanted in expected["trajectory"].items():
            check_moments(name, file[name].values, file[f"{name}_stddev"].values, wanted)


def test_expectations_name_known_keys(expected):
    known = {"status", "summary", "quantities", "trajectory", "diagnostics", "trace", "scores"}
    assert set(expected) <= known


@pytest.mark.parametrize(
    ("name", "options"),
    [("", {}), ("_digital_filter", {"filtered": True}), ("_weak", {"weak": True})],
)
def test_what_is_expected_of_oops_is_computed_without_assim(name, options):
    """By the program beside the cases, which knows NumPy alone."""
    folder = CASES / "lorenz95_oops"
    assert "import assim" not in (folder / "reference.py").read_text()
    cost, _ = runpy.run_path(str(folder / "reference.py"))["minimum"](**options)
    expected = tomllib.loads((folder / f"expected{name}.toml").read_text())
    check_value(name, cost, expected["summary"]["cost.total"])


def test_every_case_is_complete():
    """A case has its description, and what a run must give."""
    for path in CASES.glob("*/case.toml"):
        assert (path.parent / "README.md").is_file(), path.parent
        assert (path.parent / "expected.toml").is_file(), path.parent


def test_no_case_holds_a_first_guess():
    for path in CASES.glob("*/case.toml"):
        assert "first_guess" not in path.read_text(), path
