"""The directory that a command writes to: seen to be writable before, and told of at the end."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assim.case.failure import Interrupted
from assim.files.errors import DataError
from assim.files.read.manifest import NAME as MANIFEST
from assim.show.report import PICTURES


def check_no_cycle(directory: Path) -> None:
    """Refuse a directory that holds a cycle over files.

    Raises:
        DataError: it does.
    """
    if (directory / MANIFEST).exists():
        raise DataError(
            f"{directory}: holds a cycle over files, which nothing else overwrites; choose another "
            "directory with --out"
        )


@contextmanager
def writable(directory: Path) -> Iterator[None]:
    """Make the directory and see that files can be written, before anything is computed.

    A directory made here is removed again if nothing was written to it.
    """
    made = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise DataError(
            f"{directory}: cannot be written to ({error.strerror}); choose another directory "
            "with --out"
        ) from error
    try:
        yield
    finally:
        if made and not any(directory.iterdir()):
            directory.rmdir()


@contextmanager
def interruptible(directory: Path, written: list[Path]) -> Iterator[None]:
    """Turn Ctrl-C into a sentence that says which files this run has written."""
    try:
        yield
    except KeyboardInterrupt:
        names = ", ".join(path.name for path in written)
        what = f"written to {directory}: {names}" if written else "nothing written"
        raise Interrupted(f"interrupted; {what}") from None


def remove_ending(directory: Path) -> None:
    """Remove what an earlier run wrote last: nothing of it may look like this run's outcome."""
    figures = directory / "figures"
    drawn = [figures / f"{name}.png" for name in PICTURES]
    for path in (directory / "summary.json", directory / "report.html", *drawn):
        path.unlink(missing_ok=True)
    if figures.is_dir() and not any(figures.iterdir()):
        figures.rmdir()
