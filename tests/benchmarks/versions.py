"""Two versions of assim on one case: do they give the same, and which takes less time?

python -m tests.benchmarks.versions OTHER [CASE.toml] [--pairs 10] [--tolerance 1e-9]

OTHER is a checkout of the other version (`git worktree add OTHER COMMIT`). Each runs the case once,
which fills its own cache of compiled programs; their files are compared, variable by variable, and
their summaries, entry by entry. Then both run in turn, warm, and the ratio of their times, by the
clock and of the processors, is that of each pair: what else the machine does meets both. The
environment is that of this interpreter.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

HERE = Path(__file__).resolve().parents[2]
PROGRAM = "import sys; from assim.run.cli import main; sys.exit(main())"
TIMES = "seconds"  # in the names of what no two runs share


def run(checkout: Path, case: str, scratch: Path) -> np.ndarray:
    """Seconds of `assim run CASE` by a checkout with a cache of its own: clock, processors."""
    environment = os.environ | {
        "PYTHONPATH": str(checkout),
        "ASSIM_CACHE_DIR": str(scratch / "cache"),
    }
    before = times()
    subprocess.run(
        [sys.executable, "-c", PROGRAM, "run", case, "--out", str(scratch / "out")],
        cwd=checkout,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return times() - before


def times() -> np.ndarray:
    """Seconds by the clock, and those of the processors for all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([time.perf_counter(), used.ru_utime + used.ru_stime])


def differences(old: Path, new: Path, tolerance: float) -> Iterator[str]:
    """What two directories of results do not share, or have otherwise."""
    names = [{file.name for file in folder.glob("*.nc")} for folder in (old, new)]
    yield from (f"{name}: in one of them only" for name in sorted(names[0] ^ names[1]))
    for name in sorted(names[0] & names[1]):
        with xr.open_dataset(old / name) as before, xr.open_dataset(new / name) as after:
            yield from (f"{name}: {line}" for line in _of_files(before, after, tolerance))
    before, after = (json.loads((folder / "summary.json").read_text()) for folder in (old, new))
    yield from (f"summary.json: {line}" for line in _of_entries(before, after, tolerance))


def _of_files(before: xr.Dataset, after: xr.Dataset, tolerance: float) -> Iterator[str]:
    for name in sorted(set(before.variables) ^ set(after.variables)):
        yield f"{name}: {'only before' if name in before.variables else 'only now'}"
    for name in sorted(set(before.variables) & set(after.variables)):
        if TIMES in name:
            continue
        old, new = (np.asarray(file.variables[name].values) for file in (before, after))
        if not _equal(old, new, tolerance):
            yield f"{name}: other values"


def _of_entries(before: Any, after: Any, tolerance: float, key: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(set(before) | set(after)):
            if TIMES in name:
                continue
            where = f"{key}.{name}".lstrip(".")
            if name not in before or name not in after:
                yield f"{where}: {'only before' if name in before else 'only now'}"
            else:
                yield from _of_entries(before[name], after[name], tolerance, where)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for k, pair in enumerate(zip(before, after, strict=True)):
            yield from _of_entries(*pair, tolerance, f"{key}.{k}")
    elif not _equal(np.asarray(before), np.asarray(after), tolerance):
        yield f"{key}: {before!r} before, {after!r} now"


def _equal(before: np.ndarray, after: np.ndarray, tolerance: float) -> bool:
    if before.shape != after.shape:
        return False
    if np.issubdtype(before.dtype, np.floating) and np.issubdtype(after.dtype, np.floating):
        return bool(np.allclose(after, before, rtol=tolerance, atol=0, equal_nan=True))
    return bool(np.array_equal(before, after))


def main() -> None:
    """Compare, then time in pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path)
    parser.add_argument("case", nargs="?", default="cases/lynx_hare/case.toml")
    parser.add_argument("--pairs", type=int, default=10, help="at least 2")
    parser.add_argument("--tolerance", type=float, default=1e-9)
    given = parser.parse_args()
    if given.pairs < 2:
        parser.error(f"--pairs {given.pairs}: a standard error needs at least 2")
    with tempfile.TemporaryDirectory() as folder:
        old, new = (Path(folder, name) for name in ("other", "here"))
        versions = [(given.other.resolve(), old), (HERE, new)]
        for checkout, scratch in versions:
            run(checkout, given.case, scratch)
        lines = list(differences(old / "out", new / "out", given.tolerance))
        print("\n".join(lines) if lines else f"the same to {given.tolerance:g}")
        ratios = []
        for pair in range(given.pairs):
            first = versions if pair % 2 else versions[::-1]
            seconds = {scratch: run(checkout, given.case, scratch) for checkout, scratch in first}
            ratios.append(seconds[new] / seconds[old])
            print(f"other {seconds[old].round(2)} s, here {seconds[new].round(2)} s", flush=True)
        logs = np.log(ratios)
        errors = logs.std(axis=0, ddof=1) / np.sqrt(len(logs))
        for what, mean, error in zip(
            ("clock", "processors"), logs.mean(axis=0), errors, strict=True
        ):
            print(f"here / other, {what}: {np.exp(mean):.3f}, standard error {error:.3f}")


if __name__ == "__main__":
    main()
