"""C compiled for the tests, as models of the engine; skipped where there is no compiler."""

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.models import Lorenz96, ShallowWater
from tests.benchmarks.basin import CONSTANTS, DT, basin

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


WATER = {"step": "water_step", "tangent": "water_tangent", "adjoint": "water_adjoint"}


def shallow_water(n: int, **given: Any) -> tuple[assim.foreign.CModel, ShallowWater]:
    """The same periodic water in C and in JAX; in C its constants are no parameters."""
    own = {name: jnp.asarray(value) for name, value in CONSTANTS.items()}
    theirs = ShallowWater(nx=n, ny=n, dt=DT, parameters=own)
    context = basin(n)
    _KEPT.append(context)
    labels = theirs.labels()
    labels = assim.Labels(labels.state, {}, labels.coordinates, labels.time_unit)
    given = {**WATER, "context": ctypes.addressof(context), "thread_safe": True, **given}
    return assim.foreign.CModel(library("shallow_water"), labels, DT, **given), theirs


def hill(n: int) -> dict[str, Any]:
    """A hill of water on a flow."""
    x, y = np.meshgrid(*2 * [(np.arange(n) + 0.5) / n])
    start = {
        "h": 100 + 2 * np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.01),
        "u": 0.1 * np.sin(2 * np.pi * y),
        "v": 0.05 * np.cos(2 * np.pi * x),
    }
    return {name: jnp.asarray(value) for name, value in start.items()}
