"""A program by restart files: numbers as of the same model in JAX, and what fails is told."""

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import netCDF4
import numpy as np
import pytest

import assim
from assim.couple.code import StoppedError
from tests.couple.cells import COMMAND, LABELS, PROGRAM, RATE, START, Cells, X, cells

EDGES = jnp.asarray([0.0, 1.0, 2.5])
VALUES = {"x": np.asarray(X["x"]), "rate": np.asarray(0.1)}


def after(model, **given):
    """One slot of one member, outside JAX."""
    return model.process.run({**VALUES, **given}, (0.0, 1.0))["x"]


def expected(x=VALUES["x"], rate=0.1, steps=2):
    for _ in range(steps):
        x = x - rate * x**2 / (1 + x**2) + 0.1 * (np.roll(x, 1) - x)
    return x


# ---- numbers -------------------------------------------------------------------------------------


def test_members_and_slots_are_those_of_the_model_in_jax():
    """Slots of another length, a member each with its own state and rate."""
    x = {"x": jnp.stack([X["x"], 2 * X["x"], X["x"][::-1]])}
    rates = {"rate": jnp.asarray([0.1, 0.2, 0.3])}
    run = lambda m, steps: jax.jit(jax.vmap(lambda x, theta: m.states(x, theta, EDGES, steps)["x"]))  # noqa: E731
    ours = run(cells(), 1)(x, rates)
    assert ours.shape == (3, 3, 3)
    for k, rate in enumerate(rates["rate"]):
        first = expected(np.asarray(x["x"][k]), float(rate))
        states = [x["x"][k], first, expected(first, float(rate), 3)]
        np.testing.assert_allclose(ours[k], np.stack(states), rtol=1e-12)


def test_windows_and_step():
    model = cells()
    assert assim.Window.regular(model, slots=2, steps=2).edges.tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(ValueError, match=r"slot of length 0\.7 is not a whole number"):
        assim.Window.at(model, [0.0, 0.7])
    one, own = model.step(X, model.parameters, 0.0), Cells().step(X, RATE, 0.0)
    np.testing.assert_allclose(one["x"], own["x"], rtol=1e-12)


def test_differences_stand_for_the_tangent():
    push = lambda m: jax.jvp(lambda r: m.step(X, {"rate": r}, 0.0)["x"], (0.1,), (1.0,))[1]  # noqa: E731
    np.testing.assert_allclose(push(cells(tangent="differences")), push(Cells()), rtol=1e-9)


def test_derivatives_are_refused():
    model = cells()
    assert model.lacks() == ("tangent", "adjoint")
    assert cells(tangent="differences").lacks() == ("adjoint",)
    total = lambda x: jnp.sum(model.step({"x": x}, model.parameters, 0.0)["x"])  # noqa: E731
    with pytest.raises(assim.ModelContractError, match=r"needs the tangent.*ETKF, LETKF, IEnKS"):
        jax.jit(jax.jacfwd(total)).lower(X["x"])
    with pytest.raises(assim.ModelContractError, match=r"needs the adjoint.*ETKF, LETKF, IEnKS"):
        jax.jit(jax.grad(total)).lower(X["x"])


# ---- what a run is given -------------------------------------------------------------------------


def test_a_parameter_in_the_command_and_a_launcher():
    command = [*COMMAND, "{rate}"]
    model = cells(command=command, variables={"x": "T"}, launcher="env -i")
    np.testing.assert_allclose(after(model), expected(), rtol=1e-15)


def test_a_template_and_another_name(tmp_path):
    (tmp_path / "run.txt").write_text('{ "from": {start:.1f}, "to": {end}, "rate": {rate}}\n')
    model = cells(scratch=tmp_path, templates={"namelist": tmp_path / "run.txt"}, fault="die")
    assert np.isnan(after(model)).all()
    (failure,) = model.failures()
    text = (failure.directory / "namelist").read_text()
    assert text == '{ "from": 0.0, "to": 1.0, "rate": 0.1}\n'


def test_what_every_run_gets_is_among_the_inputs_of_a_case(tmp_path):
    (tmp_path / "run.txt").write_text("{rate}\n")
    templates = {"namelist": tmp_path / "run.txt"}
    assert tmp_path / "run.txt" in cells(templates=templates).code_files()


def test_a_restart_file_of_the_programs_own(tmp_path):
    """It has a dimension of time, and variables that are none of the state's."""
    with netCDF4.Dataset(tmp_path / "own.nc", "w", format="NETCDF3_CLASSIC") as file:
        file.createDimension("time", 1)
        file.createDimension("n", 3)
        file.createVariable("T", "f8", ("time", "n"))[...] = -1.0
        file.createVariable("k", "f8", ())[...] = 0.3
    before = (tmp_path / "own.nc").read_bytes()
    model = cells(
        command=[*COMMAND, "", ""], variables={"x": "T", "rate": "k"}, restart=tmp_path / "own.nc"
    )
    np.testing.assert_allclose(after(model, rate=np.asarray(0.2)), expected(rate=0.2), rtol=1e-15)
    assert (tmp_path / "own.nc").read_bytes() == before


# ---- what fails ----------------------------------------------------------------------------------

FAULTS = {
    "hang": r"still running after 0\.5 s, and has been ended",
    "die": r"returned 3; it printed last: a negative depth at cell 2",
    "crash": r"was ended by SIGSEGV",
    "nothing": r"left no output\.nc",
    "link": r"left input\.nc itself, by a link, as output\.nc",
    "nan": r"output\.nc: T: expected finite values, got 1 of 3",
    "half": r"output\.nc: expected a whole NetCDF file of 144 bytes, by its header, got 136",
    "shape": r"output\.nc: T: expected the shape \(3,\) of 'x', got \(1, 4\)",
    "missing": r"output\.nc: T: no such variable; it has temp",
    "units": r"output\.nc: T: expected units 'kg', got 'g'",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_run_is_told(fault, tmp_path):
    model = cells(fault, scratch=tmp_path, timeout=0.5 if fault == "hang" else 100)
    begin = time.monotonic()
    assert np.isnan(after(model)).all()
    assert time.monotonic() - begin < 30
    (failure,) = model.failures()
    assert failure[:3] == (0, 0.0, 1.0)
    assert list(tmp_path.iterdir()) == [failure.directory]
    assert {"input.nc", "cells.py", "assim.log"} <= set(os.listdir(failure.directory))
    words = model.may_end_early()
    assert (
        f"of member 0 in the slot from 0 to 1 days: `{START[0]} -I -S cells.py {{input}}" in words
    )
    assert f"(work directory {failure.directory})" in words
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        raise AssertionError(words)


def test_half_of_a_netcdf4_file(tmp_path):
    whole = tmp_path / "whole.nc"
    with netCDF4.Dataset(whole, "w") as file:
        file.createDimension("cell", 3)
        file.createVariable("T", "f8", ("cell",))[...] = 1.0
    half = tmp_path / "half.nc"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    command = ["cp", str(half), "{output}"]
    model = cells(command=command)
    assert np.isnan(after(model)).all()
    assert "expected a readable NetCDF file" in model.may_end_early()


def test_what_cannot_be_started(tmp_path):
    program = tmp_path / "broken"
    program.write_text("no program")
    model = cells(command=["./broken", "{input}"], files=[program])
    assert np.isnan(after(model)).all()
    assert "cannot be started" in model.may_end_early()


def test_one_member_of_many_fails(tmp_path):
    """The others are as ever; the one that has failed is not run again."""
    model = cells("die:8", scratch=tmp_path, workers=4)
    x = np.linspace(1.0, 3.0, 12)[:, None] * VALUES["x"]
    given = [x, VALUES["rate"], np.array([0.0, 1.0])]
    (first,) = model.process.of_members("step", 12, [False, True, True], given)
    np.testing.assert_allclose(first[:10], [expected(row) for row in x[:10]], rtol=1e-15)
    assert np.isnan(first[10:]).all() and len(model.failures()) == 2
    assert {failure.member for failure in model.failures()} == {10, 11}
    (again,) = model.process.of_members("step", 12, [False, True, True], [first, *given[1:]])
    assert np.isnan(again[10:]).all() and len(model.failures()) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_work_directories_go_and_what_they_link_to_stays(tmp_path):
    outside, scratch = tmp_path / "outside", tmp_path / "scratch"
    outside.mkdir()
    scratch.mkdir()
    (outside / "precious.txt").write_text("kept")
    launcher = ["sh", "-c", f'ln -s {outside} link && exec "$@"', "sh"]
    model = cells(scratch=scratch, launcher=launcher)
    np.testing.assert_allclose(after(model), expected(), rtol=1e-15)
    assert list(scratch.iterdir()) == []
    assert (outside / "precious.txt").read_text() == "kept"


def test_failures_do_not_fill_a_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("assim.couple.process._KEPT", 2)
    model = cells("nothing", scratch=tmp_path)
    given = [np.tile(VALUES["x"], (5, 1)), VALUES["rate"], np.array([0.0, 1.0])]
    model.process.of_members("step", 5, [False, True, True], given)
    assert len(list(tmp_path.iterdir())) == 2
    assert "5 runs" in model.may_end_early() and "first 2 are kept" in model.may_end_early()


def test_a_folder_that_is_gone_stops_everything(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    model = cells(scratch=scratch)
    scratch.rmdir()
    with pytest.raises(StoppedError, match="work directory cannot be prepared"):
        after(model)


def test_what_hangs_is_ended_with_all_that_it_started(tmp_path):
    launcher = ["sh", "-c", f'sleep 60 & echo $! > {tmp_path}/child; "$@"', "sh"]
    model = cells("hang", launcher=launcher, timeout=1.0)
    assert np.isnan(after(model)).all()
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        status = Path(f"/proc/{child}/status")
        if not status.exists() or "\tZ" in status.read_text():
            return
        time.sleep(0.05)
    raise AssertionError("the child still runs")


INTERRUPTED = """
import os, signal, sys, threading, time
import jax
jax.config.update("jax_enable_x64", True)
from tests.couple.cells import X, cells
model = cells("hang", scratch=sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever has started this

def interrupt():
    while not any(os.path.exists(f"{sys.argv[1]}/{d}/assim.log") for d in os.listdir(sys.argv[1])):
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
try:
    jax.block_until_ready(jax.jit(lambda x: model.step(x, model.parameters, 0.0))(X))
    time.sleep(5.0)  # whatever comes next is what is interrupted
except KeyboardInterrupt:
    print("interrupted", model.failures(), os.listdir(sys.argv[1]))
"""


@pytest.mark.slow
def test_ctrl_c_ends_the_runs(tmp_path):
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=55)
    assert done.stdout == "interrupted () []\n", done.stderr


# ---- check ---------------------------------------------------------------------------------------


def test_trials():
    found = {trial.name: trial for trial in cells().trials(X, {"rate": 0.1}, 0.0)}
    assert found["same again"].passed and "2 runs at once" in found["same again"].detail
    assert "for one step of dt = 0.5" in found["time of a run"].detail
    (only,) = cells("die").trials(X, {"rate": 0.1}, 0.0)
    assert not only.passed and "returned 3" in only.detail


def test_numbers_that_are_not_the_same_again(tmp_path):
    seed = f'echo run >> {tmp_path}/count; n=$(wc -l < {tmp_path}/count); exec "$@" 0.0$n'
    model = cells(command=COMMAND, launcher=["sh", "-c", seed, "sh"], workers=2)
    found = {trial.name: trial for trial in model.trials(X, {"rate": 0.1}, 0.0)}
    assert found["same again"].passed is False and "random" in found["same again"].detail


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, words",
    [
        ({"command": ""}, "command is empty"),
        ({"command": ["no-such-program"]}, "'no-such-program' is no program that can be started"),
        ({"command": ["{folder}/none"]}, "none' is no program that can be started"),
        ({"command": [*COMMAND, "{strat}"]}, r"there is no field \{strat\}; did you mean 'start'"),
        ({"command": [*COMMAND, "{input:.3f}"]}, r"command, word 10: \{input:.3f\}"),
        ({"variables": {"x": "T"}}, "never gets to know the parameter 'rate'"),
        ({"variables": {"y": "T"}}, "variables: no 'y'"),
        ({"outputs": {"rate": "k"}}, "outputs: no 'rate'"),
        ({"variables": {"x": "T", "rate": "T"}}, "two names stand for one variable"),
        ({"variables": {"x": "cell", "rate": "k"}}, "'cell' is a dimension of the restart file"),
        ({"output": "input.nc"}, "'input.nc' is the name of two files"),
        ({"output": "../out.nc"}, "must be the name of a file in the work directory"),
        ({"restart": "none.nc"}, "there is no file .*none.nc"),
        ({"files": ["none.txt"]}, "there is no file .*none.txt"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"timeout": 0.0}, "timeout must be positive"),
        ({"scratch": "/no/folder"}, "there is no folder /no/folder"),
        ({"tangent": "exact"}, 'tangent must be "differences" or None'),
    ],
)
def test_refusals(given, words):
    with pytest.raises(ValueError, match=words):
        cells(**given)


def test_more_refusals():
    with pytest.raises(ValueError, match="dt must be positive"):
        assim.foreign.ProcessModel([*COMMAND, "{rate}"], LABELS, 0.0, RATE, files=[PROGRAM])
    labels = assim.Labels({"x": assim.Label()}, {"start": assim.Label()})
    with pytest.raises(ValueError, match="parameter 'start' has the name of a field"):
        assim.foreign.ProcessModel([*COMMAND, "{start}"], labels, 1.0, {"start": 1.0})
    with pytest.raises(assim.ModelContractError, match=r"field 'x' has shape \(2,\)"):
        cells().states({"x": jnp.zeros(2)}, {"rate": jnp.asarray(0.1)}, EDGES, 1)
