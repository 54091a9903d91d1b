"""A host in C: the same analyses as a host in Python has, and nothing that brings it down."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.host import lorenz
from tests.host.programs import HERE, compiled_c, compiler, library, ran

WINDOWS = 3


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What compiled programs are kept in."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    return compiled_c(HERE / "host.c", library(folder), folder / "host")


def test_a_program_finds_the_library_by_its_packages(program: Path, tmp_path: Path):
    """By CMake and by pkg-config; what they link is what runs."""
    lib, made = program.parent, tmp_path / "made"
    (tmp_path / "CMakeLists.txt").write_text(PROJECT.format(source=HERE / "host.c"))
    where = f"-Dassim_DIR={lib}/lib/cmake/assim"
    for words in (("-S", tmp_path, "-B", made, where), ("--build", made)):
        subprocess.run([compiler("cmake"), *map(str, words)], check=True, capture_output=True)
    found = {**os.environ, "PKG_CONFIG_PATH": f"{lib}/lib/pkgconfig"}
    asked = [compiler("pkg-config"), "--cflags", "--libs", "assim_fortran"]
    flags = subprocess.run(asked, check=True, capture_output=True, text=True, env=found).stdout
    by_flags = tmp_path / "by_flags"
    words = [compiler("gcc"), "-std=c11", str(HERE / "host.c"), "-o", str(by_flags)]
    subprocess.run([*words, *flags.split(), "-lm"], check=True)
    for path in (made / "host", by_flags):
        done = subprocess.run([path, "run", "nowhere.toml", "out"], env=NO_PYTHON, text=True)
        assert done.returncode == 21


NO_PYTHON = {**os.environ, "ASSIM_PYTHON": "/nowhere/python3"}
PROJECT = """
cmake_minimum_required(VERSION 3.18)
project(host C)
find_package(assim REQUIRED)
add_executable(host {source})
target_link_libraries(host PRIVATE assim::assim m)
"""


def values(text: str) -> np.ndarray:
    """State and spread that a program shows, shape (N, 2)."""
    rows = [line.split()[1:] for line in text.splitlines() if line.startswith("x ")]
    return np.array(rows, float)


def answers(text: str) -> dict[str, tuple[int, str]]:
    """Code and words of every call that a program tells of."""
    rows = re.findall(r"^([\w-]+) (\d+) ((?:.|\n(?=\s))*)$", text, re.MULTILINE)
    return {name: (int(code), words) for name, code, words in rows}


def test_one_window_at_its_end_with_traps_set(program: Path, kept: Path, tmp_path: Path):
    """Floating-point traps and the rounding of the program are not JAX's, and are back after."""
    case = lorenz.tables(posterior={"use": "Laplace"})
    lorenz.by_itself(tmp_path / "alone", case, tmp_path / "alone" / "out")
    expected = lorenz.opened(tmp_path / "alone" / "out" / "trajectory.nc")
    done = ran(program, "trap", lorenz.written(tmp_path, case), tmp_path / "out", cache=kept)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("action 3 at 0.40") == 1
    state, spread = values(done.stdout).T
    np.testing.assert_allclose(state, expected["x"][-1], rtol=0, atol=1e-10)
    np.testing.assert_allclose(spread, expected["x_stddev"][-1], rtol=1e-8)


def test_a_program_that_is_killed_goes_on_where_it_was(program: Path, kept: Path, tmp_path: Path):
    path = lorenz.written(tmp_path, lorenz.cycle(WINDOWS), WINDOWS)
    whole = ran(program, "run", path, tmp_path / "whole", cache=kept)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    killed = ran(program, "kill", path, tmp_path / "out", cache=kept)
    assert killed.returncode == -9
    refused = ran(program, "run", path, tmp_path / "out", cache=kept)
    assert refused.returncode == 3 and "holds 2 windows of a cycle" in refused.stdout
    resumed = ran(program, "resume", path, tmp_path / "out", cache=kept)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    np.testing.assert_array_equal(values(resumed.stdout), values(whole.stdout))
    assert resumed.stdout.count("action") == 1


FAULTS = {
    "advance-first": (20, "assim_initialise comes first"),
    "null-case": (20, "case_file is a null pointer"),
    "no-case": (2, "cannot read the case file"),
    "initialise-twice": (20, "an engine is there already"),
    "null-array": (20, "x is a null pointer"),
    "null-name": (20, "name is a null pointer"),
    "null-step": (20, "step is a null pointer"),
    "three-bytes": (20, "numbers have 4 or 8 bytes, got 3"),
    "spread-late": (20, "assim_initialise comes first"),
    "null-action": (20, "action is a null pointer"),
    "begin": (0, ""),
    "too-early": (20, "call start before the first step"),
    "not-a-number": (20, "time must increase"),
    "over": (20, "has stepped over t = 0.4"),
    "advance": (0, ""),
}


def test_faults_have_codes_and_words_and_the_program_lives_on(
    program: Path, kept: Path, tmp_path: Path
):
    path = lorenz.written(tmp_path, lorenz.tables())
    done = ran(program, "faults", path, tmp_path / "out", cache=kept)
    assert done.returncode == 0, done.stdout + done.stderr
    told = answers(done.stdout)
    for call, (code, words) in FAULTS.items():
        assert told[call][0] == code and words in told[call][1], (call, told[call])
    first = next(line for line in done.stdout.splitlines() if line.startswith("start"))
    assert first.startswith("start 20 height: the model of the case has no field")


def test_no_python_is_an_error_and_no_end(program: Path, kept: Path, tmp_path: Path):
    path = lorenz.written(tmp_path, lorenz.tables())
    without = f"{sys.base_prefix}/bin/python3"
    for changed, words in (
        ({"ASSIM_PYTHON": "/nowhere/python3"}, "there is no Python at /nowhere/python3"),
        ({"ASSIM_PYTHON": without, "PYTHONPATH": ""}, "cannot import assim: ModuleNotFoundError"),
        ({"PYTHONHOME": "/nowhere"}, "does not start"),
    ):
        done = ran(program, "run", path, tmp_path / "out", cache=kept, changed=changed)
        assert done.returncode == 21 and words in done.stdout, done.stdout + done.stderr


def test_advance_takes_less_than_a_microsecond(program: Path, kept: Path, tmp_path: Path):
    path = lorenz.written(tmp_path, lorenz.tables())
    done = ran(program, "time", path, tmp_path / "out", cache=kept)
    line = next(line for line in done.stdout.splitlines() if line.startswith("seconds"))
    _, failed, seconds = line.split()
    assert failed == "0" and float(seconds) < 1e-6, line
