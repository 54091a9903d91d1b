"""A small cycle over files: a case folder with one observation file a window, and what runs it."""

import json
from dataclasses import dataclass
from pathlib import Path

import xarray as xr
from click.testing import CliRunner

from assim.run import cli

CASE = """
title = "Lorenz-63 over files"

[model]
use = "Lorenz63"

[window]
start = 0.0
slots = 2
steps = 5

[background]
file = "background.nc"
covariance = { use = "Diagonal", stdev = 1.0 }

[[observations]]
file = "observations/{window:04d}.nc"
variable = "x"
error = { stdev = 1.0 }

[[observations]]
file = "observations/{window:04d}.nc"
variable = "z"
error = { stdev = 1.0 }

[minimiser]
n_outer = 5
tolerance = 1e-3

[cycle]
windows = WINDOWS
method = { use = "FourDVar", carry = "ensemble", members = 6, inflation = 1.05 }

[output]
keep = ["analysis", "trajectory", "feedback"]

[twin]
seed = 3
spin_up = 10.0
initial = { x = 1.0, y = 1.0, z = 20.0 }
"""


@dataclass(frozen=True)
class Files:
    """A case folder.

    Args:
        folder: of the case.
    """

    folder: Path

    @staticmethod
    def made(folder: Path, windows: int, keys: str = "") -> "Files":
        """A twin experiment of so many windows, with further keys of [cycle]."""
        folder.mkdir(parents=True)
        text = CASE.replace("WINDOWS", f"{windows}\n{keys}")
        (folder / "case.toml").write_text(text)
        files = Files(folder)
        result = CliRunner().invoke(cli.main, ["twin", str(folder / "case.toml")])
        assert result.exit_code == 0, result.output
        return files

    def run(self, out, *options):
        """`assim run` of the case."""
        arguments = ["run", str(self.folder / "case.toml"), "--out", str(out), "--quiet"]
        return CliRunner().invoke(cli.main, [*arguments, *options])

    def observation(self, window):
        """The file of a window."""
        return self.folder / f"observations/{window:04d}.nc"

    def rewrite(self, window, change):
        """Replace the file of a window by what `change` makes of its content."""
        path = self.observation(window)
        with xr.open_dataset(path, decode_times=False) as dataset:
            content = dataset.load()
        change(content).to_netcdf(path)


def setting(text):
    return "--set", text


def manifest(out):
    """The lines of the windows."""
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()][1:]


def contents(out):
    """Every file of a finished cycle but the manifest and the record, and the report."""
    paths = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in paths
        if path.suffix not in (".html", ".png", ".jsonl")
    }


def results(lines):
    """Checksums of what windows found and hand on, in files that do not name their inputs."""
    return [
        {n: d for n, d in line["files"].items() if n.startswith("carry/") or n.endswith(".json")}
        for line in lines
    ]


def steady(lines):
    """Lines of a manifest without what tells the hour or how long it took."""
    return [{k: v for k, v in line.items() if k not in ("seconds", "written")} for line in lines]
