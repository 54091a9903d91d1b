"""A program in a case: twins, cycles, what is refused, and a cycle that is killed and resumed."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from assim.case.toml import write
from assim.run import cli
from tests.couple.cells import PROGRAM, START
from tests.cycle.files import contents, manifest, steady

PLAIN = """
from tests.couple.cells import Cells


def plain():
    return Cells()
"""


def described(fault=""):
    """The program, described by the case."""
    return {
        "use": "ProcessModel",
        "command": [*START, "{input}", "{output}", "{start}", "{end}", "0.5", "", fault],
        "dt": 0.5,
        "variables": {"x": "T", "rate": "k"},
        "files": ["cells.py"],
        "timeout": 60.0,
        "scratch": "scratch",
        "time_unit": "days",
        "fields": {"x": {"dims": ["cell"], "units": "kg", "long_name": "amount"}},
        "coordinates": {"cell": {"size": 3, "units": "m"}},
        "parameters": {"rate": {"value": 0.1, "units": "day-1", "long_name": "rate of decay"}},
    }


def tables(windows=3, members=6, **changed):
    case = {
        "title": "Cells",
        "model": described(),
        "window": {"start": "2000-01-01", "slots": 1, "steps": 2},
        "background": {"file": "background.nc", "fields": {"x": {"stdev": 0.3}}},
        "parameters": {"rate": {"prior": {"use": "LogNormal", "median": 0.1, "log_stdev": 0.3}}},
        "observations": [
            {"file": "observations/{window:04d}.nc", "variable": "x", "error": {"stdev": 0.1}}
        ],
        "cycle": {"windows": windows, "method": {"use": "ETKF", "members": members}},
        "twin": {"seed": 3, "initial": {"x": 3.0}},
    }
    return case | changed


@pytest.fixture
def folder(tmp_path):
    """A case folder, in which `assim COMMAND` is run on a case."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "cells.py").write_bytes(PROGRAM.read_bytes())
    (tmp_path / "plain.py").write_text(PLAIN)
    return tmp_path


def invoke(folder, command, case, *options):
    (folder / "case.toml").write_text(write(case))
    result = CliRunner().invoke(cli.main, [command, str(folder / "case.toml"), *options])
    return result.exit_code, " ".join(result.output.split())


def kept(folder):
    return list((folder / "scratch").iterdir())


def values(path):
    with xr.open_dataset(path) as dataset:
        return {name: np.asarray(v) for name, v in dataset.data_vars.items() if v.dtype.kind == "f"}


SCHEMES = {
    "ETKF": {"members": 6},
    "LETKF": {"members": 6, "radius": 2.0},
    "IEnKS": {"members": 6},
}


@pytest.mark.parametrize(
    "scheme", ["ETKF", *(pytest.param(n, marks=pytest.mark.slow) for n in ("LETKF", "IEnKS"))]
)
def test_a_twin_a_cycle_and_a_forecast_are_those_of_the_model_in_jax(folder, scheme):
    case = tables()
    case["cycle"]["method"] = {"use": scheme, **SCHEMES[scheme]}
    found = {}
    for name, model in (("ours", described()), ("theirs", {"use": "plain.py:plain"})):
        own = {**case, "model": model}
        out, ahead = str(folder / name), str(folder / f"{name}_ahead")
        for command, options in (
            ("twin", ["--force"]),
            ("run", ["--out", out]),
            ("forecast", ["--from", out, "--slots", "2", "--out", ahead]),
        ):
            code, said = invoke(folder, command, own, *options)
            assert code == 0, said
        windows = sorted((folder / name).glob("windows/*/analysis.nc"))
        assert len(windows) == 3
        paths = [folder / "truth.nc", folder / "observations" / "0002.nc", *windows]
        found[name] = [values(path) for path in (*paths, folder / f"{name}_ahead" / "forecast.nc")]
    for ours, theirs in zip(found["ours"], found["theirs"], strict=True):
        assert list(ours) == list(theirs)
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-12, atol=1e-13)
    assert kept(folder) == []


def test_what_needs_derivatives_is_refused(folder):
    case = tables()
    one = {k: v for k, v in case.items() if k != "cycle"}
    one["observations"] = [{**case["observations"][0], "file": "observations.nc"}]
    code, said = invoke(folder, "twin", one)
    assert code == 0, said
    code, said = invoke(folder, "run", {**one, "minimiser": {"use": "GaussNewton"}})
    assert code == 2 and "minimiser: ProcessModel(" in said
    assert "needs the tangent of the model, which a program does not bring" in said
    assert kept(folder) == []


@pytest.mark.slow
def test_a_few_controls_by_differences_of_runs(folder):
    case = tables()
    one = {k: v for k, v in case.items() if k != "cycle"}
    one["window"] = {"start": "2000-01-01", "slots": 2, "steps": 2}
    one["observations"] = [{**case["observations"][0], "file": "observations.nc"}]
    one |= {
        "minimiser": {"use": "GaussNewton"},
        "posterior": {"use": "Laplace", "hessian": "gauss_newton", "certificate": 0},
    }
    assert invoke(folder, "twin", one)[0] == 0
    found = []
    for name, model in (
        ("ours", {**described(), "tangent": "differences"}),
        ("theirs", {"use": "plain.py:plain"}),
    ):
        code, said = invoke(folder, "run", {**one, "model": model}, "--out", str(folder / name))
        assert code == 0, said
        summary = json.loads((folder / name / "summary.json").read_text())
        rate = summary["quantities"]["rate"]
        found.append((summary["cost"]["total"], rate["mean"], rate["stddev"]))
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_a_failed_member_is_left_out_and_told(folder):
    assert invoke(folder, "twin", tables())[0] == 0
    case = tables(members=12) | {"model": described("die:3.3")}
    code, said = invoke(folder, "run", case, "--out", str(folder / "out"))
    assert code == 0, said
    lines = manifest(folder / "out")
    failed = [line.get("failed_members", 0) for line in lines]
    assert 0 < failed[0] < 10 and all(line["state"] == "analysed" for line in lines)
    assert f"{failed[0]} members are left out" in said or "1 member is left out" in said
    assert "returned 3; it printed last: a negative depth at cell 2" in said
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert summary["applied"]["failed_members"]["sum"] == sum(failed)
    with xr.open_dataset(folder / "out" / "diagnostics.nc") as series:
        assert series["failed_members"].values.tolist() == failed
        assert np.isfinite(series["x_spread_analysis"]).all()
    assert len(kept(folder)) == sum(failed)


def test_every_member_fails(folder):
    assert invoke(folder, "twin", tables())[0] == 0
    case = tables() | {"model": described("nan")}
    code, said = invoke(folder, "run", case, "--out", str(folder / "out"))
    assert code == 5 and "analysis is not finite; 6 runs of ProcessModel(" in said, said
    assert "expected finite values, got 1 of 3" in said
    code, said = invoke(folder, "check", case)
    assert code != 0 and "expected finite values, got 1 of 3" in said, said


def test_check(folder):
    assert invoke(folder, "twin", tables())[0] == 0
    code, said = invoke(folder, "check", tables())
    assert code == 0, said
    assert "pass same again" in said and "time of a run" in said
    assert "brings no tangent and no adjoint" in said


def test_mistakes_in_the_table(folder):
    model = described()
    wrong = {
        "launchr": ({"launchr": "srun"}, "takes no such argument; did you mean 'launcher'"),
        "file": ({"files": ["none.py"]}, f"there is no file {folder}/none.py"),
        "key": ({"fields": {"x": {"dim": ["cell"]}}}, "ProcessModel: fields.x takes no key 'dim'"),
    }
    for changed, words in wrong.values():
        code, said = invoke(folder, "check", tables(model={**model, **changed}))
        assert code == 2 and words in said, said


def test_a_program_is_refused_without_plug_ins_and_where_it_has_changed(folder):
    assert invoke(folder, "twin", tables())[0] == 0
    code, said = invoke(folder, "run", tables(), "--out", str(folder / "out"), "--no-plugins")
    assert code == 2 and "'ProcessModel' runs a program, and --no-plugins refuses it" in said, said
    out = ["--out", str(folder / "out")]
    assert invoke(folder, "run", tables(), *out)[0] == 0
    (folder / "cells.py").write_text(PROGRAM.read_text() + "# another version\n")
    code, said = invoke(folder, "run", tables(), *out, "--resume")
    assert code != 0 and "cells.py" in said, said


@pytest.mark.slow
def test_a_cycle_that_is_killed_goes_on(folder):
    """By SIGKILL, in the middle of its windows; the program is slow enough for that."""
    slow = described()
    slow["launcher"] = ["sh", "-c", 'sleep 0.2; exec "$@"', "sh"]
    case = tables(windows=5, model=slow)
    assert invoke(folder, "twin", {**case, "model": described()})[0] == 0
    whole, out = folder / "whole", folder / "out"
    (folder / "case.toml").write_text(write(case))
    command = [sys.executable, "-m", "assim.run.cli", "run", str(folder / "case.toml"), "--quiet"]
    subprocess.run([*command, "--out", str(whole)], check=True)
    process = subprocess.Popen([*command, "--out", str(out)])
    while not (out / "manifest.jsonl").exists() or not manifest(out):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 0 < len(manifest(out)) < 5
    subprocess.run([*command, "--out", str(out), "--resume"], check=True)
    assert contents(out) == contents(whole)
    assert steady(manifest(out)) == steady(manifest(whole))
