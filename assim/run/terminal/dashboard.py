"""How a cycle goes, while it goes: a table that renews itself, or a line now and then."""

import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from assim.run.terminal.screen import number_text

if TYPE_CHECKING:
    from assim.analysis.cycle.measures import Measures

_ROWS = 12  # windows that the table shows
_LINES = 20  # of a whole cycle, where the output is no terminal
_BARS = "▁▂▃▄▅▆▇█"
_HISTORY = 60  # windows in the small curve
_BOTH, _RATIO = ("RMSE", "spread"), ("spread/RMSE",)  # of one field; of several in their units


class Dashboard:
    """A live table in a terminal; elsewhere one line for every twentieth of the windows."""

    def __init__(self, console: Console, windows: int, done: int) -> None:
        self.windows, self.done, self.begin = windows, done, time.perf_counter()
        self.before = done
        self.settled: float | None = None  # when the first window of this process was done
        self.judged: tuple[str, ...] = _BOTH
        self.rows: deque[tuple[str, ...]] = deque(maxlen=_ROWS)
        self.history: deque[float] = deque(maxlen=_HISTORY)
        self.flagged: Counter[str] = Counter()
        self.console = console
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def window(self, number: int, measures: "Measures", entry: Mapping[str, Any]) -> None:
        """Take in a finished window."""
        self.done = number + 1
        if self.settled is None:
            self.settled = time.perf_counter()
        seconds = sum(entry["seconds"].values())
        errors = None if measures.errors is None else measures.errors.analysis
        spreads = measures.spreads.analysis
        self.judged = _BOTH if len(spreads) == 1 else _RATIO
        cells = (
            f"{measures.number:.0f}",
            number_text(measures.chi_squared),
            *_judged(errors, spreads),
            f"{measures.inflation:.3f}",
            f"{seconds:.3f}",
            entry["state"] + (f": {entry['reason']}" if entry["reason"] else ""),
        )
        self.rows.append((str(number), *cells))
        self.history.append(float(measures.chi_squared))
        fates = (file["fate"] for file in entry["observations"].values())
        self.flagged.update(fate for fate in fates if fate != "used")
        if entry["reason"]:
            self.flagged["not converged" if entry["state"] == "analysed" else entry["state"]] += 1
        if self.live is not None:
            self.live.update(self._drawn(), refresh=True)
        elif self._due(number):
            self.console.print(self._line(), markup=False)

    def _due(self, number: int) -> bool:
        every = max(1, self.windows // _LINES)
        return (number + 1) % every == 0 or number + 1 == self.windows

    def _line(self) -> str:
        pairs = list(zip(self._columns(), self.rows[-1], strict=True))[1:-2]
        values = ", ".join(f"{name} {value}" for name, value in pairs)
        return f"{self._progress()}: {values}{self._flags()}"

    def _columns(self) -> tuple[str, ...]:
        return ("window", "observations", "2J/m", *self.judged, "inflation", "seconds", "state")

    def _progress(self) -> str:
        """What is done and left, by the windows after the first of this process, which compiles."""
        number, now = self.done - self.before, time.perf_counter()
        done = f"{self.done} of {self.windows} windows done"
        if number < 2 or self.settled is None:
            return f"{done}, compiled and analysed in {now - self.begin:.0f} s"
        each = (now - self.settled) / (number - 1)
        left = each * (self.windows - self.done)
        return f"{done}, {1000 * each:.0f} ms each, {left:.0f} s left"

    def _flags(self) -> str:
        if not self.flagged:
            return ""
        return "; so far " + ", ".join(f"{count} {fate}" for fate, count in self.flagged.items())

    def _drawn(self) -> Group:
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for column in self._columns():
            table.add_column(column, justify="left" if column == "state" else "right")
        for row in self.rows:
            table.add_row(*row)
        curve = Text(f"2J/m {_curve(self.history)}")
        return Group(Text(self._progress() + self._flags()), table, curve)


def _judged(errors: Mapping[str, Any] | None, spreads: Mapping[str, Any]) -> tuple[str, ...]:
    """RMSE and spread of one field; of several the mean of spread/RMSE, which has no unit."""
    if len(spreads) == 1:
        (spread,) = spreads.values()
        error = None if errors is None else next(iter(errors.values()))
        return "–" if error is None else number_text(error), number_text(spread)
    if errors is None:
        return ("–",)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = [np.divide(spreads[name], errors[name]) for name in spreads]
    return (number_text(np.mean(ratios)),)


def _curve(values: Any) -> str:
    """Small bars, from 0 to twice what is expected; a gap where there is no value."""
    highest = len(_BARS) - 1
    levels = (int(v / 2 * len(_BARS)) if np.isfinite(v) else -1 for v in values)
    return "".join(_BARS[min(highest, level)] if level >= 0 else " " for level in levels)
