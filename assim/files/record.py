"""What assim has written to a directory of results, and what is on its way there.

The folder `.assim` in the directory holds `written.jsonl`, which has the name and the sha256 of
every file before the file has that name, and `parts/`, where files are until all that belong
together are whole. A file is replaced or removed only where it is as it was recorded; a link never
is, nor what it leads to.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from assim.files.errors import DataError
from assim.files.lines import append_lines, flush, misshapen, read_lines, write_lines
from assim.files.netcdf import hash_file, remove, unwritable

FOLDER, PARTS = ".assim", "parts"
RECORD = "written.jsonl"
RUN, SERIES = "run", "series"  # kinds: of a window or an experiment; of all windows of a cycle
REPORT = "report"
_KEYS = ("name", "kind", "sha256")
_CHANGED = "has changed since assim wrote it"
_UNRECORDED = (
    f"is not recorded as assim's in {FOLDER}/{RECORD}: it is of an earlier version, was copied "
    f"without the folder {FOLDER}, or is not assim's"
)
_WAY_OUT = "free some space, or choose another directory with --out"


class Record:
    """The record of one directory.

    Args:
        directory: whose files these are.

    Raises:
        DataError: what should be the record is something else.
    """

    def __init__(self, directory: Path) -> None:
        self.directory, self.folder = directory, directory / FOLDER
        self.path = self.folder / RECORD
        for path in (self.folder, self.underway, self.path):
            _check_no_link(path)
        self.lines = read_lines(self.path)
        self._hashes: dict[Path, tuple[tuple[int, ...], str]] = {}
        for number, line in enumerate(self.lines, 1):
            if not all(isinstance(line.get(key), str) for key in _KEYS):
                raise misshapen(f"{self.path}, line {number}", f"{', '.join(_KEYS)} as texts", line)

    @property
    def underway(self) -> Path:
        """Where files are on their way."""
        return self.folder / PARTS

    def names(self, kinds: Iterable[str]) -> list[str]:
        """Files of these kinds that have been written, whether they are still there or not."""
        kinds = set(kinds)
        return list(dict.fromkeys(line["name"] for line in self.lines if line["kind"] in kinds))

    def owns(self, name: str) -> bool:
        """Whether there is a file of this name that is as it was written."""
        path = self.directory / name
        digests = {line["sha256"] for line in self.lines if line["name"] == name}
        return bool(digests) and _is_plain(path, self.directory) and self._hash(path) in digests

    def _hash(self, path: Path) -> str:
        """The sha256 of a file, which is read once for as long as the system tells no change."""
        about = path.stat()
        now = about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
        before, digest = self._hashes.get(path, (None, ""))
        if before != now:
            digest = hash_file(path)
            self._hashes[path] = now, digest
        return digest

    def check_free(self, names: Iterable[str]) -> None:
        """Refuse to write files of these names over what is not as it was written.

        Raises:
            DataError: something else has such a name, or its folder is a link.
        """
        names = list(names)
        for name in names:
            for folder in Path(name).parents[:-1]:
                _check_no_link(self.directory / folder)
        there = [name for name in names if os.path.lexists(self.directory / name)]
        if not (taken := [name for name in there if not self.owns(name)]):
            return
        changed = {line["name"] for line in self.lines}.issuperset(taken)
        paths = ", ".join(str(self.directory / name) for name in taken)
        raise DataError(
            f"{paths}: cannot be written: what stands there "
            f"{_CHANGED if changed else _UNRECORDED}; move it, or choose another directory with "
            "--out"
        )

    def add(self, kind: str, files: dict[str, str]) -> None:
        """Record files by name and sha256, before they have their names."""
        lines = [{"name": n, "kind": kind, "sha256": digest} for n, digest in files.items()]
        self.folder.mkdir(exist_ok=True)
        append_lines(self.path, lines, _WAY_OUT)
        self.lines += lines

    def remove(self, names: Iterable[str]) -> None:
        """Remove files that are as they were written, and folders that have become empty."""
        for name in names:
            path = self.directory / name
            if self.owns(name):
                remove(path)
            if path.parent != self.directory and _is_plain(path.parent, self.directory):
                with suppress(OSError):  # something else is in it
                    path.parent.rmdir()

    def forget(self, kinds: Iterable[str] = ()) -> None:
        """Drop the lines of these kinds, of files that are gone, and of what they once held."""
        kinds, self.lines = set(kinds), read_lines(self.path)  # others may have added some
        latest = {line["name"]: line for line in self.lines}
        kept = [
            line
            for name, line in latest.items()
            if line["kind"] not in kinds and os.path.lexists(self.directory / name)
        ]
        if kept != self.lines:
            write_lines(self.path, kept)
            self.lines = kept

    def clear(self) -> None:
        """Remove what was on its way when a process ended, and the folder where it is of no use."""
        if self.folder.is_dir():
            shutil.rmtree(self.underway, ignore_errors=True)  # which follows no links
            with suppress(OSError):  # the record is in it
                self.folder.rmdir()


def _is_plain(path: Path, directory: Path) -> bool:
    """Whether a file or folder is no link, nor in a folder that is one."""
    links = (directory / part for part in (path, *path.parents) if part.is_relative_to(directory))
    return path.exists() and not any(link.is_symlink() for link in links if link != directory)


def _check_no_link(path: Path) -> None:
    if path.is_symlink():
        raise DataError(
            f"{path}: is a link, and results are written to folders of their own; remove it, or "
            "choose another directory with --out"
        )


class Batch:
    """Files of one kind that get their names together, once all of them are whole.

    Args:
        directory: that they are written to, which no other process writes to meanwhile.
        kind: of the files.
        replaces: kinds of which nothing else remains, besides its own.
    """

    def __init__(self, directory: Path, kind: str, replaces: Sequence[str] = ()) -> None:
        self.record, self.kind, self.replaces = Record(directory), kind, (kind, *replaces)
        self.waiting: list[str] = []
        self.finished: list[str] = []
        self.removed: list[str] = []  # of an earlier batch, which this one does not replace

    @contextmanager
    def part(self, name: str) -> Iterator[Path]:
        """Where the file of this name is to be written first.

        Raises:
            DataError: it cannot be written, or something else has its name.
        """
        self.record.check_free([name])
        path = self.record.underway / name
        with known_as(self.record.directory / name):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield path
        if name not in self.waiting:
            self.waiting.append(name)

    def finish(self) -> list[Path]:
        """Give the files their names, the last of them last; those of an earlier batch go."""
        record, names = self.record, self.waiting
        if not names:
            return []
        parts = {name: record.underway / name for name in names}
        for name, path in parts.items():
            with known_as(record.directory / name):
                flush(path)
        earlier = set(record.names(self.replaces)) - set(self.finished)
        others = sorted(earlier - set(names))
        self.removed += [name for name in others if record.owns(name)]
        record.add(self.kind, {name: hash_file(path) for name, path in parts.items()})
        record.remove([names[-1], *others])
        for name, path in parts.items():
            move(path, record.directory / name)
        self.finished += names
        self.waiting = []
        record.forget()
        return [record.directory / name for name in names]

    def drop(self) -> None:
        """Remove the files that are waiting."""
        for name in self.waiting:
            with suppress(OSError):
                (self.record.underway / name).unlink()
        self.waiting = []
        self.record.clear()


def rewrite(directory: Path, name: str, change: Callable[[Path], None]) -> bool:
    """Change a file that is as it was written, and record what it is then.

    Args:
        directory: whose file it is, to which no other process writes meanwhile.
        name: of the file.
        change: is given a copy of the file.

    Returns:
        whether there was such a file.
    """
    record = Record(directory)
    if not record.owns(name):
        return False
    kind = next(line["kind"] for line in reversed(record.lines) if line["name"] == name)
    with known_as(directory / name):
        record.underway.mkdir(parents=True, exist_ok=True)
        part = Path(shutil.copyfile(directory / name, record.underway / Path(name).name))
        change(part)
        flush(part)
    record.add(kind, {name: hash_file(part)})
    move(part, directory / name)
    record.forget()
    return True


def move(part: Path, final: Path) -> None:
    """Give a whole file, or a folder of them, its name.

    Raises:
        DataError: it cannot have it.
    """
    with known_as(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, final)
        flush(final.parent)


@contextmanager
def known_as(final: Path) -> Iterator[None]:
    """Say of errors in writing that they are of the file, or folder, that is to have this name."""
    try:
        yield
    except OSError as error:
        raise DataError(unwritable(final, error)) from error
    except DataError as error:
        if isinstance(error.__cause__, OSError | RuntimeError):
            raise DataError(unwritable(final, error.__cause__)) from error.__cause__
        raise


@contextmanager
def together(directory: Path, kind: str, replaces: Sequence[str] = ()) -> Iterator[Batch]:
    """A batch whose files get their names at the end, or where it fails none of them."""
    batch = Batch(directory, kind, replaces)
    try:
        yield batch
        batch.finish()
    finally:
        batch.drop()


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Let no other process write to a directory, until this one ends at the latest.

    What was on its way when an earlier process ended is removed, and so is what is on its way when
    this one fails.

    Raises:
        DataError: another process is at it.
    """
    import fcntl  # which not every system has, and no reader of results needs

    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):  # else the file system has no locks
            os.close(descriptor)
            raise DataError(
                f"{directory}: another process is writing to it; wait for it, or choose another "
                "directory with --out"
            ) from error
    try:
        Record(directory).clear()
        yield
    finally:
        Record(directory).clear()
        os.close(descriptor)
