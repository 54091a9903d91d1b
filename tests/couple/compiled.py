"""C compiled for the tests, as models of the engine; skipped where there is no compiler."""

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import assim
from assim.models import Lorenz96

SOURCES = Path(__file__).parent / "c"
COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler (cc, gcc) is here")
LORENZ96 = {"step": "lorenz96_step", "tangent": "lorenz96_tangent", "adjoint": "lorenz96_adjoint"}


@cache
def library(name: str, *flags: str) -> Path:
    """A file of `c/`, compiled once a session with these flags."""
    path = Path(tempfile.mkdtemp()) / f"{name}.so"
    command = [str(COMPILER), "-O2", "-shared", "-fPIC", *flags, str(SOURCES / f"{name}.c")]
    subprocess.run([*command, "-o", str(path), "-lm", "-pthread"], check=True)
    return path


class Ring(ctypes.Structure):
    """`Model` of c/lorenz96.c."""

    _fields_ = (("n", ctypes.c_int), ("dt", ctypes.c_double))


_KEPT: list[Any] = []  # contexts: C reads them as long as a program may call it


def lorenz96(n: int = 40, *flags: str, **given: Any) -> assim.foreign.CModel:
    """Lorenz-96 in C."""
    ring = Ring(n, 0.05)
    _KEPT.append(ring)
    given = {**LORENZ96, "context": ctypes.addressof(ring), "thread_safe": True, **given}
    file = library("lorenz96", *flags)
    return assim.foreign.CModel(file, Lorenz96(n=n).labels(), 0.05, {"F": 8.0}, **given)


def chaotic(n: int = 40, seed: int = 0) -> np.ndarray:
    """A state about F."""
    return 8 + 2 * np.random.default_rng(seed).standard_normal(n)
