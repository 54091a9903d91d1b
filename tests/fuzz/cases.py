"""The sound cases that are mutated: a window, one under weak constraint, a cycle and a forecast."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

CASE = """
title = "A tracer on a ring"

[model]
use = "AdvectionDiffusion"
n = 10
dt = 20.0
length = 1000.0

[window]
start = "2000-01-01"
slots = 6
steps = 1

[background]
file = "background.nc"

[parameters.speed]
prior = { use = "Normal", mean = 0.9, stdev = 0.2 }

[[observations]]
file = "observations.nc"
variable = "tracer"

[minimiser]
use = "GaussNewton"
n_outer = 20

[posterior]
use = "Laplace"
members = 20
certificate = 100

[output]
keep = ["analysis", "feedback", "posterior"]
"""
WEAK = """
[model_error]
acts = "jump"
covariance = { use = "Diagonal", stdev = 0.01 }
"""
CYCLE = """
[cycle]
windows = 2
method = { use = "FourDVar", inflation = 1.05 }
"""
POINTS = 100.0 * np.arange(10)


def _background() -> xr.Dataset:
    units = {"units": "1"}
    state = 1 + 0.5 * np.sin(2 * np.pi * POINTS / 1000)
    return xr.Dataset(
        {"tracer": ("x", state, units), "tracer_stddev": ("x", np.full(10, 0.1), units)},
        {"x": ("x", POINTS, {"units": "m"})},
    )


def _observations(first: int, last: int) -> xr.Dataset:
    """Every second point at the end of every slot."""
    random = np.random.default_rng(0)
    slot, place = np.meshgrid(np.arange(first, last), POINTS[::2], indexing="ij")
    values = 1 + 0.5 * np.sin(2 * np.pi * (place - 20.0 * slot) / 1000)
    values = values + 0.05 * random.standard_normal(values.shape)
    units = {"units": "1"}
    return xr.Dataset(
        {
            "tracer": ("obs", values.ravel(), units),
            "tracer_stddev": ("obs", np.full(values.size, 0.05), units),
            "tracer_qc": ("obs", np.zeros(values.size, np.int32), {"flag_values": np.int32(0)}),
        },
        {
            "time": ("obs", 20.0 * slot.ravel(), {"units": "seconds since 2000-01-01"}),
            "x": ("obs", place.ravel(), {"units": "m"}),
        },
    )


class Sound(NamedTuple):
    """A case in a folder: what is run to make it, and the command that its mutants are given."""

    name: str
    text: str
    before: tuple[str, ...]  # commands whose results are mutated, too
    command: str

    @property
    def out(self) -> str:
        """Folder of the results of the command."""
        return self.command.partition("--out ")[2].partition(" ")[0]


SOUND = (
    Sound("window", CASE, (), "run case.toml --out out"),
    Sound("weak", CASE + WEAK, (), "run case.toml --out out"),
    Sound("cycle", CASE + CYCLE, ("run case.toml --out out --set cycle.windows=1",),
          "run case.toml --out out --resume"),
    Sound("forecast", CASE, ("run case.toml --out out",),
          "forecast case.toml --from out --out ahead --slots 2 --members 20 "
          "--observations later.nc"),
)  # fmt: skip


def make(sound: Sound, folder: Path, run: Callable[[Path, str], int]) -> Path:
    """The folder of a sound case, its first commands run."""
    folder.mkdir(parents=True)
    text = sound.text.replace('["analysis", "feedback", "posterior"]', '["analysis"]')
    (folder / "case.toml").write_text(text if sound.name == "cycle" else sound.text)
    _background().to_netcdf(folder / "background.nc")
    _observations(1, 13 if sound.name == "cycle" else 7).to_netcdf(folder / "observations.nc")
    _observations(7, 9).to_netcdf(folder / "later.nc")
    for command in sound.before:
        code = run(folder, command)
        assert code == 0, f"{sound.name}: {command} ended with {code}"
    return folder
