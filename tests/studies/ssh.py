"""Sea-surface height from four altimeters: how well three methods map several truths.

make study NAME=ssh [ARGS="--size 64 --truths 1"]

The case `sea_surface_height` under weak and strong constraint and by optimal interpolation, each
with the tracks and noise of truths drawn by different seeds; the first is the case's own. With
--size 64 the model has as many points along each side, half the step, and the hyperviscosity that
its shortest waves ask for. Prints the table of the case's README: means over the truths.
"""

import argparse
import runpy
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from assim.run.cli import main as assim
from tests.studies.batches import Batches

CASE = Path(__file__).parents[2] / "cases" / "sea_surface_height"
METHODS = {
    "weak constraint": "case.toml",
    "strong constraint": "strong.toml",
    "optimal interpolation": "optimal_interpolation.toml",
}
POINTS, DAYS = 32, 30  # of the case
SIZES = {32: {}, 64: {"dt": 10800.0, "hyperviscosity": 2.5e10, "steps": 8}}


def changes(method: str, size: int) -> list[str]:
    """What a case is overridden with."""
    side = runpy.run_path(str(CASE / "make_data.py"))["SIDE"]
    given = {"model.nx": size, "model.ny": size, "model.dx": side / size}
    if SIZES[size] and method != "optimal interpolation":
        other = SIZES[size]
        given |= {"model.dt": other["dt"], "window.steps": other["steps"]}
        given |= {"parameters.hyperviscosity.value": other["hyperviscosity"]}
    return [text for key, value in given.items() for text in ("--set", f"{key}={value}")]


def mapped(method: str, size: int, truth: int) -> dict[str, float]:
    """Scores of one method for one truth, the minutes it took, and its status."""
    made, scores = (runpy.run_path(str(CASE / f"{name}.py")) for name in ("make_data", "scores"))
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name) / "case", Path(name) / "out"
        shutil.copytree(CASE, folder)
        made["make"](folder, n=size, days=DAYS, seed=truth)
        begin = time.monotonic()
        arguments = ["run", str(folder / METHODS[method]), "--out", str(out), "--quiet"]
        result = CliRunner().invoke(assim, [*arguments, *changes(method, size)])
        minutes = (time.monotonic() - begin) / 60
        if not (out / "trajectory.nc").is_file():
            raise RuntimeError(result.output)
        return scores["scores"](out, folder / "truth.nc") | {
            "minutes": minutes,
            "exit": result.exit_code,
        }


def table(batches: Batches, size: int) -> None:
    """Means over the truths, with the standard deviation between them."""
    print("| method | truths | µ | λx (°) | λt (days) | RMSE (cm) | spread (cm) | commits |")
    print("|---|---|---|---|---|---|---|---|")
    for method in METHODS:
        lines = batches.of(method=method, size=size)
        if not lines:
            continue
        commits = ", ".join(sorted({line["commit"] for line in lines}))
        cells = [method, str(len(lines))]
        for key, factor, digits in (
            ("mu", 1, 3),
            ("lambda_x", 1, 2),
            ("lambda_t", 1, 1),
            ("rmse", 100, 1),
            ("spread", 100, 1),
        ):
            several = factor * np.array([line[key] for line in lines if key in line])
            apart = f" ± {several.std(ddof=1):.{digits}f}" if several.size > 1 else ""
            cells.append(f"{several.mean():.{digits}f}{apart}" if several.size else "")
        print(f"| {' | '.join([*cells, commits])} |")


def main() -> None:
    """Map what is missing, then print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, choices=SIZES, default=POINTS)
    parser.add_argument("--truths", type=int, default=4)
    asked, batches = parser.parse_args(), Batches("ssh")
    for truth in range(asked.truths):
        for method in METHODS:
            if batches.of(method=method, size=asked.size, truth=truth):
                continue
            result = mapped(method, asked.size, truth)
            batches.keep(result, method=method, size=asked.size, truth=truth)
            print(truth, method, {key: round(value, 3) for key, value in result.items()})
    table(batches, asked.size)


if __name__ == "__main__":
    main()
