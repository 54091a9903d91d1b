"""The observations of each window of a cycle as they come in, and what became of every file."""

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.cycle.batches import Grouped, batch_numbers, placed, room
from assim.case.cycle import by_window
from assim.case.observations import ObservationTable
from assim.case.pose_cycle import PosedCycle
from assim.files.errors import DataError, NothingToUseError
from assim.files.names import COVARIANCE
from assim.files.netcdf import hash_file
from assim.files.read.observations import Instrument
from assim.files.read.shared import shared_values
from assim.files.read.tables import ObservedTable
from assim.files.read.windows import TOLERANCE
from assim.problem.cycled import Rows
from assim.problem.window import Window

USED, MISSING, CORRUPT, EMPTY = "used", "missing", "corrupt", "empty"
UNUSED = "unused"  # there, in a window that has no analysis
_FIGURES = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")
_PAUSE = 0.5  # seconds between two looks for a file


@dataclass(frozen=True)
class Arrival:
    """One instrument's observations of one window."""

    entry: dict[str, Any]  # what became of the file, for the manifest; "fate" is one of the above
    rows: Rows | None = None  # what is to be assimilated; None where there is nothing
    instrument: Instrument | None = None  # the rows of the file with flags; None where unread


@dataclass(frozen=True)
class _Sorted:
    """The rows of a file in the order of time, place and value; of each its number in the file,
    the end of its interval, and its batch: -1 before the cycle, the number of edges after it.
    """

    rows: ObservedTable
    order: np.ndarray
    times: np.ndarray
    batches: Grouped


@dataclass(frozen=True)
class Incoming:
    """Where a cycle's observations come from: the case's folder, or one that is watched for a time.

    A file whose name holds {window}, as "obs/{window:04d}.nc", stands for one file a window;
    another holds those of all windows, and is read once.
    """

    posed: PosedCycle
    watched: Path | None = None
    timeout: float = 0.0
    note: Callable[[Sequence[str]], None] = lambda notes: None  # told what is unusual in a file
    read: dict[int, _Sorted] = field(default_factory=dict)
    told: set[tuple[int, str]] = field(default_factory=set)  # notes without their figures

    @cached_property
    def edges(self) -> np.ndarray:
        """Slot edges of the whole cycle."""
        return np.asarray(self.posed.edges)

    def of(self, window: int, say: Callable[[str], None] = lambda text: None) -> list[Arrival]:
        """What has come for window k, one entry an instrument."""
        end = time.monotonic() + self.timeout
        numbers = range(len(self.posed.tables.observations))
        if self.watched is not None:
            for number in numbers:
                _await(self.path(number, window), end, say)
        arrivals = [self.arrival(number, window) for number in numbers]
        if window == 0:
            self.note([*shared_values([a.instrument for a in arrivals if a.instrument])])
        return arrivals

    def table(self, number: int) -> ObservationTable:
        """The case's table of an instrument."""
        return self.posed.tables.observations[number]

    def path(self, number: int, window: int) -> Path:
        """The file of an instrument for window k."""
        name = self.table(number).file.format(window=window)
        return (self.watched or self.posed.case.folder) / name

    def arrival(self, number: int, window: int) -> Arrival:
        """What there is of an instrument for window k, without waiting."""
        path, table = self.path(number, window), self.table(number)
        entry: dict[str, Any] = {"file": table.file.format(window=window)}
        if not path.is_file():
            what = f"not there after {self.timeout:g} s" if self.watched else "not there"
            return Arrival({**entry, "fate": MISSING, "reason": what})
        try:
            rows = self._sorted(path, number)
            if by_window(table.file):
                entry["sha256"] = hash_file(path)
            return self._read(rows, path, number, window, entry)
        except DataError as error:
            fate = EMPTY if isinstance(error, NothingToUseError) else CORRUPT
            return Arrival({**entry, "fate": fate, "reason": str(error)})

    def _sorted(self, path: Path, number: int) -> _Sorted:
        """The rows of a file; those of a file of all windows are read once."""
        if number in self.read:
            return self.read[number]
        table, labels = self.table(number), self.posed.setting.labels
        opened = table.rows(path, labels)
        self._tell(number, opened.notes)
        order = opened.in_order()
        rows = opened.taken(order)
        stamps, shift = rows.ends or rows.times, self.posed.cycle.plan.shift
        times = stamps.to_model(labels.time_unit, self.posed.reference, self.edges)
        batches = batch_numbers(times, self.edges, shift)
        slack = TOLERANCE * (self.edges[1] - self.edges[0])
        batches[times < self.edges[0] - slack] = -1
        batches[times > self.edges[-1] + slack] = self.edges.size
        ordered = _Sorted(rows, order, times, Grouped.by(batches))
        if not by_window(table.file):
            self.read[number] = ordered
            self._tell(number, self._outside(ordered))
        return ordered

    def _tell(self, number: int, notes: Sequence[str]) -> None:
        """Notes on an instrument's files, of those that differ in figures the first alone."""
        fresh = []
        for note in notes:
            kind = (number, _FIGURES.sub("", note))
            if kind not in self.told:
                self.told.add(kind)
                fresh.append(note)
        self.note(fresh)

    def _outside(self, file: _Sorted) -> list[str]:
        """A note of rows of a file of all windows that lie in none of them."""
        size = file.batches.of(-1).size + file.batches.of(self.edges.size).size
        if not size:
            return []
        cycle, times = self._when(self.edges), self._when(file.times)
        return [
            f"{file.rows.where}: {size} of {file.rows.rows} values lie in no window: the times run "
            f"from {times}, the cycle from {cycle}"
        ]

    def _read(
        self, file: _Sorted, path: Path, number: int, window: int, entry: dict[str, Any]
    ) -> Arrival:
        """The rows of a window's newest batch as what is to be assimilated."""
        own, model = self._own(file, number, window, entry), self.posed.setting.model
        rows, plan = file.rows.taken(own), self.posed.cycle.plan
        first, newest = int(plan.earliest(window)), (window + 1) * plan.shift
        stretch = Window(jnp.asarray(self.edges[first : newest + 1]), 1, self.posed.reference)
        kept = file.order[own]
        instrument = self.table(number).build(model, rows, stretch, source=path, kept=kept)
        self._tell(number, [note for note in instrument.table.notes if note not in rows.notes])
        observations = placed(instrument.observations, model.labels())
        if not observations.covariance.independent():
            table = instrument.table
            raise DataError(
                f"{table.where}: the errors of a cycle's observations are independent, the file "
                f"gives {table.variable}{COVARIANCE}; drop it, or give correlated = false to use "
                "its variances"
            )
        used = int(instrument.used.sum())
        padded = Rows.of(observations.padded(room(used)))
        entry |= {"fate": USED, "used": used, "rejected": instrument.rejected()}
        entry["digest"] = _digest(padded)
        return Arrival(entry, padded, instrument)

    def _own(self, file: _Sorted, number: int, window: int, entry: dict[str, Any]) -> np.ndarray:
        """Numbers of the rows of a window's newest batch, each once, in the order of time."""
        own = file.batches.of(window)
        if by_window(self.table(number).file):
            entry["late"] = file.batches.of(-1, window).size
            entry["early"] = file.batches.of(window + 1, self.edges.size + 1).size
        if np.any(np.diff(file.order[own]) < 0):
            entry["out_of_order"] = True
        rows = file.rows.taken(own)
        repeated = rows.repeated()
        if repeated.any():
            entry["repeated"] = int(repeated.sum())
        own = own[~repeated]
        if own.size == 0:
            spans = self._when(file.times) if file.times.size else "it has none"
            ends = self.edges[np.array([window, window + 1]) * self.posed.cycle.plan.shift]
            raise NothingToUseError(
                f"{rows.where}: expected values of window {window} ({self._when(ends)}), got none "
                f"of {file.rows.rows}: {spans}"
            )
        return own

    def _when(self, times: np.ndarray) -> str:
        """From when to when."""
        return " to ".join(self.posed.setting.date(t) for t in (times.min(), times.max()))


def _digest(rows: Rows) -> str:
    """sha256 of what is assimilated."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(rows):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _await(path: Path, end: float, say: Callable[[str], None]) -> None:
    """Wait until a file is there and has not been written to for a while, or the time is over."""
    size, said = -1, False
    while time.monotonic() < end:
        there = path.stat() if path.is_file() else None
        now = -1 if there is None else there.st_size
        if there is not None and (now == size or time.time() - there.st_mtime > 2 * _PAUSE):
            return
        if not said and now < 0:
            say(f"waiting for {path}")
            said = True
        size = now
        time.sleep(min(_PAUSE, max(0.0, end - time.monotonic())))
