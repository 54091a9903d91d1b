"""A tiny case, written to a folder with whatever a test spoils in it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from click.testing import CliRunner, Result

from assim.case.toml import write
from assim.run import cli

MODEL = '''
"""Three cells that decay, and leak to their neighbours."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim import AbstractModel, Coordinate, Label, Labels


class Decay(AbstractModel):
    dt: float = eqx.field(default=1.0, static=True)
    parameters: dict = eqx.field(default_factory=lambda: {"rate": jnp.asarray(0.1)})

    def labels(self):
        cell = Coordinate(np.arange(3.0), "m", "cell")
        return Labels(
            state={"x": Label(("cell",), "kg", "amount")},
            parameters={"rate": Label((), "day-1", "rate of decay")},
            coordinates={"cell": cell},
            time_unit="days",
        )

    def step(self, x, theta, t):
        leak = 0.1 * (jnp.roll(x["x"], 1) - x["x"])
        y = x["x"] - self.dt * theta["rate"] * x["x"] ** 2 / (1 + x["x"] ** 2) + leak
        return {"x": y}
'''


def background() -> xr.Dataset:
    kg = {"units": "kg"}
    return xr.Dataset(
        {"x": ("cell", [3.0, 2.0, 1.0], kg), "x_stddev": ("cell", [0.5, 0.5, 0.5], kg)},
        {"cell": ("cell", [0.0, 1.0, 2.0], {"units": "m"})},
    )


def observations() -> xr.Dataset:
    rng = np.random.default_rng(1)
    time, cell = np.repeat([1.0, 2.0, 3.0, 4.0], 3), np.tile([0.0, 1.0, 2.0], 4)
    return xr.Dataset(
        {
            "x": ("obs", 3.0 - 0.9 * cell + 0.1 * rng.standard_normal(12), {"units": "kg"}),
            "x_stddev": ("obs", np.full(12, 0.1), {"units": "kg"}),
        },
        {
            "time": ("obs", time, {"units": "days since 2000-01-01"}),
            "cell": ("obs", cell, {"units": "m"}),
        },
    )


def tables() -> dict[str, Any]:
    return {
        "title": "Toy",
        "model": {"use": "toy.py:Decay"},
        "window": {"start": "2000-01-01", "slots": 4},
        "background": {"file": "background.nc"},
        "parameters": {"rate": {"prior": {"use": "LogNormal", "median": 0.1, "log_stdev": 0.3}}},
        "observations": [{"file": "observations.nc", "variable": "x"}],
        "minimiser": {"use": "GaussNewton"},
        "posterior": {"use": "none"},
    }


@dataclass
class Toy:
    """The toy case before it is written; tests change what they like."""

    folder: Path
    case: dict[str, Any] = field(default_factory=tables)
    model: str = MODEL
    background: xr.Dataset | bytes | None = field(default_factory=background)
    observations: xr.Dataset | bytes | None = field(default_factory=observations)

    def write(self) -> "Toy":
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "toy.py").write_text(self.model, encoding="utf-8")
        self.write_case()
        for name in ("background", "observations"):
            content, path = getattr(self, name), self.folder / f"{name}.nc"
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif content is not None:
                content.to_netcdf(path)
        return self

    def write_case(self) -> Path:
        path = self.folder / "case.toml"
        path.write_text(write(self.case), encoding="utf-8")
        return path

    @property
    def out(self) -> Path:
        return self.folder / "results"

    def run(self, *options: str, command: str = "run") -> Result:
        arguments = [command, str(self.folder / "case.toml"), *options]
        if command == "run" and "--out" not in options:
            arguments += ["--out", str(self.out)]
        return invoke(*arguments)


def listed(folder: Path) -> dict[str, bytes]:
    """Every file in a folder and below it, but for the record of what was written there."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {n: path.read_bytes() for n, path in names.items() if n != ".assim/written.jsonl"}


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, list(arguments))


Spoil = Callable[[Toy], object]
