"""How time and memory of a gradient grow with state, steps, observations and members.

make study NAME=scaling

Shallow water, observed at random places and times, a diagonal B; one size varies at a time. Time is
the fastest of several runs, in processor seconds; memory what the compiler plans. The slope is that
of their logarithms between neighbouring sizes; theory says 1 for time in each of them, for memory 1
in the state and, once no more than the kept states grow, at most a half in the steps of a slot.
"""

import time
from typing import Any

import jax
import numpy as np

import assim
from assim.models import ShallowWater
from assim.solve.cost import gradient
from tests.studies.batches import Batches

BASE = {"cells": 64, "steps": 20, "observations": 1000, "members": 1}
SIZES = {
    "cells": (16, 32, 64, 128, 256, 512),  # along each side: 3 n² values of the state
    "steps": (10, 30, 100, 300, 1000, 3000),
    "observations": (1000, 10_000, 100_000, 1_000_000),
    "members": (1, 4, 16, 64),
}
DX, DT = 10e3, 60.0


def posed(cells: int, steps: int, observations: int) -> assim.Problem:
    """One slot of all steps, observed at its ends."""
    rng = np.random.default_rng(0)
    model = ShallowWater(nx=cells, ny=cells, dx=DX, dt=DT)
    window = assim.Window.regular(model, slots=1, steps=steps)
    places = {dim: DX * cells * rng.uniform(size=observations) for dim in ("x", "y")}
    times = rng.choice(np.asarray(window.edges), observations)
    points = assim.Points.at(times, places)
    operator = assim.operator.PointSample("h")
    instrument = assim.Observations("h", np.full(observations, 100.0), points, operator, stdev=0.1)
    wave = np.sin(2 * np.pi * np.arange(cells) / cells)
    background = {"h": 100 + wave[:, None] * wave, "u": np.zeros((cells, cells))}
    background["v"] = background["u"]
    return assim.strong_constraint(
        model, window, background, assim.covariance.Diagonal(0.1), instrument
    )


def measured(cells: int, steps: int, observations: int, members: int) -> dict[str, float]:
    """Processor seconds and bytes of the gradients of all members, one after the other."""
    problem = posed(cells, steps, observations)
    every = jax.jit(lambda chi: jax.lax.map(lambda one: gradient(problem, one), chi))
    chi = 0.1 * jax.random.normal(jax.random.key(0), (members, problem.size()))
    compiled = every.lower(chi).compile()
    plan: Any = compiled.memory_analysis()
    jax.block_until_ready(compiled(chi))
    seconds = []
    for _ in range(5):
        begin = time.process_time()
        jax.block_until_ready(compiled(chi))
        seconds.append(time.process_time() - begin)
    return {"seconds": min(seconds), "bytes": float(plan.temp_size_in_bytes)}


def table(batches: Batches) -> None:
    """Time, memory and their slopes, as rows of Markdown."""
    print("| varied | size | seconds | slope | megabytes | slope | commit |")
    print("|---|---|---|---|---|---|---|")
    for axis in SIZES:
        before: dict[str, Any] = {}
        for line in sorted(batches.of(axis=axis), key=lambda line: line["size"]):
            work = line["size"] ** 2 if axis == "cells" else line["size"]
            cells = [axis, work if axis != "cells" else f"3 × {line['size']}²"]
            for what, unit in (("seconds", 1.0), ("bytes", 1e6)):
                cells.append(f"{line[what] / unit:.3g}")
                growth = np.log(line[what] / before[what]) if before else np.nan
                cells.append(f"{growth / np.log(work / before['work']):.2f}" if before else "")
            print(f"| {' | '.join(map(str, cells))} | {line['commit']} |")
            before = {**line, "work": work}


def main() -> None:
    """Measure what is missing, then print the table."""
    batches = Batches("scaling")
    for axis, sizes in SIZES.items():
        for size in sizes:
            if not batches.of(axis=axis, size=size):
                batches.keep(measured(**{**BASE, axis: size}), axis=axis, size=size)
                print(axis, size, batches.lines[-1], flush=True)
    table(batches)


if __name__ == "__main__":
    main()
