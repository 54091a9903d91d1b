"""A program as the code of a model: its runs, several at once, and those that failed."""

import _thread
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from assim.couple.code import ADJOINT, STEP, STEP_ALONE, TANGENT, AbstractCode
from assim.couple.errors import StoppedError
from assim.couple.program import Program, RunError, RunStopped

_KEPT = 20  # work directories of failed runs, lest they fill a disk
_TOLD = 100  # failures that are remembered
_AGAIN = 0.01  # s until Ctrl-C is told again, when XLA has returned
_INSTEAD = (
    f"without one there are {STEP_ALONE}, and up to 16 controls, with "
    'tangent = "differences", GaussNewton with Laplace(hessian = "gauss_newton")'
)


class RunFailure(NamedTuple):
    """A run that failed.

    Args:
        member: number of the member among those that ran together.
        start: time at which the slot begins.
        end: and ends.
        why: what became of it.
        directory: its work directory; None where it has not been kept.
    """

    member: int
    start: float
    end: float
    why: str
    directory: Path | None


class Process(AbstractCode):
    """A program that is run for a slot; time is the pair of the slot's start and end.

    Args:
        name: of the model, to begin messages with.
        program: how it is run.
        workers: runs at once.
        scratch: where work directories are made; None for the system's own place.
        by_differences: whether differences of runs stand for the tangent.
    """

    missing: ClassVar[Mapping[str, str]] = {
        TANGENT: f"this needs the tangent of the model, which a program does not bring: {_INSTEAD}",
        ADJOINT: f"this needs the adjoint of the model, which a program does not bring: {_INSTEAD}",
    }

    def __init__(
        self,
        name: str,
        program: Program,
        workers: int,
        scratch: Path | None = None,
        by_differences: bool = False,
    ) -> None:
        super().__init__(name, program.labels, by_differences)
        self.program, self.workers, self.scratch = program, workers, scratch
        self.failed = 0
        self.failures: list[RunFailure] = []
        self._alone = threading.Lock()

    def has(self, operation: str) -> bool:
        """It has a step."""
        return operation == STEP

    def of_members(
        self, operation: str, members: int, shared: Sequence[bool], given: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """One slot of every member, as many at once as there are workers.

        Ctrl-C ends them all; it is raised where XLA has returned, as it would be lost inside.

        Args:
            operation: "step".
            members: how many; 0 for one, without a leading dimension.
            shared: whether an argument is the same for all members.
            given: fields, parameters, and the slot's start and end.

        Raises:
            StoppedError: a work directory that cannot be made.
        """
        self.require(operation)
        names = (*self.fields, *self.parameters)
        marks = shared if members else (True,) * len(given)
        stop = threading.Event()

        def one(member: int) -> dict[str, np.ndarray]:
            own = [v if s else v[member] for v, s in zip(given, marks, strict=True)]
            span = float(own[-1][0]), float(own[-1][1])
            return self.run(dict(zip(names, own[:-1], strict=True)), span, member, stop)

        with ThreadPoolExecutor(self.workers) as pool:
            try:
                several = list(pool.map(one, range(max(1, members))))
            except BaseException as error:
                stop.set()
                pool.shutdown(cancel_futures=True)
                if not isinstance(error, KeyboardInterrupt):
                    raise
                threading.Timer(_AGAIN, _thread.interrupt_main).start()
                several = [self._lost()] * max(1, members)
        stacked = [np.stack([own[name] for own in several]) for name in self.fields]
        return stacked if members else [value[0] for value in stacked]

    def run(
        self,
        values: Mapping[str, np.ndarray],
        span: tuple[float, float],
        member: int = 0,
        stop: threading.Event | None = None,
    ) -> dict[str, np.ndarray]:
        """One slot of one member; NaN where the program fails, has failed before, or is stopped."""
        lost, stop = self._lost(), stop or threading.Event()
        if stop.is_set() or not all(np.all(np.isfinite(value)) for value in values.values()):
            return lost
        try:
            prefix = f"assim-member{member:04d}-"
            directory = Path(tempfile.mkdtemp(prefix=prefix, dir=self.scratch))
        except OSError as error:
            raise self._unprepared(error) from error
        try:
            state = self.program.run(values, span, member, directory, stop)
        except RunStopped:
            state = lost
        except RunError as error:
            self._note(member, span, str(error), directory)
            return lost
        except OSError as error:
            raise self._unprepared(error) from error
        _remove(directory)
        return state

    def _lost(self) -> dict[str, np.ndarray]:
        return {name: np.full(self.labels.shape(name), np.nan) for name in self.fields}

    def _unprepared(self, error: OSError) -> StoppedError:
        return StoppedError(f"{self.name}: a work directory cannot be prepared: {error}")

    def _note(self, member: int, span: tuple[float, float], why: str, directory: Path) -> None:
        """Remember a failure, and keep its work directory."""
        with self._alone:
            self.failed += 1
            kept = self.failed <= _KEPT
            place = directory if kept else None
            self.failures = [*self.failures, RunFailure(member, *span, why, place)][-_TOLD:]
        if not kept:
            _remove(directory)

    def words(self) -> str:
        """How many runs failed and why the last did; empty where none has."""
        if not self.failures:
            return ""
        last, unit = self.failures[-1], self.labels.time_unit
        slot = f"{last.start:g} to {last.end:g}{'' if unit == '1' else f' {unit}'}"
        where = (
            f"work directory {last.directory}"
            if last.directory
            else f"work directories of the first {_KEPT} are kept"
        )
        runs = "1 run" if self.failed == 1 else f"{self.failed} runs"
        return (
            f"{runs} of {self.name} failed, the last of member {last.member} in the slot from "
            f"{slot}: `{' '.join(self.program.command)}` {last.why} ({where})"
        )


def _remove(directory: Path) -> None:
    """Remove a work directory; what links in it point to stays."""
    with suppress(OSError):
        shutil.rmtree(directory)
