"""What a cycle has written and how far it has come: its directory, manifest and carry."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assim.case.case import Case
from assim.files.errors import DataError
from assim.files.netcdf import hash_file, package_version, steady, write_dataset
from assim.files.read.manifest import STATES, damaged, read_manifest
from assim.files.write import manifest
from assim.files.write.analysed import carry_dataset, read_carry

WINDOWS = "windows"
_KEPT = 2  # windows whose carry is kept


@dataclass
class Ledger:
    """The directory of a cycle: how many windows are done, by which version of assim it was begun.

    A window is written to a folder of a temporary name, which is renamed; then what it hands on,
    likewise; then its line of the manifest. What has no line is written again.
    """

    directory: Path
    case: Case
    done: int = 0
    version: str = field(default_factory=package_version)

    @staticmethod
    def opened(directory: Path, case: Case, resume: bool) -> "Ledger":
        """The directory as a cycle may go on in it.

        Raises:
            DataError: it holds a cycle and `resume` is not asked for, it is of another case, or a
                file of a finished window has changed.
        """
        ledger = Ledger(directory, case)
        heading, *lines = read_manifest(directory) or [{}]
        if lines and not resume:
            raise DataError(
                f"{directory}: holds {len(lines)} windows of a cycle; go on with --resume, or "
                "choose another directory with --out"
            )
        if lines:
            ledger.version = str(heading.get("assim_version"))
            ledger._check_case(heading)
            lines = ledger._whole(lines)
            ledger.done, asked = len(lines), case.checked.cycled().windows
            if ledger.done > asked:
                raise DataError(
                    f"{directory}: holds {ledger.done} windows, more than cycle.windows = {asked}; "
                    "ask for as many, or choose another directory with --out"
                )
        else:
            heading = ledger._heading()
            ledger._check_empty()
        for name in (WINDOWS, STATES):
            (directory / name).mkdir(exist_ok=True)
        manifest.cut(directory, [heading, *lines])
        ledger._clear()
        return ledger

    def folder(self, window: int) -> Path:
        """Where the files of a window are."""
        return self.directory / WINDOWS / f"{window:06d}"

    def state(self, window: int) -> Path:
        """What a window hands on."""
        return self.directory / STATES / f"{window:06d}.nc"

    def line(self, window: int) -> dict[str, Any]:
        """The line of a finished window."""
        return read_manifest(self.directory)[1 + window]

    def carry(self, like: Any) -> Any:
        """What the last finished window hands on; `like`, of the start, where there is none."""
        return read_carry(self.state(self.done - 1), like) if self.done else like

    @contextmanager
    def writing(self, window: int) -> Iterator[Path]:
        """A folder for the files of a window, which has its name once all are written."""
        final = self.folder(window)
        temporary = final.with_name(f".{final.name}.part")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            yield temporary
            for path in (*temporary.iterdir(), temporary):
                manifest.flush(path)
            os.replace(temporary, final)
            manifest.flush(final.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def finish(self, window: int, carry: Any, entry: Mapping[str, Any]) -> None:
        """Keep what a window hands on, and add its line."""
        state, title = self.state(window), f"{self.case.title}: window {window}, carried"
        write_dataset(steady(carry_dataset(carry)), state, title=title)
        manifest.flush(state)
        manifest.flush(state.parent)
        paths = [*self.folder(window).iterdir(), state]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        files = manifest.checksums(self.directory, paths)
        line = {"window": window, **entry, "written": now, "files": files}
        manifest.append(self.directory, line)
        self.done += 1
        self.state(window - _KEPT).unlink(missing_ok=True)

    def _whole(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Lines of windows whose files are as they were, without a last one whose are not.

        Of what windows hand on, the last alone counts.
        """
        for number, entry in enumerate(entries):
            if entry.get("window") != number:
                raise DataError(
                    f"{self.directory / manifest.NAME}: expected the line of window {number}, got "
                    f"that of {entry.get('window')}; the file was changed by something else"
                )
        if entries and damaged(self.directory, entries[-1]):
            entries = entries[:-1]
        for number, entry in enumerate(entries):
            last = number == len(entries) - 1
            carried = f"{STATES}/"
            own = {n: d for n, d in entry["files"].items() if last or not n.startswith(carried)}
            if bad := damaged(self.directory, {"files": own}):
                raise DataError(
                    f"{self.directory / bad[0]}: is missing or has changed since window {number} "
                    "was finished; put it back, or start anew in another directory"
                )
        return entries

    def _check_empty(self) -> None:
        """Refuse windows that no manifest tells of: they are somebody's work."""
        for folder in (self.directory / WINDOWS, self.directory / STATES):
            known = sorted(path.stem for path in folder.glob("[0-9]*"))
            if known not in ([], [f"{0:06d}"]):  # the first may have been stopped before its line
                raise DataError(
                    f"{folder}: holds {len(known)} windows, but {manifest.NAME} tells of none; put "
                    "it back, or choose another directory with --out"
                )

    def _check_case(self, heading: Mapping[str, Any]) -> None:
        if heading.get("config_sha256") != self.case.fingerprint():
            raise DataError(
                f"{self.directory}: holds a cycle of another case, or of this one before it was "
                "changed; undo the change (the title, [output] and cycle.windows, burn_in and "
                "on_failure may differ), or choose another directory with --out"
            )
        paths = self._inputs()
        for name, digest in heading.get("inputs", {}).items():
            if name not in paths or hash_file(paths[name]) != digest:
                raise DataError(
                    f"{self.case.input_path(name)}: is missing or has changed since the cycle in "
                    f"{self.directory} was begun; put it back, or choose another directory with "
                    "--out"
                )

    def _heading(self) -> dict[str, Any]:
        return {
            "cycle": self.case.title,
            "config_sha256": self.case.fingerprint(),
            "assim_version": package_version(),
            "inputs": {name: hash_file(path) for name, path in self._inputs().items()},
        }

    def _inputs(self) -> dict[str, Path]:
        return {n: path for n, path in self.case.decisive_inputs().items() if path.is_file()}

    def _clear(self) -> None:
        """Remove what was being written, and windows without a line."""
        for folder in (self.directory / WINDOWS, self.directory / STATES):
            for path in folder.glob(".*.part"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in (self.directory / WINDOWS).glob(6 * "[0-9]"):
            if int(path.name) >= self.done:
                shutil.rmtree(path)
        for path in (self.directory / STATES).glob(6 * "[0-9]" + ".nc"):
            if not self.done - _KEPT <= int(path.stem) < self.done:
                path.unlink()


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Let no other process write to a directory, until this one ends at the latest."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise DataError(
            f"{directory}: another process is running this cycle; wait for it, or choose another "
            "directory with --out"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)
