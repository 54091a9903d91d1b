"""The directory that a command writes to: seen to be writable before, and told of at the end."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import xarray as xr

from assim.case.case import Case
from assim.case.failure import Interrupted
from assim.files.errors import DataError
from assim.files.netcdf import write_bytes, write_dataset, write_json, write_tree
from assim.files.read.manifest import NAME as MANIFEST
from assim.files.record import REPORT, RUN, SERIES, Batch, alone
from assim.run.terminal.screen import Screen


@dataclass
class Results:
    """The files of a case that a command writes to a directory.

    They get their names together, when `finish` is called; those of an earlier command of this kind
    go then, and stand until then.
    """

    case: Case  # whose title and text every file has
    directory: Path  # where they go
    inputs: Mapping[str, str] | None = None  # sha256 of the data files, by name
    config: str | None = None  # the case as files tell it; all of it where None
    kind: str | None = RUN  # of files; None where the directory itself is on its way
    paths: list[Path] = field(default_factory=list)  # written so far

    @cached_property
    def batch(self) -> Batch:
        """The files on their way; a report of what they replace goes with it."""
        replaces = (REPORT,) if self.kind in (RUN, SERIES) else ()
        return Batch(self.directory, self.kind or "", replaces)

    @property
    def words(self) -> dict[str, Any]:
        """What every file says of the case and its inputs."""
        return {"config": self.config or self.case.text(), "inputs": self.inputs}

    def dataset(self, name: str, dataset: xr.Dataset, what: str) -> None:
        """Write <name>.nc, whose title is that of the case and `what`."""
        with self._part(f"{name}.nc") as path:
            write_dataset(dataset, path, title=f"{self.case.title}: {what}", **self.words)

    def tree(self, name: str, tree: xr.DataTree, what: str) -> None:
        """Write <name>.nc in groups."""
        with self._part(f"{name}.nc") as path:
            write_tree(tree, path, title=f"{self.case.title}: {what}", **self.words)

    def json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write <name>.json."""
        with self._part(f"{name}.json") as path:
            write_json(content, path)

    def bytes(self, name: str, content: bytes) -> None:
        """Write a file as it is."""
        with self._part(name) as path:
            write_bytes(content, path)

    def finish(self) -> None:
        """Give what has been written its names, the last file last."""
        self.paths += self.batch.finish()

    def withdraw(self, *names: str) -> None:
        """Remove the files of an earlier command of this kind, which no longer hold.

        Raises:
            DataError: something else has one of the names of files to come.
        """
        record = self.batch.record
        record.check_free(names)
        record.remove(record.names(self.batch.replaces))
        record.forget()

    def _part(self, name: str) -> AbstractContextManager[Path]:
        """Where a file is written."""
        return nullcontext(self.directory / name) if self.kind is None else self.batch.part(name)


@contextmanager
def writing(results: Results, screen: Screen, names: Iterable[str] = ()) -> Iterator[None]:
    """Write the results of a command, and say at the end, or where Ctrl-C ends it, which they are.

    Args:
        results: none yet; their directory is made where it is not there.
        screen: where it is said.
        names: files that may be written; nothing else may have these names.

    Raises:
        DataError: the directory cannot be written to, holds a cycle over files or something else
            under one of the names, or another process writes to it.
        Interrupted: by the user.
    """
    directory = results.directory
    if results.kind == RUN and (directory / MANIFEST).exists():
        raise DataError(
            f"{directory}: holds a cycle over files, which nothing else overwrites; choose another "
            "directory with --out"
        )
    with writable(directory), alone(directory):
        try:
            results.batch.record.check_free(names)
            yield
            results.finish()
            screen.written(directory, results.paths)
            screen.removed(set(results.batch.removed) - set(results.batch.finished))
        except KeyboardInterrupt:
            names = ", ".join(path.name for path in results.paths)
            what = f"written to {directory}: {names}" if names else "nothing written"
            raise Interrupted(f"interrupted; {what}") from None


@contextmanager
def writable(directory: Path) -> Iterator[None]:
    """Make the directory and see that files can be written, before anything is computed.

    A directory made here is removed again if nothing was written to it.
    """
    made = not directory.exists()
    if not made and not directory.is_dir():
        raise DataError(
            f"{directory}: is a file, and results go to a directory; choose another with --out"
        )
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
