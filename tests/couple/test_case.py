"""Models outside JAX in cases: named by a function, checked, refused where they lack something."""

import shutil
from pathlib import Path

import pytest
import xarray as xr
from click.testing import CliRunner

from assim.case.case import read_case
from assim.case.toml import write
from assim.couple import trampoline
from assim.run import cli
from tests.couple.compiled import library, needs_compiler
from tests.run.toy import background, observations, tables

MODEL = '''
"""Three cells that decay, and leak to their neighbours, in NumPy."""

from pathlib import Path

import numpy as np

from assim import Coordinate, Label, Labels, foreign

LABELS = Labels(
    state={"x": Label(("cell",), "kg", "amount")},
    parameters={"rate": Label((), "day-1", "rate of decay")},
    coordinates={"cell": Coordinate(np.arange(3.0), "m", "cell")},
    time_unit="days",
)


def step(x, theta, t):
    x = x["x"]
    decay = theta["rate"] * x**2 / (1 + x**2)
    return {"x": x - decay + 0.1 * (np.roll(x, 1) - x)}


def tangent(x, theta, t, dx, dtheta):
    x, v = x["x"], dx["x"]
    decay = dtheta["rate"] * x**2 / (1 + x**2) + theta["rate"] * 2 * x * v / (1 + x**2) ** 2
    return {"x": v - decay + 0.1 * (np.roll(v, 1) - v)}


def adjoint(x, theta, t, by):
    x, w = x["x"], by["x"]
    bx = w - theta["rate"] * 2 * x * w / (1 + x**2) ** 2 + 0.1 * (np.roll(w, -1) - w)
    return {"x": bx}, {"rate": -np.sum(w * x**2 / (1 + x**2))}


def whole():
    return foreign.PythonModel(step, LABELS, 1.0, {"rate": 0.1}, tangent=tangent, adjoint=adjoint)


def alone():
    return foreign.PythonModel(step, LABELS, 1.0, {"rate": 0.1})


def forward():
    return foreign.PythonModel(step, LABELS, 1.0, {"rate": 0.1}, tangent="differences")


def by_table():
    files = [Path(__file__).with_name("table.dat")]
    given = {"tangent": tangent, "adjoint": adjoint, "files": files}
    return foreign.PythonModel(step, LABELS, 1.0, {"rate": 0.1}, **given)


def compiled():
    library = Path(__file__).with_name("cells.so")
    return foreign.CModel(library, LABELS, 1.0, {"rate": 0.1}, step="failing")


def wrong():
    flipped = lambda *given: ({"x": -adjoint(*given)[0]["x"]}, adjoint(*given)[1])
    return foreign.PythonModel(step, LABELS, 1.0, {"rate": 0.1}, tangent=tangent, adjoint=flipped)


def stopping():
    def step(x, theta, t):
        raise LookupError("the table of rates is empty")

    given = {"tangent": tangent, "adjoint": adjoint}
    return foreign.PythonModel(step, LABELS, 1.0, {"rate": 0.1}, **given)


def nothing():
    return 3
'''


@pytest.fixture
def run(tmp_path):
    """`assim COMMAND` on a case with this model, and what it printed."""
    (tmp_path / "toy.py").write_text(MODEL)
    background().to_netcdf(tmp_path / "background.nc")
    observations().to_netcdf(tmp_path / "observations.nc")

    def run(command, name, **changed):
        case = tables() | {"model": {"use": f"toy.py:{name}"}} | changed
        (tmp_path / "case.toml").write_text(write(case))
        out = ["--out", str(tmp_path / "out")] if command == "run" else []
        result = CliRunner().invoke(cli.main, [command, str(tmp_path / "case.toml"), *out])
        return result.exit_code, " ".join(result.output.split())

    return run


def test_run(run, tmp_path):
    code, said = run("run", "whole", posterior={"use": "Laplace"})
    assert code == 0, said
    with xr.open_dataset(tmp_path / "out" / "posterior.nc") as found:
        assert found.attrs["hessian"].startswith(
            "exact Hessian, with the model's second derivatives"
        )


def test_check(run):
    code, said = run("check", "whole")
    assert code == 0, said
    for name in ("same again", "no memory", "arguments", "results", "tangent of a step"):
        assert f"pass {name}" in said, said
    assert "pass adjoint of a step" in said and "its own tangent and its own adjoint" in said
    assert "time of a call" in said and "µs" in said


def test_check_finds_a_wrong_adjoint(run):
    code, said = run("check", "wrong")
    assert code == 2 and "FAIL adjoint of a step" in said and "pass tangent of a step" in said


def test_methods_that_need_more_than_it_brings(run):
    code, said = run("run", "alone", posterior={"use": "Laplace"})
    assert code == 2
    assert "minimiser: PythonModel(step): this needs the tangent of the step" in said
    assert "posterior: PythonModel(step): this needs the" in said


def test_step_alone(run, tmp_path):
    minimiser = {"use": "FourDEnVar", "members": 4, "starts": 1}
    methods = [{"use": "Laplace", "certificate": 200}, {"use": "ESMDA", "members": 50, "check": 0}]
    code, said = run("run", "alone", minimiser=minimiser, posterior=methods)
    assert code == 0, said
    with xr.open_dataset(tmp_path / "out" / "posterior.nc") as found:
        assert found.attrs["hessian"].startswith("Gauss-Newton Hessian by")
    with xr.open_dataset(tmp_path / "out" / "posterior_esmda.nc") as found:
        assert found.attrs["trust"] == "doubtful"
    code, said = run("check", "alone", minimiser=minimiser, posterior=methods)
    assert code == 0 and "brings no tangent and no adjoint" in said, said
    chain = {"use": "NUTS"}
    code, said = run("run", "alone", minimiser=minimiser, posterior=chain)
    assert code == 2 and "needs the" in said and "minimiser:" not in said


def test_few_controls_by_differences(run):
    laplace = {"use": "Laplace", "hessian": "gauss_newton"}
    code, said = run("run", "forward", posterior=laplace)
    assert code == 0, said
    code, said = run("run", "forward", posterior={"use": "Laplace"})
    assert code == 2 and "needs the adjoint" in said and "minimiser:" not in said
    code, said = run("check", "forward", posterior=laplace)
    assert code == 0 and "brings no adjoint of its step" in said, said


@pytest.mark.parametrize("through_python", [False, True])
@pytest.mark.parametrize("command", ["run", "check"])
def test_model_that_stops_the_program_is_told_with_its_words(
    run, command, through_python, monkeypatch
):
    if through_python:
        monkeypatch.setattr(trampoline, "library", lambda: None)
    code, said = run(command, "stopping", posterior={"use": "none"})
    assert code == 2, said
    words = "PythonModel(step): LookupError: the table of rates is empty"
    assert said.endswith(f"the model has stopped the run: {words}"), said
    assert "Traceback" not in said and "internal error" not in said


def test_file_of_the_model_that_has_changed_is_seen(run, tmp_path):
    table, out, case = tmp_path / "table.dat", tmp_path / "out", str(tmp_path / "case.toml")
    table.write_text("1")
    code, said = run("run", "by_table", posterior={"use": "Laplace"})
    assert code == 0, said
    with xr.open_dataset(out / "posterior.nc") as found:
        assert "  table.dat" in found.attrs["assim_inputs"]
    forecast = ["forecast", case, "--from", str(out), "--slots", "1", "--members", "5"]
    again = CliRunner().invoke(cli.main, forecast)
    assert again.exit_code == 0, again.output
    table.write_text("2")
    refused = CliRunner().invoke(cli.main, forecast)
    assert refused.exit_code == 3 and "table.dat: has changed since" in refused.output


def test_file_of_the_model_is_never_among_results(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "table.dat").write_text("1")
    (tmp_path / "table.dat").symlink_to(tmp_path / "out" / "table.dat")
    code, said = run("run", "by_table")
    assert code == 2 and "table.dat, which is read" in said, said


@needs_compiler
def test_library_is_an_input_that_may_not_change_while_a_cycle_goes_on(run, tmp_path, monkeypatch):
    shutil.copy(library("trouble"), tmp_path / "cells.so")
    run("check", "compiled")
    case = read_case(tmp_path / "case.toml")
    assert case.inputs()["cells.so"].samefile(tmp_path / "cells.so")
    assert case.decisive_inputs()["cells.so"] == case.inputs()["cells.so"]
    monkeypatch.chdir(tmp_path)
    assert "cells.so" in read_case(Path("case.toml")).inputs()


def test_function_that_returns_no_model(run):
    code, said = run("check", "nothing")
    assert code == 2 and "toy.py:nothing must return a model, it returned int" in said
