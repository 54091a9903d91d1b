"""The page on hosts, run as it stands: a Fortran program that assimilates its own code."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from assim.host import Action, Engine
from tests.docs.pages import ROOT, blocks
from tests.host.lorenz import opened
from tests.host.programs import compiler, ran

PAGE = ROOT / "docs" / "how-to" / "host.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page has been run, in order, block by block."""
    compiler("gfortran")
    compiler("gcc")
    folder, names = tmp_path_factory.mktemp("page"), {"__name__": "__main__"}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for block in blocks(PAGE):
            if block.file is not None:
                (folder / block.file).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                exec(compile("\n" * block.line + block.text, str(PAGE), "exec"), names)
            elif block.language == "console":
                for line in re.findall(r"^\$ (.*)$", block.text, re.MULTILINE):
                    run(shlex.split(line), folder)
    finally:
        os.chdir(before)
    return folder


def run(words: list[str], folder: Path) -> None:
    program = [sys.executable, "-m", "assim.run.cli"] if words[0] == "assim" else words[:1]
    done = ran(*program, *words[1:], cache=folder / "cache")
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    with (folder / "printed").open("a") as file:
        file.write(done.stdout)


def test_the_analysis_of_the_code_is_that_of_the_same_model_in_jax(folder: Path):
    """Fields, the forcing and their standard deviations, by two models and from the same start."""
    compiled = opened(folder / "results" / "trajectory.nc")
    start = compiled["x_background"].values[0]
    assignments = ['model={use="Lorenz96"}', "minimiser.tolerance=1e-12"]
    with Engine(folder / "case.toml", folder / "jax", assignments=assignments) as engine:
        x, f = start.copy(), np.zeros(())
        engine.register("x", x)
        engine.register("F", f)
        engine.start(0.0)
        assert engine.advance(0.4) is Action.STOP
        deviation = float(engine.spread("F"))
    jax = opened(folder / "jax" / "trajectory.nc")
    np.testing.assert_allclose(compiled["x"], jax["x"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(compiled["x_stddev"], jax["x_stddev"], rtol=1e-8)
    summaries = [json.loads((folder / w / "summary.json").read_text()) for w in ("results", "jax")]
    forcings = [summary["quantities"]["F"] for summary in summaries]
    assert abs(forcings[0]["map"] - forcings[1]["map"]) < 1e-10
    assert abs(forcings[0]["map"] - float(f)) < 1e-10 and deviation > 0
    print({w: s["seconds"] for w, s in zip(("compiled", "jax"), summaries, strict=True)})


def test_the_program_goes_on_from_the_analysis(folder: Path):
    """The program's own steps from the analysed state, with the analysed forcing."""
    printed = (folder / "printed").read_text().splitlines()
    analysed = opened(folder / "results" / "trajectory.nc")
    summary = json.loads((folder / "results" / "summary.json").read_text())
    x, f = analysed["x"].values[-1], summary["quantities"]["F"]["map"]
    for _ in range(12):
        x = step(x, f)
    assert "analysed, t =  0.40" in printed
    t, first, forcing = (float(v) for v in re.findall(r"=\s*(\S+)", printed[-1]))
    assert (t, forcing) == (1.0, round(f, 4)) and abs(first - x[0]) < 1e-3
    free = float(re.findall(r"x\(1\) =\s*(\S+)", printed[0])[0])
    assert abs(free - first) > 1e-3


def step(x: np.ndarray, f: float) -> np.ndarray:
    """One classical Runge-Kutta step of 0.05."""

    def tendency(x: np.ndarray) -> np.ndarray:
        return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + f

    k1 = tendency(x)
    k2 = tendency(x + 0.025 * k1)
    k3 = tendency(x + 0.025 * k2)
    k4 = tendency(x + 0.05 * k3)
    return x + 0.05 * (k1 + 2 * k2 + 2 * k3 + k4) / 6


def test_few_lines_of_the_program_change(folder: Path):
    """As the page says: what is not marked is the program as it was."""
    before, after = (
        (folder / f"{n}.f90").read_text().splitlines() for n in ("forecast", "assimilated")
    )
    old = {line.strip() for line in before}
    new = [line for line in after if line.strip() not in old]
    assert new[:2] == ["! file: assimilated.f90", "program assimilated"]
    assert all(re.search(r"! (added|changed)$", line) for line in new[2:]) and len(new) == 14
    gone = old - {line.strip() for line in after}
    assert gone == {"! file: forecast.f90", "program forecast", "real(dp) :: x(n)", "integer :: k"}


def test_arrays_of_fortran_are_in_reverse_order(folder: Path, tmp_path: Path):
    """A field of (y, x) is h(nx, ny), and a section of an array is written in place.

    The program traps floating-point exceptions, and has threads and a state of its own.
    """
    (tmp_path / "order.f90").write_text(ORDER, encoding="utf-8")
    (tmp_path / "case.toml").write_text(PLANE, encoding="utf-8")
    number = {"units": "1"}
    point = {"time": [1.0], "y": [1.0], "x": [2.0]}
    xr.Dataset(
        {"h": ("obs", [3.0], number)}, {n: ("obs", v, number) for n, v in point.items()}
    ).to_netcdf(tmp_path / "observations.nc")
    (tmp_path / "plane.py").write_text(MODEL, encoding="utf-8")
    lib = folder / "library"
    words = ["gfortran", f"-I{lib}/include", f"-J{tmp_path}", str(tmp_path / "order.f90"), "-o"]
    words += [str(tmp_path / "order"), f"{lib}/lib/libassim_fortran.a", f"{lib}/lib/libassim.so"]
    run([*words, f"-Wl,-rpath,{lib}/lib", "-fopenmp", "-ffpe-trap=invalid,zero,overflow"], folder)
    done = ran(tmp_path / "order", tmp_path / "case.toml", tmp_path / "out", cache=folder / "cache")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == 5 * ["T"]


ORDER = """
program order
  use, intrinsic :: iso_c_binding
  use assim
  implicit none
  real(c_float), target :: room(6, 4)
  real(c_double) :: other(1000)
  integer :: action, k
  character(len=500) :: words(2)
  real(c_float), parameter :: none = -1
  call get_command_argument(1, words(1))
  call get_command_argument(2, words(2))
  room = none
  other = 0
  if (assim_initialise(words(1), words(2)) /= 0) call fail()
  if (assim_register("h", room(1:6:2, 1:2)) /= 0) call fail()
  room(1:6:2, 1:2) = 0
  if (assim_start(0d0, action) /= 0) call fail()
  call stir()
  if (assim_advance(1d0, action) /= 0) call fail()
  call stir()
  print *, all(other == [(2 * k, k = 1, 1000)]), abs(room(5, 2) - 1.5) < 1e-6, &
    all(room(2:6:2, :) == none), all(room(:, 3:) == none), abs(sum(room(1:5:2, 1:2)) - 1.5) < 1e-6
contains
  subroutine stir()
    !$omp parallel do
    do k = 1, 1000
      other(k) = other(k) + k
    end do
  end subroutine
  subroutine fail()
    print '(a)', assim_last_error()
    error stop 1
  end subroutine
end program
"""
PLANE = """
[model]
use = "plane.py:Still"
[window]
start = 0.0
slots = 1
[background]
covariance = { use = "Diagonal", stdev = 1.0 }
[[observations]]
file = "observations.nc"
variable = "h"
error = { stdev = 1.0 }
[posterior]
use = "none"
"""
MODEL = """
import equinox as eqx
import numpy as np

from assim import AbstractModel, Coordinate, Label, Labels


class Still(AbstractModel):
    dt: float = eqx.field(default=1.0, static=True)
    parameters: dict = eqx.field(default_factory=dict)

    def labels(self):
        axes = {name: Coordinate(np.arange(float(n))) for name, n in {"y": 2, "x": 3}.items()}
        return Labels({"h": Label(("y", "x"))}, coordinates=axes)

    def step(self, x, theta, t):
        return x
"""
