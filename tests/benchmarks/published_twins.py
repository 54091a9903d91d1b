"""Analysis RMSE and spread of cycled twins beside the published figures.

    python -m tests.benchmarks.published_twins [CASE ...] [--seeds 1 2 3] [--method WORDS]

Each case in cases/ with a published.toml is run with every method named there, in memory. RMSE is
the mean over cycles, after the burn-in, of the root mean square error at the newest observations;
"spread" the same mean of the root mean variance, and "ratio" that of the roots of the mean squares
over all cycles, which is 1 where variances are right even if they vary from cycle to cycle.
"""

import argparse
import time
import tomllib
from pathlib import Path

import jax
import numpy as np

from assim.case.case import read_case
from assim.case.setting import set_up
from assim.run.cycle.cycle import pose_experiment
from assim.run.terminal.runtime import configure

CASES = Path(__file__).resolve().parents[2] / "cases"


def figures(name, settings, seed):
    """RMSE, spread, ratio of quadratic means, and seconds of a run that was compiled before."""
    assignments = [*settings, f"twin.seed={seed}"]
    case = read_case(CASES / name / "case.toml", assignments)
    posed, batches, truth = pose_experiment(set_up(case))
    begin = time.perf_counter()
    _, found = posed.cycle.scan(posed.tables.cycled().windows, posed.edges, batches, truth)
    found = jax.tree.map(np.asarray, found)
    seconds = time.perf_counter() - begin
    error, spread = (
        overall(kind.analysis, posed.setting.labels)[posed.tables.cycled().burn_in :]
        for kind in (found.errors, found.spreads)
    )
    ratio = np.sqrt(np.mean(spread**2) / np.mean(error**2))
    return float(np.mean(error)), float(np.mean(spread)), float(ratio), seconds


def overall(fields, labels):
    """Root mean square over all entries of all fields, of every window."""
    sizes = {name: int(np.prod(labels.shape(name))) for name in fields}
    total = sum(sizes[name] * np.asarray(values) ** 2 for name, values in fields.items())
    return np.sqrt(total / sum(sizes.values()))


def main():
    """Print a table a case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = sorted(path.parent.name for path in CASES.glob("*/published.toml"))
    parser.add_argument("cases", nargs="*", default=every, metavar="CASE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--method", default="", help="only methods with these words")
    given = parser.parse_args()
    configure("cpu", "float64")
    for name in given.cases:
        table = tomllib.loads((CASES / name / "published.toml").read_text())
        print(f"\n{name}\n  {'published':<44} RMSE")
        for method, figure in table["published"].items():
            print(f"  {method:<44} {figure:.2f}")
        seeds = " ".join(f"{f'seed {seed}':>7}" for seed in given.seeds)
        print(f"  {'ours':<44} RMSE   {seeds}  spread  ratio  ms a window")
        for method in table["methods"]:
            if given.method in method["name"]:
                print_method(name, method, given.seeds)


def print_method(name, method, seeds):
    """One row: means over the seeds, the RMSE of each, and the time of the fastest."""
    found = np.array([figures(name, method["set"], seed) for seed in seeds])
    rmse, spread, ratio, _ = found.mean(axis=0)
    each = " ".join(f"{value:7.3f}" for value in found[:, 0])
    windows = read_case(CASES / name / "case.toml").checked.cycle.windows
    fastest = 1000 * found[:, 3].min() / windows
    print(f"  {method['name']:<44} {rmse:.3f}  {each}  {spread:6.3f}  {ratio:5.2f}  {fastest:.2f}")


if __name__ == "__main__":
    main()
