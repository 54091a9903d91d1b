"""The observations of each window of a cycle as they come in, and what became of every file."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.cycle.batches import Grouped, batch_numbers, placed, room
from assim.analysis.cycle.plan import Plan
from assim.case.cycle import by_window
from assim.case.observations import ObservationTable
from assim.case.setting import Setting
from assim.files.errors import DataError, NothingToUseError
from assim.files.names import COVARIANCE
from assim.files.netcdf import hash_file
from assim.files.read.observations import Instrument
from assim.files.read.tables import ObservedTable, open_observations
from assim.files.read.windows import TOLERANCE
from assim.files.times import date_text
from assim.problem.cycled import Rows
from assim.problem.window import Window

USED, MISSING, CORRUPT, EMPTY = "used", "missing", "corrupt", "empty"
UNUSED = "unused"  # there, in a window that has no analysis
_PAUSE = 0.5  # seconds between two looks for a file


@dataclass(frozen=True)
class Arrival:
    """One instrument's observations of one window.

    Args:
        rows: what is to be assimilated; None where there is nothing.
        instrument: the rows of the file with their flags; None where it could not be read.
        fate: "used", "missing", "corrupt" or "empty".
        told: what became of the file, for the manifest.
    """

    rows: Rows | None
    instrument: Instrument | None
    fate: str
    told: dict[str, Any]


@dataclass(frozen=True)
class _Sorted:
    """The rows of a file in the order of time, place and value.

    Args:
        rows: in this order.
        order: their numbers in the file.
        times: of each, in the model's time unit: the end of its interval.
        batches: of each, -1 before the cycle, and as many as it has slot edges after it.
    """

    rows: ObservedTable
    order: np.ndarray
    times: np.ndarray
    batches: Grouped


@dataclass(frozen=True)
class Incoming:
    """Where a cycle's observations come from.

    A file whose name holds {window}, as "obs/{window:04d}.nc", stands for one file a window;
    another holds those of all windows.

    Args:
        setting: the case's model and clock.
        plan: how windows lie.
        edges: slot edges of the whole cycle.
        reference: date of model time zero.
        watched: folder in which the files are awaited, in place of the case's.
        timeout: seconds for which each window's files are awaited.
        read: files of all windows that have been read, by the number of the instrument.
    """

    setting: Setting
    plan: Plan
    edges: np.ndarray
    reference: str | None
    watched: Path | None = None
    timeout: float = 0.0
    read: dict[int, "_Sorted"] = field(default_factory=dict)

    def of(self, window: int, say: Callable[[str], None] = lambda text: None) -> list[Arrival]:
        """What has come for window k, one entry an instrument."""
        end = time.monotonic() + self.timeout
        numbers = range(len(self.setting.tables.observations))
        if self.watched is not None:
            for number in numbers:
                _await(self.path(number, window), end, say)
        return [self.one(number, window) for number in numbers]

    def table(self, number: int) -> ObservationTable:
        """The case's table of an instrument."""
        return self.setting.tables.observations[number]

    def name(self, number: int, window: int) -> str:
        """The name that the case has for this file."""
        return self.table(number).file.format(window=window)

    def path(self, number: int, window: int) -> Path:
        """The file of an instrument for window k."""
        name, case = self.name(number, window), self.setting.case
        return case.input_path(name) if self.watched is None else self.watched / name

    def one(self, number: int, window: int) -> Arrival:
        """What there is of an instrument for window k, without waiting."""
        path = self.path(number, window)
        told: dict[str, Any] = {"file": self.name(number, window)}
        if not path.is_file():
            what = f"not there after {self.timeout:g} s" if self.watched else "not there"
            return Arrival(None, None, MISSING, {**told, "fate": MISSING, "reason": what})
        try:
            rows = self._sorted(path, number)
            if by_window(self.table(number).file):
                told["sha256"] = hash_file(path)
            return self._read(rows, path, number, window, told)
        except NothingToUseError as error:
            return Arrival(None, None, EMPTY, {**told, "fate": EMPTY, "reason": str(error)})
        except DataError as error:
            return Arrival(None, None, CORRUPT, {**told, "fate": CORRUPT, "reason": str(error)})

    def _sorted(self, path: Path, number: int) -> "_Sorted":
        """The rows of a file; those of a file of all windows are read once."""
        table = self.table(number)
        if number in self.read:
            return self.read[number]
        labels = self.setting.model.labels()
        opened = open_observations(path, table.variable, labels)
        order = opened.in_order()
        rows = opened.taken(order)
        times = (rows.ends or rows.times).to_model(labels.time_unit, self.reference)
        batches = batch_numbers(times, self.edges, self.plan.shift)
        slack = TOLERANCE * (self.edges[1] - self.edges[0])
        batches[times < self.edges[0] - slack] = -1
        batches[times > self.edges[-1] + slack] = self.edges.size
        ordered = _Sorted(rows, order, times, Grouped.by(batches))
        if not by_window(table.file):
            self.read[number] = ordered
        return ordered

    def _read(
        self, file: "_Sorted", path: Path, number: int, window: int, told: dict[str, Any]
    ) -> Arrival:
        """The rows of a window's newest batch as what is to be assimilated."""
        own = self._own(file, number, window, told)
        instrument = self.table(number).build(
            self.setting.model,
            file.rows.taken(own),
            self._stretch(window),
            source=path,
            kept=file.order[own],
        )
        used = int(instrument.used.sum())
        o = placed(instrument.observations, self.setting.model.labels())
        if not o.covariance.independent():
            table = instrument.table
            raise DataError(
                f"{table.where}: the errors of a cycle's observations are independent, the file "
                f"gives {table.variable}{COVARIANCE}; drop it, or give correlated = false to use "
                "its variances"
            )
        rows = Rows.of(o.padded(room(used)))
        told |= {"fate": USED, "used": used, "rejected": instrument.rejected()}
        told["digest"] = _digest(rows)
        return Arrival(rows, instrument, USED, told)

    def _own(self, file: "_Sorted", number: int, window: int, told: dict[str, Any]) -> np.ndarray:
        """Numbers of the rows of a window's newest batch, each once, in the order of time.

        Raises:
            NothingToUseError: there are none.
        """
        own = file.batches.of(window)
        if by_window(self.table(number).file):
            told["late"] = file.batches.of(-1, window).size
            told["early"] = file.batches.of(window + 1, self.edges.size + 1).size
        if np.any(np.diff(file.order[own]) < 0):
            told["out_of_order"] = True
        rows = file.rows.taken(own)
        repeated = rows.repeated()
        if repeated.any():
            told["repeated"] = int(repeated.sum())
        own = own[~repeated]
        if own.size == 0:
            spans = self._when(file.times) if file.times.size else "it has none"
            raise NothingToUseError(
                f"{rows.where}: expected values of window {window} ("
                f"{self._when(self.edges[[window, window + 1] * np.array(self.plan.shift)])}), got "
                f"none of {file.rows.rows}: {spans}"
            )
        return own

    def _when(self, times: np.ndarray) -> str:
        """From when to when."""
        unit = self.setting.model.labels().time_unit
        first, last = (
            date_text(float(t), unit, self.reference) for t in (times.min(), times.max())
        )
        return f"{first} to {last}"

    def _stretch(self, window: int) -> Window:
        """What window k has in it."""
        first = int(self.plan.first_slot(window))
        newest = (window + 1) * self.plan.shift
        return Window(jnp.asarray(self.edges[first : newest + 1]), 1, self.reference)


def _digest(rows: Rows) -> str:
    """sha256 of what is assimilated."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(rows):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _await(path: Path, end: float, say: Callable[[str], None]) -> None:
    """Wait until a file is there and has not been written to for a while, or the time is over."""
    size, told = -1, False
    while time.monotonic() < end:
        there = path.stat() if path.is_file() else None
        now = -1 if there is None else there.st_size
        if there is not None and (now == size or time.time() - there.st_mtime > 2 * _PAUSE):
            return
        if not told and now < 0:
            say(f"waiting for {path}")
            told = True
        size = now
        time.sleep(min(_PAUSE, max(0.0, end - time.monotonic())))
