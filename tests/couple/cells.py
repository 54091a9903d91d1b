"""The program of programs/cells.py as a model, and the same model in JAX."""

import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import assim

PROGRAM = Path(__file__).parent / "programs" / "cells.py"
START = [sys.executable, "-I", "-S", "cells.py"]  # without site: it starts in no time
COMMAND = [*START, "{input}", "{output}", "{start}", "{end}", "0.5"]
LABELS = assim.Labels(
    {"x": assim.Label(("cell",), "kg", "amount")},
    {"rate": assim.Label((), "day-1", "rate of decay")},
    {"cell": assim.Coordinate(np.arange(3.0), "m")},
    "days",
)
X = {"x": jnp.asarray([3.0, 2.0, 1.0])}
RATE = {"rate": 0.1}


class Cells(assim.AbstractModel):
    """In JAX."""

    parameters: assim.Params = eqx.field(default_factory=lambda: {"rate": jnp.asarray(0.1)})
    dt: float = eqx.field(default=0.5, static=True)

    def labels(self):
        return LABELS

    def step(self, x, theta, t):
        x = x["x"]
        leak = 0.1 * (jnp.roll(x, 1) - x)
        return {"x": x - theta["rate"] * x**2 / (1 + x**2) + leak}


def cells(fault: str = "", **given: Any) -> assim.foreign.ProcessModel:
    """The program, with what goes wrong in it."""
    given = {"variables": {"x": "T", "rate": "k"}, "files": [PROGRAM], "workers": 2, **given}
    command = given.pop("command", [*COMMAND, "", fault])
    return assim.foreign.ProcessModel(command, LABELS, 0.5, RATE, **given)
