"""The windows of a cycle, one after the other, each to finished files."""

import time
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.analysed import AnalysedWindow, Reading
from assim.analysis.cycle.batches import joined
from assim.analysis.cycle.measures import Measures
from assim.case.failure import Exit, NonFiniteError
from assim.case.pose_cycle import PosedCycle
from assim.files.errors import DataError
from assim.files.netcdf import hash_file, steady, write_dataset, write_json
from assim.files.read.states import read_trajectory
from assim.files.times import date_text
from assim.files.write.analysed import (
    edge_dataset,
    measures_json,
    read_windows,
    readings_dataset,
    window_dataset,
)
from assim.problem.arrays import State
from assim.problem.cycled import Rows
from assim.problem.observation import Observations
from assim.problem.window import Window
from assim.run.cycle.incoming import CORRUPT, UNUSED, USED, Arrival, Incoming
from assim.run.cycle.ledger import Ledger
from assim.run.cycle.series import write_series
from assim.run.terminal.screen import Screen
from assim.solve.minimise.status import Status

ANALYSED, FORECAST = "analysed", "forecast"
_SUMMARY = "summary.json"
_NOTHING = "no observations"


class Stopped(Exception):
    """A window failed, and the case says to stop there.

    Args:
        code: how the command ends.
        message: why, and how to go on.
    """

    def __init__(self, code: Exit, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass
class _Done:
    """A window that has been analysed, or forecast in place of that.

    Args:
        carry: what it hands on.
        analysed: its analysis.
        measures: in a few numbers.
        state: "analysed" or "forecast".
        reason: why there is no analysis, or what is wrong with it; empty where all is well.
    """

    carry: Any
    analysed: AnalysedWindow
    measures: Measures
    state: str
    reason: str = ""

    @property
    def status(self) -> Status:
        """How its minimisation ended."""
        return Status(int(self.measures.status))

    @property
    def minimiser(self) -> str:
        """The same in a word; "none" where there was nothing to minimise."""
        return "none" if self.reason == _NOTHING else str(self.status)


@dataclass
class Sequence:
    """A cycle that writes its files.

    Args:
        posed: the cycle.
        incoming: its observations.
        ledger: where it writes, and how far it has come.
        screen: where progress is shown.
        recent: observations of the last batches that a window sees, oldest first.
    """

    posed: PosedCycle
    incoming: Incoming
    ledger: Ledger
    screen: Screen
    recent: deque = field(default_factory=deque)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """sha256 of every file that serves all windows."""
        return {name: hash_file(path) for name, path in self.posed.inputs.items()}

    @cached_property
    def config(self) -> str:
        """The case as the files of every window tell it."""
        return self.posed.case.decisive()

    def run(self) -> None:
        """Every window that is not finished yet.

        Raises:
            Stopped: a window failed, and the case says to stop there.
            DataError: a file that cannot be written, or observations that the case insists on.
            NonFiniteError: a window that is not finite, likewise.
        """
        cycle, windows = self.posed.cycle, self.posed.tables.cycled().windows
        carry = self.ledger.carry(cycle.start())
        truth = self._truth()
        self.recent = deque(maxlen=cycle.plan.seen)
        for number in range(max(0, self.ledger.done - cycle.plan.seen + 1), self.ledger.done):
            self.recent.append(self._again(number))
        with self.screen.following(windows, self.ledger.done) as follow:
            for number in range(self.ledger.done, windows):
                carry = self._window(number, carry, truth, follow)

    def series(self) -> tuple[list[Path], dict[str, Any]]:
        """Write the series and the summary of all finished windows.

        Returns:
            the files, and the summary; nothing where no window is finished.
        """
        written: list[Path] = []
        if not self.ledger.done:
            return written, {}
        folders = [self.ledger.folder(number) for number in range(self.ledger.done)]
        measures, states = read_windows([folder / _SUMMARY for folder in folders])
        directory = self.ledger.directory
        return written, write_series(self.posed, measures, directory, written, states)

    def _again(self, number: int) -> tuple[Rows | None, ...]:
        """The observations of a finished window, which the next one sees too.

        What was not used then is not used now, whatever has come since.

        Raises:
            DataError: one of them is not what it was.
        """
        before, found = self.ledger.line(number)["observations"], []
        for index, name in enumerate(self._names()):
            then = before[name]
            one = self.incoming.one(index, number) if "digest" in then else None
            if one is not None and one.told.get("digest") != then["digest"]:
                raise DataError(
                    f"window {number} ({self._when(number)}), {name}: {then['file']} is not what "
                    "it was when the window was analysed "
                    f"({one.told.get('reason', 'it has other values')}), and the next window sees "
                    "it again; put it back"
                )
            found.append(None if one is None else one.rows)
        return tuple(found)

    def _window(self, number: int, carry: Any, truth: State | None, follow: Any) -> Any:
        """One window, from its observations to its line of the manifest."""
        begin = time.perf_counter()
        arrivals = self.incoming.of(number, self.screen.say)
        self.recent.append(self._usable(number, arrivals))
        given = (self.posed.edges, truth)
        edges, true = self.posed.cycle.plan.stretch(given, number)
        read = time.perf_counter()
        done = self._analysed(number, carry, edges, true)
        analysed = time.perf_counter()
        window = Window(edges, 1, self.posed.reference)
        with self.ledger.writing(number) as folder:
            self._write(folder, number, done, window, arrivals)
        observations = {
            name: _told(one, done.state) for name, one in zip(self._names(), arrivals, strict=True)
        }
        seconds = {"read": read - begin, "analyse": analysed - read}
        seconds["write"] = time.perf_counter() - analysed
        entry = {
            "state": done.state,
            "reason": done.reason,
            "minimiser": done.minimiser,
            "observations": observations,
            "seconds": seconds,
        }
        self.ledger.finish(number, done.carry, entry, f"{self._title()}: window {number}, carried")
        follow(number, done.measures, entry)
        self._stop_unless_accepted(number, done)
        return done.carry

    def _analysed(self, number: int, carry: Any, edges: jax.Array, truth: State | None) -> _Done:
        """The analysis of a window, or the forecast where the case says so."""
        policy = self.posed.tables.cycled().on_failure
        given = (carry, number, edges)
        rows = self._rows(edges)
        found = self.posed.cycle.window(*given, rows, truth)
        carry, analysed, measures = jax.tree.map(np.asarray, found)
        if float(measures.number) == 0:
            self._check_forecast(number, carry, analysed)
            return _Done(carry, analysed, measures, FORECAST, _NOTHING)
        status = Status(int(measures.status))
        finite = bool(np.isfinite(measures.cost)) and _finite(carry)
        unconverged = status is not Status.CONVERGED
        if finite and not (unconverged and policy.not_converged == "forecast"):
            reason = f"not converged: {status}" if unconverged else ""
            return _Done(carry, analysed, measures, ANALYSED, reason)
        reason = "the analysis is not finite" if not finite else f"not converged: {status}"
        if not finite and policy.non_finite == "stop":
            raise NonFiniteError(
                f"window {number} ({self._when(number)}): {reason}; `assim check` looks for what "
                "is not finite in the model or its gradient; where these are sound, give more "
                "inflation or a share of the static covariance (cycle.method), or let the cycle go "
                'on without it: cycle.on_failure.non_finite = "forecast" with --resume'
            )
        without = tuple(_of_no_weight(one) for one in rows)
        failed = measures.status
        carry, analysed, measures = jax.tree.map(
            np.asarray, self.posed.cycle.window(*given, without, truth)
        )
        self._check_forecast(number, carry, analysed)
        return _Done(carry, analysed, measures._replace(status=failed), FORECAST, reason)

    def _check_forecast(self, number: int, carry: Any, analysed: AnalysedWindow) -> None:
        if not _finite((carry, analysed.analysis)):
            raise NonFiniteError(
                f"window {number} ({self._when(number)}): the forecast itself is not finite; "
                "`assim check` says where; look at the model's step, its parameters and the "
                "background"
            )

    def _usable(self, number: int, arrivals: list[Arrival]) -> tuple[Rows | None, ...]:
        """What can be assimilated of what has come; stops where the case insists on it."""
        policy = self.posed.tables.cycled().on_failure
        for name, one in zip(self._names(), arrivals, strict=True):
            kind = "corrupt" if one.fate == CORRUPT else "no_observations"
            if one.fate != USED and getattr(policy, kind) == "stop":
                raise DataError(
                    f"window {number} ({self._when(number)}), {name}: {one.told['reason']} "
                    f"[{one.fate}]; put the file right and go on with --resume, or let the cycle "
                    f'go on without it: cycle.on_failure.{kind} = "forecast"'
                )
        return tuple(one.rows for one in arrivals)

    def _blank(self, instrument: Observations, edges: jax.Array) -> Rows:
        """A row that does not count, at a time within the window."""
        rows = Rows.of(instrument)
        where = lambda r: (r.points.times, r.points.starts, r.points.ends)  # noqa: E731
        start, end = edges[:1], edges[-1:]
        return eqx.tree_at(where, rows, (end, start, end))

    def _rows(self, edges: jax.Array) -> tuple[Rows, ...]:
        """The observations of a window, of all batches that it sees."""
        plan, instruments = self.posed.cycle.plan, self.posed.cycle.problem.observations
        weight = 1 / plan.seen
        found = []
        for index, instrument in enumerate(instruments):
            several = [batch[index] for batch in self.recent]
            like = next((one for one in reversed(several) if one is not None), None)
            like = self._blank(instrument, edges) if like is None else like
            several = [None] * (plan.seen - len(several)) + several
            filled = [
                _of_no_weight(like)
                if one is None
                else eqx.tree_at(lambda r: r.weight, one, one.weight * weight)
                for one in several
            ]
            found.append(joined(filled) if len(filled) > 1 else filled[0])
        return tuple(found)

    def _write(
        self, folder: Path, number: int, done: _Done, window: Window, arrivals: list[Arrival]
    ) -> None:
        """The files of a window."""
        labels, newest = self.posed.labels, int(self.posed.cycle.plan.move(number).newest)
        title = f"{self._title()}: window {number}"
        keep = self.posed.case.checked.output.keep
        pairs = [
            (one.instrument, _last(done.analysed.readings[name], one.rows))
            for name, one in zip(self._names(), arrivals, strict=True)
            if one.instrument is not None and one.rows is not None
        ]
        given = (pairs, labels, window, done.state == ANALYSED, done.analysed.scalars)
        makers = {
            "analysis": lambda: edge_dataset(done.analysed, newest),
            "trajectory": lambda: window_dataset(done.analysed),
            "feedback": lambda: readings_dataset(*given) if pairs else None,
        }
        inputs = self._inputs(arrivals)
        for name, make in makers.items():
            dataset = make() if keep is None or name in keep else None
            if dataset is not None:
                path = folder / f"{name}.nc"
                write_dataset(
                    steady(dataset),
                    path,
                    title=f"{title}, {name}",
                    config=self.config,
                    inputs=inputs,
                )
        content = {
            "window": number,
            "start": date_text(float(window.edges[0]), labels.time_unit, window.reference),
            "newest": date_text(float(window.edges[newest]), labels.time_unit, window.reference),
            "state": done.state,
            "reason": done.reason,
            "minimiser": done.minimiser,
            "measures": measures_json(done.measures, self._names()),
        }
        write_json(content, folder / _SUMMARY)

    def _inputs(self, arrivals: list[Arrival]) -> dict[str, str]:
        """sha256 of the files of all windows, and of those that have come for one."""
        known = (one.told for one in arrivals if "sha256" in one.told)
        return {**self.hashes, **{told["file"]: told["sha256"] for told in known}}

    def _stop_unless_accepted(self, number: int, done: _Done) -> None:
        policy = self.posed.tables.cycled().on_failure.not_converged
        if policy == "stop" and done.state == ANALYSED and done.status is not Status.CONVERGED:
            raise Stopped(
                Exit.NOT_CONVERGED,
                f"Window {number} ({self._when(number)}) has not converged. {done.status.advice} "
                "It is written and flagged; --resume goes on from it.",
            )

    def _truth(self) -> State | None:
        path = self.posed.case.truth_path()
        if path is None:
            return None
        edges = np.asarray(self.posed.edges)
        return read_trajectory(path, self.posed.cycle.problem.model, edges, self.posed.reference)

    def _names(self) -> list[str]:
        return [o.name for o in self.posed.cycle.problem.observations]

    def _title(self) -> str:
        return self.posed.case.checked.title or self.posed.case.name

    def _when(self, number: int) -> str:
        moment = float(self.posed.newest(number + 1)[-1])
        text = date_text(moment, self.posed.labels.time_unit, self.posed.reference)
        return f"up to {text}"


def _told(one: Arrival, state: str) -> dict[str, Any]:
    """What became of a file: values that have come, but not into an analysis, are unused."""
    unused = one.fate == USED and state != ANALYSED
    return {**one.told, "fate": UNUSED, "used": 0} if unused else one.told


def _of_no_weight(rows: Rows) -> Rows:
    return eqx.tree_at(lambda r: r.weight, rows, jnp.zeros_like(rows.weight))


def _last(reading: Reading, rows: Rows) -> Reading:
    """Of readings of several batches, those of the newest."""
    size = rows.values.shape[0]
    return Reading(*(column[-size:] for column in reading))


def _finite(carry: Any) -> bool:
    leaves = (np.asarray(leaf) for leaf in jax.tree.leaves(carry))
    return all(bool(np.all(np.isfinite(leaf))) for leaf in leaves)
