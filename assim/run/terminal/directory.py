"""The directory that a command writes to: seen to be writable before, and told of at the end."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from assim.case.case import Case
from assim.case.failure import Interrupted
from assim.files.errors import DataError
from assim.files.netcdf import write_dataset, write_json
from assim.files.read.manifest import NAME as MANIFEST
from assim.run.terminal.screen import Screen
from assim.show.report import PICTURES


@dataclass
class Results:
    """The files of a case that a command writes to a directory."""

    case: Case  # whose title and text every file has
    directory: Path  # where they go
    inputs: Mapping[str, str] | None = None  # sha256 of the data files, by name
    config: str | None = None  # the case as files tell it; all of it where None
    paths: list[Path] = field(default_factory=list)  # written so far

    @property
    def words(self) -> dict[str, Any]:
        """What every file says of the case and its inputs."""
        return {"config": self.config or self.case.text(), "inputs": self.inputs}

    def dataset(self, name: str, dataset: xr.Dataset, what: str) -> None:
        """Write <name>.nc, whose title is that of the case and `what`."""
        path = self.directory / f"{name}.nc"
        write_dataset(dataset, path, title=f"{self.case.title}: {what}", **self.words)
        self.paths.append(path)

    def json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write <name>.json."""
        write_json(content, self.directory / f"{name}.json")
        self.paths.append(self.directory / f"{name}.json")


@contextmanager
def writing(results: Results, screen: Screen, *, window: bool = False) -> Iterator[None]:
    """Write the results of a command, and say at the end, or where Ctrl-C ends it, which they are.

    Args:
        results: none yet; their directory is made where it is not there.
        screen: where it is said.
        window: whether these are the results of a window, in place of those of an earlier one.

    Raises:
        DataError: the directory cannot be written to, or holds a cycle over files.
        Interrupted: by the user.
    """
    directory = results.directory
    if window and (directory / MANIFEST).exists():
        raise DataError(
            f"{directory}: holds a cycle over files, which nothing else overwrites; choose another "
            "directory with --out"
        )
    with writable(directory):
        try:
            if window:
                remove_ending(directory)
            yield
            screen.written(directory, results.paths)
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


def remove_ending(directory: Path) -> None:
    """Remove what an earlier run wrote last: nothing of it may look like this run's outcome."""
    figures = directory / "figures"
    drawn = [figures / f"{name}.png" for name in PICTURES]
    for path in (directory / "summary.json", directory / "report.html", *drawn):
        path.unlink(missing_ok=True)
    if figures.is_dir() and not any(figures.iterdir()):
        figures.rmdir()
