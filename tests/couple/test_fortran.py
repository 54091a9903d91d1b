"""A step in Fortran by `bind(c)`: the order of indices, tangent and adjoint."""

import shutil
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest

import assim
from tests.couple.compiled import SOURCES

pytestmark = pytest.mark.skipif(shutil.which("gfortran") is None, reason="no gfortran is here")
LABELS = assim.Labels(
    {"n": assim.Label(("y", "x"))},
    {"rate": assim.Label()},
    {"y": assim.Coordinate(np.arange(3.0)), "x": assim.Coordinate(np.arange(4.0))},
)


def test_step_in_fortran(tmp_path):
    library = tmp_path / "libdecay.so"
    command = [
        "gfortran",
        "-O2",
        "-shared",
        "-fPIC",
        "-J",
        str(tmp_path),
        str(SOURCES / "decay.f90"),
    ]
    subprocess.run([*command, "-o", str(library)], check=True)
    symbols = {name: f"decay_{name}" for name in ("step", "tangent", "adjoint")}
    model = assim.foreign.CModel(library, LABELS, 0.1, {"rate": 0.5}, thread_safe=True, **symbols)
    n = jnp.arange(12.0).reshape(3, 4)
    after = model.step({"n": n}, {"rate": jnp.asarray(0.5)}, 0.0)["n"]
    np.testing.assert_allclose(after, np.roll(n, 1, axis=1) * 0.95, rtol=1e-15)
    once = lambda z: model.step({"n": z[0]}, {"rate": z[1]}, 0.0)["n"]  # noqa: E731
    given = (n, jnp.asarray(0.5))
    assert assim.derivatives.tangent_linear_test(once, given).passed
    assert assim.derivatives.adjoint_test(once, given).passed
    assert all(t.passed is not False for t in model.trials({"n": n}, model.parameters, 0.0))
