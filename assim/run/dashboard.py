"""How a cycle goes, while it goes: a table that renews itself, or a line now and then."""

import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from assim.analysis.cycle.measures import Measures

_ROWS = 12  # windows that the table shows
_LINES = 20  # of a whole cycle, where the output is no terminal
_BARS = "▁▂▃▄▅▆▇█"
_HISTORY = 60  # windows in the small curve
_COLUMNS = ("window", "observations", "2J/m", "RMSE", "spread", "inflation", "seconds", "state")


class Dashboard:
    """A live table in a terminal; elsewhere one line for every twentieth of the windows.

    Args:
        console: where it is shown.
        windows: of the whole cycle.
        done: of them, before.
    """

    def __init__(self, console: Console, windows: int, done: int) -> None:
        self.windows, self.done, self.begin = windows, done, time.perf_counter()
        self.first = done
        self.rows: deque[tuple[str, ...]] = deque(maxlen=_ROWS)
        self.history: deque[float] = deque(maxlen=_HISTORY)
        self.flagged: dict[str, int] = {}
        self.console = console
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self.live is not None:
            self.live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live is not None:
            self.live.__exit__(kind, error, trace)

    def window(self, number: int, measures: "Measures", entry: Mapping[str, Any]) -> None:
        """Take in a finished window."""
        self.done = number + 1
        seconds = sum(entry["seconds"].values())
        errors = None if measures.errors is None else measures.errors.analysis
        cells = (
            f"{measures.number:.0f}",
            _number(measures.chi_squared),
            "–" if errors is None else _number(_mean(errors)),
            _number(_mean(measures.spreads.analysis)),
            f"{measures.inflation:.3f}",
            f"{seconds:.3f}",
            entry["state"] + (f": {entry['reason']}" if entry["reason"] else ""),
        )
        self.rows.append((str(number), *cells))
        self.history.append(float(measures.chi_squared))
        for one in entry["observations"].values():
            if one["fate"] != "used":
                self.flagged[one["fate"]] = self.flagged.get(one["fate"], 0) + 1
        if entry["reason"]:
            self.flagged[entry["state"]] = self.flagged.get(entry["state"], 0) + 1
        if self.live is not None:
            self.live.update(self._drawn(), refresh=True)
        elif self._due(number):
            self.console.print(self._line(), markup=False)

    def _due(self, number: int) -> bool:
        every = max(1, self.windows // _LINES)
        return (number + 1) % every == 0 or number + 1 == self.windows

    def _line(self) -> str:
        names = [name for name in _COLUMNS[1:6]]
        told = ", ".join(f"{n} {v}" for n, v in zip(names, self.rows[-1][1:6], strict=True))
        return f"{self._progress()}: {told}{self._flags()}"

    def _progress(self) -> str:
        spent = time.perf_counter() - self.begin
        each = spent / max(1, self.done - self.first)
        left = each * (self.windows - self.done)
        return f"window {self.done} of {self.windows}, {1000 * each:.0f} ms each, {left:.0f} s left"

    def _flags(self) -> str:
        if not self.flagged:
            return ""
        return "; " + ", ".join(f"{count} {fate}" for fate, count in self.flagged.items())

    def _drawn(self) -> Group:
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for column in _COLUMNS:
            table.add_column(column, justify="left" if column == "state" else "right")
        for row in self.rows:
            table.add_row(*row)
        curve = Text(f"2J/m {_curve(self.history)}")
        return Group(Text(self._progress() + self._flags()), table, curve)


def _mean(fields: Mapping[str, Any]) -> float:
    return float(np.sqrt(np.mean(np.square([float(value) for value in fields.values()]))))


def _number(value: Any) -> str:
    return f"{float(value):.3f}" if np.isfinite(value) else "–"


def _curve(values: Any) -> str:
    """Small bars, from 0 to twice what is expected; a gap where there is no value."""
    found = []
    for value in values:
        level = min(len(_BARS) - 1, int(value / 2 * len(_BARS))) if np.isfinite(value) else -1
        found.append(_BARS[level] if level >= 0 else " ")
    return "".join(found)
