"""Time per window of a cycle: as a loop of compiled windows, inside one scan, over files.

    python -m tests.benchmarks.cycling [--windows 400]

Lorenz-96 with 40 sites, windows of four slots of one step, all sites observed at the end of each,
three outer loops; beside it one gradient of the same window's J. Medians of five runs, after one
that compiles.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from click.testing import CliRunner

from assim.case.case import read_case
from assim.case.setting import set_up
from assim.run import cli
from assim.run.cycle.cycle import pose_experiment
from assim.solve.cost import gradient

CASE = """
[model]
use = "Lorenz96"

[window]
start = 0.0
slots = 4

[background]
file = "background.nc"
covariance = { use = "Diagonal", stdev = 1.0 }

[[observations]]
file = "observations.nc"
variable = "x"
error = { stdev = 1.0 }

[minimiser]
n_outer = 3

[cycle]
windows = WINDOWS
twin = true
method = { use = "FourDVar", carry = "CARRY", members = 80, inflation = 1.05 }

[twin]
seed = 1
spin_up = 20.0
initial = { x = 8.0 }
"""


def posed(folder, windows, carry):
    """The experiment of a case that is written to a folder."""
    path = folder / "case.toml"
    path.write_text(CASE.replace("WINDOWS", str(windows)).replace("CARRY", carry))
    return pose_experiment(set_up(read_case(path)))


def median(work, runs=5):
    """Seconds of a run, the median of several after one that compiles."""
    work()
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def of_one_gradient(cycle, edges, rows):
    """Seconds of ∇J of the first window, as a user's own loop would pay for it."""
    problem = cycle.problem
    placed = tuple(one.placed(o) for one, o in zip(rows, problem.observations, strict=True))
    problem = problem.__class__(problem.model, problem.window, problem.control, placed)
    compiled = jax.jit(lambda chi: gradient(problem, chi))
    chi = jnp.zeros(problem.size())
    return median(lambda: [jax.block_until_ready(compiled(chi)) for _ in range(200)]) / 200


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=400)
    windows = parser.parse_args().windows
    cli._configure()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for carry in ("static", "posterior", "ensemble"):
            given, batches, truth = posed(folder, windows, carry)
            cycle, every = given.cycle, given.edges
            edges = [cycle.plan.stretch(every, number) for number in range(windows)]
            rows = [cycle.plan.rows(batches, number) for number in range(windows)]
            true = {k: np.asarray(v) for k, v in truth.items()}
            true = [{k: v[4 * n : 4 * n + 5] for k, v in true.items()} for n in range(windows)]

            def loop(cycle=cycle, edges=edges, rows=rows, true=true):
                carried = cycle.start()
                for number in range(windows):
                    given = (carried, number, edges[number], rows[number], true[number])
                    carried, _, found = cycle.window(*given)
                jax.block_until_ready(found.cost)

            def scan(cycle=cycle, every=every, batches=batches, truth=truth):
                found = cycle.scan(windows, every, batches, truth)[1]
                jax.block_until_ready(found.cost)

            if carry == "static":
                print(
                    f"gradient          {1e6 * of_one_gradient(cycle, edges[0], rows[0]):8.1f} µs"
                )
            print(f"{carry:<10} loop   {1e3 * median(loop) / windows:8.3f} ms a window")
            print(f"{carry:<10} scan   {1e3 * median(scan) / windows:8.3f} ms a window")
        arguments = [str(folder / "case.toml"), "--set", "cycle.twin=false"]
        assert CliRunner().invoke(cli.main, ["twin", *arguments]).exit_code == 0
        begin = time.perf_counter()
        out = ["--out", str(folder / "out"), "--quiet", "--set", "output.keep=['analysis']"]
        assert CliRunner().invoke(cli.main, ["run", *arguments, *out]).exit_code == 0
        seconds = time.perf_counter() - begin
        print(f"over files, analysis.nc alone {1e3 * seconds / windows:8.1f} ms a window")


if __name__ == "__main__":
    main()
