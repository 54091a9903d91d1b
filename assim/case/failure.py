"""What can go wrong between a case file and finished files, and the exit code of each.

Whatever reads, builds or runs a case raises CaseError for its keys, DataError for its files and
directories, NonFiniteError for its model, and Interrupted; docstrings tell what is particular.
"""

import enum
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assim.couple.errors import StoppedError
from assim.files.errors import DataError, ReportError

_NUMBER = 8  # bytes
_COPIES = 4  # of an array that a program holds at a time: itself, a gradient, a trial, a result
_STOP = f"{StoppedError.__name__}: "  # how a model's words begin in an error of XLA
_AFTER = "\n--------------------\n"  # what JAX says of tracebacks
_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class Exit(enum.IntEnum):
    """Exit codes of the command line."""

    DONE = 0
    INTERNAL = 1
    CASE = 2
    DATA = 3
    NOT_CONVERGED = 4
    NON_FINITE = 5
    NOT_CERTIFIED = 6
    INCOMPLETE = 7  # an analysis without something that follows from it, a sweep without members
    INTERRUPTED = 130


@dataclass(frozen=True)
class Fault:
    """One error of a case file: the dotted path of the key, and what is wrong with it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class CaseError(ValueError):
    """A case file with errors, all of them at once.

    Args:
        faults: the errors, each with its key path.
        source: the case file as the user named it.
    """

    def __init__(self, faults: Iterable[Fault], source: str = "") -> None:
        self.faults = tuple(faults)
        self.source = source
        lines = [f"  {fault}" for fault in self.faults]
        count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
        where = f" in {source}" if source else ""
        super().__init__("\n".join([f"{count}{where}:", *lines]))


class NonFiniteError(ArithmeticError):
    """A model that is not finite within the window."""


class Interrupted(Exception):
    """A run stopped by the user; the message says which files stand."""


@contextmanager
def naming(source: object) -> Iterator[None]:
    """Say in which case file the errors are that are met here."""
    try:
        yield
    except CaseError as error:
        raise CaseError(error.faults, str(source)) from error.__cause__


def too_large(numbers: Mapping[str, float]) -> list[Fault]:
    """What the machine's memory cannot hold: so many numbers by the key that asks for them."""
    asked = ((key, excess(number)) for key, number in numbers.items())
    return [Fault(key, what) for key, what in asked if what is not None]


def available() -> int:
    """Bytes of memory of this machine, or of the share of it that this process may use."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # there is no such limit
        total = min(total, int(_GROUP_LIMIT.read_text()))
    return total


def excess(numbers: float) -> str | None:
    """What so many numbers take, where that is more than there is; None where it is not."""
    size, limit = _NUMBER * _COPIES * float(numbers), available()
    if size <= limit:
        return None
    return (
        f"takes some {_gib(size)} of memory ({numbers:.3g} numbers of {_NUMBER} bytes, {_COPIES} "
        f"times), and this machine has {_gib(limit)}"
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB"


class Trouble:
    """Errors of several files, raised together."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults = list(faults)
        self.data: list[str] = []

    def attempt(self, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What the work returns; None, and its errors are kept, where it fails."""
        try:
            return work(*arguments, **options)
        except CaseError as error:
            self.faults += error.faults
        except DataError as error:
            self.data.append(str(error))
        return None

    def report(self) -> None:
        """Raise what was kept: errors of the case first."""
        if self.faults:
            raise CaseError(self.faults)
        if self.data:
            raise DataError("\n".join(dict.fromkeys(self.data)))


def exit_code(error: BaseException) -> Exit:
    """The exit code that an exception stands for."""
    of_case = isinstance(error, CaseError | MemoryError) or stop_words(error) is not None
    if of_case or _is_exhausted(error):
        return Exit.CASE
    if isinstance(error, KeyboardInterrupt | Interrupted):
        return Exit.INTERRUPTED
    if isinstance(error, NonFiniteError):
        return Exit.NON_FINITE
    if isinstance(error, DataError | ReportError | OSError | UnicodeEncodeError):
        return Exit.DATA
    return Exit.INTERNAL


def _is_exhausted(error: BaseException) -> bool:
    """Whether XLA has found no memory."""
    return isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def stop_words(error: BaseException) -> str | None:
    """The words with which a model outside JAX has stopped the program; None where it is no such.

    A compiled program raises an error of XLA with these words in it: after its own code where
    functions are called by the trampoline, after a traceback where through Python.
    """
    if isinstance(error, StoppedError):
        return str(error)
    if not isinstance(error, RuntimeError) or _STOP not in str(error):
        return None
    return str(error).partition(_STOP)[2].partition(_AFTER)[0]


def message(error: BaseException) -> str:
    """What the command line says about an exception, in plain words."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return (
            f"the disk is full: {error.filename or 'could not write the results'}; free some "
            "space, or choose another directory with --out"
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'output'}: {error.strerror}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError) or _is_exhausted(error):
        what = "make the case smaller: fewer slots, steps, grid points, first guesses or members"
        return f"memory is full ({str(error).partition(chr(10))[0]}); {what}"
    if (words := stop_words(error)) is not None:
        return f"the model has stopped the run: {words}"
    if isinstance(error, UnicodeEncodeError):
        return f"{error.object!r}: no name in this locale ({error.encoding}); set LC_ALL=C.UTF-8"
    return str(error)
