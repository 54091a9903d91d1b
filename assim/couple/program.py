"""A program that is run once a slot: what it is given, how it is run, and what becomes of it."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assim.arguments import hint
from assim.files.errors import DataError
from assim.files.read.restarts import NO_LAND, Land, Stamp, read_restart
from assim.files.times import NON_PHYSICAL, date_in_form
from assim.files.write.restarts import write_restart
from assim.problem.arrays import Labels

LOG = "assim.log"  # in a work directory: what the program printed
FIELDS = ("folder", "input", "output", "start", "end", "duration", "member")
_FIELD = re.compile(r"\{([A-Za-z_]\w*)(?::([+0-9.]*[a-z]|%[^{}]*))?\}")
_SLACK = 1e-6  # of a slot, by which the time in a file may be off
_GRACE = 2.0  # s from the request to end to the end without asking
_LOOK = 0.5  # s after which is looked whether a run is to be stopped
_TOLD = 300  # characters of what a program printed last


class RunError(RuntimeError):
    """A run that failed: the state is lost from there on, and nothing else."""


class RunStopped(Exception):
    """A run that was ended because nobody waits for it any more."""


@dataclass(frozen=True)
class Program:
    """How a program is run in a work directory of its own.

    Args:
        command: its words, with fields in braces; the launcher's words first.
        labels: of the fields and parameters.
        input: name of the restart file that it is given.
        output: name of that which it leaves.
        variables: of fields and parameters in the first, by name.
        outputs: of the fields in the second.
        like: a restart file of the program's own, with all else that it reads there.
        files: further files that it finds beside them, by name.
        templates: text files whose fields in braces are filled, by name.
        folder: of the case, for the field `folder`.
        timeout: s that a run may take; None for any time.
        clock: variable of both files that has the time of the state; None for none.
        reference: date at which the model's time is zero; None where it has no dates.
        land: points at which the program has no values.
    """

    command: tuple[str, ...]
    labels: Labels
    input: str
    output: str
    variables: Mapping[str, str]
    outputs: Mapping[str, str]
    like: Path | None
    files: Mapping[str, Path]
    templates: Mapping[str, Path]
    folder: Path
    timeout: float | None
    clock: str | None = None
    reference: str | None = None
    land: Land = NO_LAND

    def texts(self) -> list[tuple[str, str]]:
        """Everything whose fields are filled, and what messages call it."""
        words = [(f"command, word {n}", word) for n, word in enumerate(self.command, 1)]
        return words + [(str(path), path.read_text("utf-8")) for path in self.templates.values()]

    def own_files(self) -> tuple[Path, ...]:
        """Files that every run gets."""
        like = () if self.like is None else (self.like,)
        return (*like, *self.files.values(), *self.templates.values())

    def scalars(self) -> list[str]:
        """Parameters that may be a field of a text."""
        return [name for name in self.labels.parameters if not self.labels.shape(name)]

    def run(
        self,
        values: Mapping[str, np.ndarray],
        span: tuple[float, float],
        member: int,
        directory: Path,
        stop: threading.Event,
    ) -> dict[str, np.ndarray]:
        """The state at the end of one slot.

        Args:
            values: fields and parameters by name.
            span: times of the slot's start and end.
            member: number of the member.
            directory: an empty one, in which the program runs.
            stop: ends the program when it is set.

        Raises:
            RunError: the program failed, or left no state that can be read whole.
            RunStopped: `stop` was set.
            OSError: the directory cannot be prepared.
        """
        fields = self._fields(values, span, member)
        for name, path in self.files.items():
            shutil.copy(path, directory / name)
        for name, path in self.templates.items():
            text = filled(path.read_text("utf-8"), fields, str(path))
            (directory / name).write_text(text, "utf-8")
        own = {name: values[name] for name in self.variables}
        given = (self.labels, self.variables, own, self.like, self.land)
        write_restart(directory / self.input, *given, self._stamp(span[0], span))
        words = [filled(word, fields, "command") for word in self.command]
        _execute(words, directory, self.timeout, stop)
        return self._state(directory, self._stamp(span[1], span))

    def _stamp(self, time: float, span: tuple[float, float]) -> Stamp | None:
        if self.clock is None:
            return None
        slack = _SLACK * (span[1] - span[0])
        return Stamp(self.clock, time, slack, self.labels.time_unit, self.reference)

    def _fields(
        self, values: Mapping[str, np.ndarray], span: tuple[float, float], member: int
    ) -> dict[str, Any]:
        start, end = span
        times: dict[str, Any] = {"start": self.moment(start), "end": self.moment(end)}
        times["duration"] = end - start
        names = {"folder": str(self.folder), "input": self.input, "output": self.output}
        return {
            **{name: float(values[name]) for name in self.scalars()},
            **names,
            **times,
            "member": member,
        }

    def moment(self, time: float) -> "Moment":
        """A time that a text may have as a number or as a date."""
        return Moment(time, self.labels.time_unit, self.reference)

    def _state(self, directory: Path, stamp: Stamp | None) -> dict[str, np.ndarray]:
        """What the program has left."""
        made, given = directory / self.output, directory / self.input
        if not made.is_file():
            raise RunError(f"left no {self.output}{_said(directory)}")
        if given.exists() and made.samefile(given):
            raise RunError(f"left {self.input} itself, by a link, as {self.output}")
        try:
            return read_restart(made, self.labels, self.outputs, self.land, stamp)
        except DataError as error:
            raise RunError(f"left a file that is of no use: {error}") from error


class Moment(float):
    """A time of the model, which is formatted as a number, or as a date by a form with %."""

    def __new__(cls, time: float, unit: str, reference: str | None) -> "Moment":
        """The number, which knows of its date."""
        moment = super().__new__(cls, time)
        moment.unit, moment.reference = unit, reference
        return moment

    unit: str
    reference: str | None

    def __format__(self, form: str) -> str:
        if "%" not in form:
            return format(float(self), form)
        if self.reference is None or self.unit == NON_PHYSICAL:
            raise ValueError("a date needs `reference`, the date at which the model's time is zero")
        return date_in_form(float(self), self.unit, self.reference, form)

    def __str__(self) -> str:
        return str(float(self))


def filled(text: str, fields: Mapping[str, Any], called: str) -> str:
    """A text with its fields in braces, {start} or {start:.6f}, filled in.

    Numbers have all their digits where no format is given.

    Raises:
        ValueError: a field that there is not, or a format that its value does not take.
    """

    def value(match: re.Match[str]) -> str:
        name, form = match.groups()
        if name not in fields:
            raise ValueError(f"{called}: there is no field {{{name}}}; {hint(name, fields)}")
        try:
            return format(fields[name], form) if form else str(fields[name])
        except ValueError as error:
            raise ValueError(f"{called}: {match.group()}: {error}") from error

    return _FIELD.sub(value, text)


def fields_of(text: str) -> set[str]:
    """Names of the fields of a text."""
    return {match.group(1) for match in _FIELD.finditer(text)}


def _execute(
    command: Sequence[str], directory: Path, timeout: float | None, stop: threading.Event
) -> None:
    """Run a command to its end; RunError where that is not as it should be."""
    with open(directory / LOG, "wb") as log:
        try:
            process = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise RunError(f"cannot be started: {error}") from error
        try:
            code = _waited(process, timeout, stop)
        except subprocess.TimeoutExpired:
            _end(process)
            still = f"was still running after {timeout:g} s, and has been ended"
            raise RunError(f"{still}{_said(directory)}") from None
        except BaseException:
            _end(process)
            raise
    if code:
        signalled = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        how = f"was ended by {signalled}" if code < 0 else f"returned {code}"
        raise RunError(f"{how}{_said(directory)}")


def _waited(process: subprocess.Popen[bytes], timeout: float | None, stop: threading.Event) -> int:
    """What a program returns; TimeoutExpired or RunStopped where that is not awaited."""
    last = float("inf") if timeout is None else time.monotonic() + timeout
    while not stop.is_set():
        left = last - time.monotonic()
        try:
            return process.wait(max(0.0, min(_LOOK, left)))
        except subprocess.TimeoutExpired:
            if left <= _LOOK:
                raise
    raise RunStopped


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it has started: it is asked to first."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
    last = time.monotonic() + _GRACE
    while time.monotonic() < last and not _is_over(process):
        time.sleep(0.01)
    with suppress(ProcessLookupError, PermissionError):  # its number is its own until `wait`
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _is_over(process: subprocess.Popen[bytes]) -> bool:
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, flags) is not None


def _said(directory: Path) -> str:
    """What the program printed last, for the end of a message."""
    with open(directory / LOG, "rb") as log:
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - 4 * _TOLD))
        text = log.read().decode("utf-8", "replace")
    last = " ".join(text.split())[-_TOLD:]
    return f"; it printed last: {last}" if last else ""
