"""Memory and time of a long cycle over files in one process.

    python -m tests.benchmarks.long_cycle [--windows 10000]

Lorenz-96 with 40 sites, windows of one slot, all its files written. Prints the resident memory and
the seconds per window every tenth of the way, and how often the model's step was traced.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from click.testing import CliRunner

from assim.analysis.cycle import cycle as driver
from assim.run import cli
from assim.run.terminal.screen import Screen
from tests.benchmarks.cycling import CASE


def resident():
    """MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main():
    """Run, and print as it goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=10_000)
    windows = parser.parse_args().windows
    traces, original = [], driver._analyse

    def counted(*given):
        traces.append(1)
        return original(*given)

    driver._window = driver.eqx.filter_jit(counted)
    state = {"begin": time.perf_counter(), "first": 0.0}

    class Watching(Screen):
        """A screen that watches the memory."""

        def following(self, total, done):
            return _Follow(total, state)

    cli._screen = lambda quiet=False: Watching(quiet=True)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "case.toml"
        text = CASE.replace("WINDOWS", str(windows)).replace("CARRY", "ensemble")
        path.write_text(text.replace("slots = 4", "slots = 1").replace("twin = true", ""))
        assert CliRunner().invoke(cli.main, ["twin", str(path)]).exit_code == 0
        arguments = ["run", str(path), "--out", str(Path(name) / "out")]
        result = CliRunner().invoke(cli.main, arguments)
        assert result.exit_code == 0, result.output
        summary = (Path(name) / "out/summary.json").read_text()
    print(f"traced {len(traces)} times")
    print("\n".join(line for line in summary.splitlines() if 'rmse_analysis"' in line))


class _Follow:
    """Called after every window."""

    def __init__(self, windows, state):
        self.windows, self.state = windows, state

    def __enter__(self):
        return self.window

    def __exit__(self, *error):
        return None

    def window(self, number, measures, entry):
        if number + 1 == 100:
            self.state["first"] = resident()
            self.state |= {"begin": time.perf_counter(), "last": number}
        if number >= 100 and (number + 1) % (self.windows // 10) == 0:
            now, first = resident(), self.state["first"]
            each = (time.perf_counter() - self.state["begin"]) / (number - self.state["last"])
            told = f"{now:7.1f} MiB ({100 * (now / first - 1):+.1f} % since window 100)"
            print(f"{number + 1:>6} {told}, {1000 * each:.1f} ms a window", file=sys.__stderr__)
            self.state |= {"begin": time.perf_counter(), "last": number}


if __name__ == "__main__":
    main()
