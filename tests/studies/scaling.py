"""How time and memory of a gradient grow with state, steps, observations and members.

make study NAME=scaling

Shallow water, observed at random places and times, a diagonal B; one size varies at a time. Time is
the fastest of several runs, in processor seconds; by the clock where devices vary, which share 256²
cells (space) or 16 members (member). Memory is what the compiler plans for each of them. The slope
is that of their logarithms between neighbouring sizes; theory says 1 for time in each size, -1 in
devices; for memory 1 in the state and, once no more than the kept states grow, at most a half in
the steps of a slot.
"""

import time
from typing import Any

import jax
import numpy as np

import assim
from assim.devices import over_members
from assim.models import ShallowWater
from assim.solve.cost import gradient
from tests.studies.batches import Batches

BASE = {"cells": 64, "steps": 20, "observations": 1000, "members": 1}
SIZES = {
    "cells": (16, 32, 64, 128, 256, 512),  # along each side: 3 n² values of the state
    "steps": (10, 30, 100, 300, 1000, 3000),
    "observations": (1000, 10_000, 100_000, 1_000_000),
    "members": (1, 4, 16, 64),
    "space": (1, 2),
    "member": (1, 2),
}
SHARED = {"space": {"cells": 256}, "member": {"members": 16}}  # among devices
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


def measured(axis: str, size: int) -> dict[str, float]:
    """Seconds and bytes of the gradients of all members, one after the other on each device."""
    sizes = {**BASE, **SHARED.get(axis, {}), axis: size}
    devices = {way: sizes.pop(way, 1) for way in SHARED}
    members, clock = (
        sizes.pop("members"),
        time.perf_counter if axis in SHARED else time.process_time,
    )
    problem = posed(**sizes)
    of_one = lambda chi: gradient(problem, chi)  # noqa: E731
    chi = 0.1 * jax.random.normal(jax.random.key(0), (members, problem.size()))
    with assim.mesh(**devices):
        every = jax.jit(lambda chi: over_members(of_one, chi, 1))
        compiled = every.lower(chi).compile()
        plan: Any = compiled.memory_analysis()
        jax.block_until_ready(compiled(chi))
        seconds = []
        for _ in range(5):
            begin = clock()
            jax.block_until_ready(compiled(chi))
            seconds.append(clock() - begin)
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
    jax.config.update("jax_num_cpu_devices", 2)
    batches = Batches("scaling")
    for axis, sizes in SIZES.items():
        for size in sizes:
            if not batches.of(axis=axis, size=size):
                batches.keep(measured(axis, size), axis=axis, size=size)
                print(axis, size, batches.lines[-1], flush=True)
    table(batches)


if __name__ == "__main__":
    main()
