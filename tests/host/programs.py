"""Programs in C and Fortran with libassim in them, compiled and run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from assim.couple.build import build

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def compiler(name: str) -> str:
    """A compiler; the test is skipped where it is absent."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def library(folder: Path) -> Path:
    """libassim of this Python."""
    compiler("gcc")
    build(folder, "0", lambda text: None)
    return folder


def compiled_c(source: Path, lib: Path, made: Path) -> Path:
    """A program in C, linked to the library."""
    own = ("-O2", "-std=c11", f"-I{lib / 'include'}", str(source), "-o", str(made))
    where = (f"-L{lib / 'lib'}", f"-Wl,-rpath,{lib / 'lib'}", "-lassim", "-lm")
    subprocess.run([compiler("gcc"), *own, *where], check=True)
    return made


def ran(
    *command: object, cache: Path, changed: dict[str, str] | None = None, timeout: float = 280
) -> subprocess.CompletedProcess[str]:
    """A program with this checkout of assim on its path, and a cache of compiled programs."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "ASSIM_CACHE_DIR": str(cache),
        "JAX_PLATFORMS": "cpu",
        **(changed or {}),
    }
    words = [str(word) for word in command]
    given = {"capture_output": True, "text": True, "timeout": timeout}
    return subprocess.run(words, env=environment, **given)  # type: ignore[call-overload]
