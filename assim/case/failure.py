"""What can go wrong between a case file and finished files, and the exit code of each."""

import difflib
import enum
import errno
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType


class Exit(enum.IntEnum):
    """Exit codes of the command line."""

    DONE = 0
    INTERNAL = 1
    CASE = 2
    DATA = 3
    NOT_CONVERGED = 4
    NON_FINITE = 5
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


def nearest(name: str, known: Iterable[str], what: str = "it may be") -> str:
    """The way out of a name that is not known: the nearest one, or the whole list."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 1, 0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"{what} {', '.join(known)}" if known else "nothing may be given here"


def place(error: BaseException, folder: str) -> str:
    """'file.py, line 3' of the innermost frame of `error` under `folder`; '' where none is."""
    frames = [
        frame for frame in traceback.extract_tb(_trace(error)) if frame.filename.startswith(folder)
    ]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def exit_code(error: BaseException) -> Exit:
    """The exit code that an exception stands for."""
    from assim.files.errors import DataError, ReportError

    if isinstance(error, CaseError):
        return Exit.CASE
    if isinstance(error, KeyboardInterrupt | Interrupted):
        return Exit.INTERRUPTED
    if isinstance(error, NonFiniteError):
        return Exit.NON_FINITE
    if isinstance(error, DataError | ReportError | OSError):
        return Exit.DATA
    return Exit.INTERNAL


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
    return str(error)


def _trace(error: BaseException) -> TracebackType | None:
    return error.__traceback__
