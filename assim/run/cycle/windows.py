"""The windows of a cycle, one after the other, each to finished files; and the series of all."""

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
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
from assim.analysis.stages import Due, Stage
from assim.case.failure import Exit, NonFiniteError
from assim.case.pose_cycle import PosedCycle
from assim.files.errors import DataError
from assim.files.netcdf import steady
from assim.files.read.states import read_trajectory
from assim.files.write.analysed import (
    edge_dataset,
    measures_json,
    read_windows,
    readings_dataset,
    window_dataset,
)
from assim.files.write.applied import cycle_applied
from assim.files.write.cycle import cycle_dataset, cycle_summary
from assim.findings.between_edges import bent_in_window
from assim.problem.arrays import State
from assim.problem.cycled import Rows
from assim.problem.observation import Observations
from assim.problem.window import Window
from assim.run.cycle.incoming import CORRUPT, UNUSED, USED, Arrival, Incoming
from assim.run.cycle.ledger import Ledger
from assim.run.terminal.directory import Results
from assim.run.terminal.screen import Screen
from assim.solve.minimise.status import Status

ANALYSED, FORECAST = "analysed", "forecast"
_NOTHING = "no observations"


class Stopped(Exception):
    """A window failed, and the case says to stop there: how the command ends, and how to go on."""

    def __init__(self, code: Exit, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass
class _Done:
    """A window that has been analysed, or forecast in place of that, and why or what is wrong."""

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
    def ending(self) -> dict[str, str]:
        """The same for files; the minimiser's is "none" where there was nothing to minimise."""
        minimiser = "none" if self.reason == _NOTHING else str(self.status)
        return {"state": self.state, "reason": self.reason, "minimiser": minimiser}


@dataclass
class Sequence:
    """A cycle that writes its files; `recent` are the batches that a window sees, oldest first."""

    posed: PosedCycle
    incoming: Incoming
    ledger: Ledger
    screen: Screen
    recent: deque = field(default_factory=deque)

    @cached_property
    def config(self) -> str:
        """The case as the files of every window tell it."""
        return self.posed.case.decisive()

    def run(self) -> Iterator[Stage]:
        """Every window that is not finished yet, with a pause before each and after the last."""
        cycle, windows = self.posed.cycle, self.posed.tables.cycled().windows
        carry = self.ledger.carry(cycle.start())
        truth = self._truth()
        self.recent = deque(maxlen=cycle.plan.seen)
        for number in range(max(0, self.ledger.done - cycle.plan.seen + 1), self.ledger.done):
            self.recent.append(self._again(number))
        with self.screen.following(windows, self.ledger.done) as follow:
            stage = self._stage(self.ledger.done)
            for number in range(self.ledger.done, windows):
                yield stage
                done = self._window(number, carry, truth, follow)
                carry = done.carry
                stage = self._stage(number + 1)._replace(
                    analysed=done.analysed, newest=int(cycle.plan.move(number).newest)
                )
                self._stop_unless_accepted(number, done)
            yield stage

    def _stage(self, number: int) -> Stage:
        """Where the cycle stands with so many windows finished."""
        posed, plan, due, resumed = self.posed, self.posed.cycle.plan, None, None
        newest = plan.newest(posed.edges, posed.tables.cycled().windows)
        if number < len(newest):
            due = Due(float(posed.edges[plan.first_slot(number)]), float(newest[number]))
        if number:
            resumed = float(newest[number - 1]), self.ledger.folder(number - 1)
        return Stage(posed.cycle.problem, due, resumed=resumed)

    def series(self, results: Results) -> dict[str, Any]:
        """Write the series and the summary of all finished windows, if there are any."""
        if not self.ledger.done:
            return {}
        folders = [self.ledger.folder(number) for number in range(self.ledger.done)]
        measures, states = read_windows([folder / "summary.json" for folder in folders])
        return write_series(self.posed, measures, results, states)

    def _again(self, number: int) -> tuple[Rows | None, ...]:
        """The observations of a finished window, which the next one sees too.

        What was not used then is not used now, whatever has come since.
        """
        before, several = self.ledger.line(number)["observations"], []
        for index, name in enumerate(self.posed.names):
            then = before[name]
            now = self.incoming.arrival(index, number) if "digest" in then else None
            if now is not None and now.entry.get("digest") != then["digest"]:
                raise DataError(
                    f"window {number} ({self.posed.when(number)}), {name}: {then['file']} is not "
                    "what it was when the window was analysed "
                    f"({now.entry.get('reason', 'it has other values')}), and the next window "
                    "sees it again; put it back"
                )
            several.append(None if now is None else now.rows)
        return tuple(several)

    def _window(self, number: int, carry: Any, truth: State | None, follow: Any) -> _Done:
        """One window, from its observations to its line of the manifest."""
        begin = time.perf_counter()
        arrivals = self.incoming.of(number, self.screen.say)
        self.recent.append(self._usable(number, arrivals))
        edges, true = self.posed.cycle.plan.stretch((self.posed.edges, truth), number)
        read = time.perf_counter()
        done = self._analysed(number, carry, edges, true)
        analysed = time.perf_counter()
        if number == 0 and done.state == ANALYSED:
            self._say_bent(done.analysed, arrivals)
        failed = {"failed_members": n} if (n := int(done.measures.failed_members)) else {}
        self._say_failed(number, n)
        window = Window(edges, 1, self.posed.reference)
        with self.ledger.writing(number) as folder:
            self._write(folder, number, done, window, arrivals)
        written = time.perf_counter()
        entries = [_entry(arrival, done.state) for arrival in arrivals]
        entry = {
            **done.ending,
            **failed,
            "observations": dict(zip(self.posed.names, entries, strict=True)),
            "seconds": {
                "read": read - begin, "analyse": analysed - read, "write": written - analysed
            },
        }  # fmt: skip
        self.ledger.finish(number, done.carry, entry)
        follow(number, done.measures, entry)
        return done

    def _analysed(self, number: int, carry: Any, edges: jax.Array, truth: State | None) -> _Done:
        """The analysis of a window, or the forecast where the case says so."""
        policy = self.posed.tables.cycled().on_failure

        def window(rows: tuple[Rows, ...], state: str) -> _Done:
            several = self.posed.cycle.window(carry, number, edges, rows, truth)
            carried, analysed, measures = jax.tree.map(np.asarray, several)
            return _Done(carried, analysed, measures, state)

        rows = self._rows(edges)
        done = window(rows, ANALYSED)
        if float(done.measures.number) == 0:
            return self._forecast(number, done, _NOTHING)
        finite = bool(np.isfinite(done.measures.cost)) and _finite(done.carry)
        unconverged = done.status is not Status.CONVERGED
        reason = f"not converged: {done.status}" if unconverged else ""
        if finite and not (unconverged and policy.not_converged == "forecast"):
            return replace(done, reason=reason)
        reason = reason if finite else "the analysis is not finite"
        if not finite and policy.non_finite == "stop":
            raise NonFiniteError(
                f"window {number} ({self.posed.when(number)}): {reason}{self._from_model()}; "
                "`assim check` looks for "
                "what is not finite in the model or its gradient; where these are sound, give more "
                "inflation or a share of the static covariance (cycle.method), or let the cycle go "
                'on without it: cycle.on_failure.non_finite = "forecast" with --resume'
            )
        without = window(tuple(_of_no_weight(instrument) for instrument in rows), FORECAST)
        measures = without.measures._replace(status=done.measures.status)
        return self._forecast(number, replace(without, measures=measures), reason)

    def _say_bent(self, analysed: AnalysedWindow, arrivals: list[Arrival]) -> None:
        """What errs between slot edges, where no model errors bend the trajectory, too."""
        if self.posed.cycle.problem.control.model_error is not None:
            return
        several = [a.instrument.observations for a in arrivals if a.instrument is not None]
        for bent in bent_in_window(self.posed.setting.model, several, analysed):
            when = self.posed.setting.date(bent.time)
            self.screen.notes([f"first window, {bent.name}: {bent.words(when)}."])

    def _say_failed(self, number: int, failed: int) -> None:
        """How many members are left out, and what the model says of it."""
        if failed:
            members = "1 member is" if failed == 1 else f"{failed} members are"
            left = f"window {number} ({self.posed.when(number)}): {members} left out, not finite"
            self.screen.notes([f"{left}{self._from_model()}"])

    def _from_model(self) -> str:
        """Why its trajectories may not be finite, as the model has it."""
        said = self.posed.setting.model.may_end_early()
        return f"; {said}" if said else ""

    def _forecast(self, number: int, done: _Done, reason: str) -> _Done:
        """A window with a forecast in place of an analysis; NonFiniteError where that is none."""
        if not _finite((done.carry, done.analysed.analysis)):
            raise NonFiniteError(
                f"window {number} ({self.posed.when(number)}): the forecast itself is not finite"
                f"{self._from_model()}; `assim check` says where; look at the model's step, its "
                "parameters and the background"
            )
        return replace(done, state=FORECAST, reason=reason)

    def _usable(self, number: int, arrivals: list[Arrival]) -> tuple[Rows | None, ...]:
        """What can be assimilated of what has come; stops where the case insists on it."""
        policy = self.posed.tables.cycled().on_failure
        for name, arrival in zip(self.posed.names, arrivals, strict=True):
            fate = arrival.entry["fate"]
            kind = "corrupt" if fate == CORRUPT else "no_observations"
            if fate != USED and getattr(policy, kind) == "stop":
                raise DataError(
                    f"window {number} ({self.posed.when(number)}), {name}: "
                    f"{arrival.entry['reason']} [{fate}]; put the file right and go on with "
                    "--resume, or let the cycle go on without it: "
                    f'cycle.on_failure.{kind} = "forecast"'
                )
        return tuple(arrival.rows for arrival in arrivals)

    def _blank(self, instrument: Observations, edges: jax.Array) -> Rows:
        """A row that does not count, at a time within the window."""
        rows = Rows.of(instrument)
        where = lambda r: (r.points.times, r.points.starts, r.points.ends)  # noqa: E731
        start, end = edges[:1], edges[-1:]
        return eqx.tree_at(where, rows, (end, start, end))

    def _rows(self, edges: jax.Array) -> tuple[Rows, ...]:
        """The observations of a window, of all batches that it sees."""
        seen, every = self.posed.cycle.plan.seen, []
        for index, instrument in enumerate(self.posed.cycle.problem.observations):
            several = [batch[index] for batch in self.recent]
            like = next((rows for rows in reversed(several) if rows is not None), None)
            like = self._blank(instrument, edges) if like is None else like
            several = [None] * (seen - len(several)) + several
            filled = [
                _of_no_weight(like) if rows is None else _weighted(rows, rows.weight * (1 / seen))
                for rows in several
            ]
            every.append(joined(filled) if len(filled) > 1 else filled[0])
        return tuple(every)

    def _write(
        self, folder: Path, number: int, done: _Done, window: Window, arrivals: list[Arrival]
    ) -> None:
        """The files of a window."""
        labels, newest = self.posed.setting.labels, int(self.posed.cycle.plan.move(number).newest)
        case, names, date = self.posed.case, self.posed.names, self.posed.setting.date
        pairs = [
            (arrival.instrument, _last(done.analysed.readings[name], arrival.rows))
            for name, arrival in zip(names, arrivals, strict=True)
            if arrival.instrument is not None and arrival.rows is not None
        ]
        given = (pairs, labels, window, done.state == ANALYSED, done.analysed.scalars)
        makers = {
            "analysis": lambda: edge_dataset(done.analysed, newest),
            "trajectory": lambda: window_dataset(done.analysed),
            "feedback": lambda: readings_dataset(*given) if pairs else None,
        }
        entries = [arrival.entry for arrival in arrivals if "sha256" in arrival.entry]
        inputs = {**self.posed.inputs, **{entry["file"]: entry["sha256"] for entry in entries}}
        results, keep = Results(case, folder, inputs, self.config, None), case.checked.output.keep
        for name, make in makers.items():
            dataset = make() if keep is None or name in keep else None
            if dataset is not None:
                results.dataset(name, steady(dataset), f"window {number}, {name}")
        content = {
            "window": number,
            "start": date(window.edges[0]),
            "newest": date(window.edges[newest]),
            **done.ending,
            "measures": measures_json(done.measures, names),
        }
        results.json("summary", content)

    def _stop_unless_accepted(self, number: int, done: _Done) -> None:
        policy = self.posed.tables.cycled().on_failure.not_converged
        if policy == "stop" and done.state == ANALYSED and done.status is not Status.CONVERGED:
            raise Stopped(
                Exit.NOT_CONVERGED,
                f"Window {number} ({self.posed.when(number)}) has not converged. "
                f"{done.status.advice} It is written and flagged; --resume goes on from it.",
            )

    def _truth(self) -> State | None:
        path, edges = self.posed.case.truth_path(), np.asarray(self.posed.edges)
        if path is None:
            return None
        return read_trajectory(path, self.posed.setting.model, edges, self.posed.reference)


def _entry(arrival: Arrival, state: str) -> dict[str, Any]:
    """What became of a file: values that have come, but not into an analysis, are unused."""
    unused = arrival.entry["fate"] == USED and state != ANALYSED
    return {**arrival.entry, "fate": UNUSED, "used": 0} if unused else arrival.entry


def _weighted(rows: Rows, weight: jax.Array) -> Rows:
    return eqx.tree_at(lambda r: r.weight, rows, weight)


def _of_no_weight(rows: Rows) -> Rows:
    return _weighted(rows, jnp.zeros_like(rows.weight))


def _last(reading: Reading, rows: Rows) -> Reading:
    """Of readings of several batches, those of the newest."""
    size = rows.values.shape[0]
    return Reading(*(column[-size:] for column in reading))


def _finite(carry: Any) -> bool:
    leaves = (np.asarray(leaf) for leaf in jax.tree.leaves(carry))
    return all(bool(np.all(np.isfinite(leaf))) for leaf in leaves)


def write_series(
    posed: PosedCycle,
    measures: Measures,
    results: Results,
    states: Iterable[str] = (),
    seconds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Write diagnostics.nc, the series over all windows, and the summary, which is returned.

    Args:
        posed: the cycle.
        measures: of all windows.
        results: where they go.
        states: "analysed" or "forecast", of every window.
        seconds: wall time by stage; not of a cycle over files, whose results must not depend on
            how often it was stopped: its manifest has them.
    """
    series = cycle_dataset(posed.cycle, posed.edges, measures)
    results.dataset("diagnostics", steady(series), "windows of a cycle")
    burn_in = posed.tables.cycled().burn_in
    content = cycle_summary(measures, posed.setting.labels, burn_in, posed.names)
    counts = _statuses(measures)
    content = {"status": overall_status(counts), "statuses": counts, **content}
    content["applied"] = cycle_applied(posed.cycle, measures)
    if counted := Counter(states):
        content["states"] = dict(sorted(counted.items()))
    if seconds is not None:
        content["seconds"] = dict(seconds)
    results.json("summary", content)
    return content


def overall_status(counts: Mapping[str, int]) -> str:
    """How a cycle ended whose windows ended so; "none" where nothing was minimised."""
    if str(Status.CONVERGED) not in counts:
        return "not_converged" if counts else "none"
    return "partly_converged" if len(counts) > 1 else "converged"


def _statuses(measures: Measures) -> dict[str, int]:
    """How many windows with something to minimise ended in which way."""
    status = np.asarray(measures.status)
    some = (np.asarray(measures.number) > 0) | (status != Status.CONVERGED)
    codes, counts = np.unique(status[some], return_counts=True)
    return {str(Status(int(code))): int(n) for code, n in zip(codes, counts, strict=True)}
