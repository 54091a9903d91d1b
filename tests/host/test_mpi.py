"""A parallel program holds one engine in each of its processes, which MPI has started."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from assim.host import Action, Engine
from tests.host import lorenz
from tests.host.programs import compiler, library, ran

HERE = Path(__file__).resolve().parent


WINDOW = {"start": 0.0, "slots": 2, "steps": 1}  # short: every step is a dozen exchanges
END = 2 * lorenz.DT


def case(**changed: object) -> dict:
    posterior = {"use": "Laplace", "certificate": 50}
    return lorenz.described(window=WINDOW, posterior=posterior, **changed)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled."""
    folder = tmp_path_factory.mktemp("mpi")
    compiler("mpirun")
    lib = library(folder / "library")
    own = ("-O2", "-std=c11", f"-I{lib}/include", str(HERE / "ring.c"), "-o", str(folder / "ring"))
    where = (f"-L{lib}/lib", f"-Wl,-rpath,{lib}/lib", "-lassim", "-lm")
    subprocess.run([compiler("mpicc"), *own, *where], check=True)
    return folder / "ring"


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """F, its standard deviation and the state at the window's end, by one process and JAX."""
    folder = tmp_path_factory.mktemp("jax")
    path = lorenz.written(folder, {**case(), "model": {"use": "Lorenz96", "n": lorenz.N}})
    with Engine(path, folder / "out") as engine:
        x, f = lorenz.background(), np.zeros(())
        engine.register("x", x)
        engine.register("F", f)
        engine.start(0.0)
        assert engine.advance(END) is Action.STOP
        return np.array([f, engine.spread("F"), *x])


def in_processes(number: int, *words: object, cache: Path) -> subprocess.CompletedProcess[str]:
    """The program under Open MPI, with more processes than cores where there are few."""
    options = ("--oversubscribe", "--allow-run-as-root", "-n", number)
    idle = {"OMPI_MCA_mpi_yield_when_idle": "1"}
    return ran("mpirun", *options, *words, cache=cache, changed=idle)


@pytest.mark.parametrize("processes", [2, 4])
def test_the_analysis_is_that_of_one_process(
    program: Path, expected: np.ndarray, tmp_path: Path, processes: int
):
    """Step, tangent and adjoint of each process are of its part, and call MPI."""
    path, cache = lorenz.written(tmp_path, case()), program.parent / "cache"
    done = in_processes(processes, program, path, tmp_path / "out", cache=cache)
    assert done.returncode == 0, done.stderr
    values = np.array([float(word) for word in done.stdout.splitlines()[-1].split()])
    np.testing.assert_allclose(values, expected, rtol=1e-10, atol=1e-10)
    written = lorenz.opened(tmp_path / "out" / "trajectory.nc")
    np.testing.assert_allclose(written["x"][-1], values[2:], rtol=1e-14)


@pytest.fixture(scope="module")
def plane(program: Path) -> Path:
    """A program in Fortran."""
    lib, made = program.parent / "library", program.parent / "plane"
    own = (f"-I{lib}/include", f"-J{program.parent}", str(HERE / "plane.f90"), "-o", str(made))
    where = (f"{lib}/lib/libassim_fortran.a", f"{lib}/lib/libassim.so", f"-Wl,-rpath,{lib}/lib")
    subprocess.run([compiler("mpifort"), *own, *where], check=True)
    return made


def still(folder: Path) -> Path:
    """The case of a plane of eight by three, in which (x, y) = (6, 2), from 1, is read."""
    sizes = {"y": {"size": 3}, "x": {"size": 8}}
    fields = {"h": {"dims": ["y", "x"]}}
    model = {"use": "HostModel", "dt": 1.0, "fields": fields, "coordinates": sizes}
    read = {"file": "h.nc", "variable": "h", "error": {"stdev": 0.5}}
    window = {"start": 0.0, "slots": 1, "steps": 1}
    case = lorenz.tables(model=model, window=window, observations=[read])
    path = lorenz.written(folder, case)
    number = {"units": "1"}
    places = {
        name: ("obs", [value], number) for name, value in {"time": 1.0, "y": 1, "x": 5}.items()
    }
    xr.Dataset({"h": ("obs", [28.5], number)}, places).to_netcdf(folder / "h.nc")
    return path


def test_fortran_counts_from_one_and_its_first_dimension_is_the_last(plane: Path, tmp_path: Path):
    words, cache = (plane, still(tmp_path), tmp_path / "out"), plane.parent / "cache"
    done = in_processes(2, *words, cache=cache)
    assert done.returncode == 0, done.stderr
    lines = sorted(line for line in done.stdout.splitlines() if line.startswith("process"))
    h = np.array([line.split()[2:] for line in lines], float).reshape(2, 3, 6)
    expected = 10 * np.arange(1.0, 4.0)[:, None] + np.arange(1.0, 9.0)
    expected[1, 5] += 0.8 * 2.5  # by a stdev of 1 against one of 0.5
    np.testing.assert_allclose(np.concatenate(h[:, :, 1:5], axis=1), expected, atol=1e-3)
    assert (h[:, :, [0, 5]] == -1).all()
    done = in_processes(2, *words, "short", cache=cache)
    assert done.returncode == 20
    assert "h: `first` is the index of the array's first element in the whole" in done.stderr


def test_parts_that_overlap_are_refused_by_every_process(program: Path, tmp_path: Path):
    path = lorenz.written(tmp_path, case())
    words = (program, path, tmp_path / "out", "overlap")
    done = in_processes(2, *words, cache=program.parent / "cache")
    assert done.returncode == 20
    assert "x: element (0,) of the whole, of shape (6,), is held by 2 processes" in done.stderr
