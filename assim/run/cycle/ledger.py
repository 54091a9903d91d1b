"""What a cycle has written and how far it has come: its directory, manifest and carry."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assim.case.case import Case
from assim.files.errors import DataError
from assim.files.lines import flush
from assim.files.netcdf import hash_file, package_version, remove, steady, write_dataset
from assim.files.read.manifest import STATES, changed_inputs, damaged, read_manifest
from assim.files.record import Record, known_as, move
from assim.files.write import manifest
from assim.files.write.analysed import carry_dataset, read_carry

WINDOWS = "windows"
KIND = "window"  # of files in the record, until the manifest has them
_KEPT = 2  # windows whose carry is kept


@dataclass
class Ledger:
    """The directory of a cycle: how many windows are done, by which version of assim it was begun.

    A window is written among the parts of the directory, then recorded, then gets its name; then
    what it hands on, likewise; then comes its line of the manifest. What has no line is written
    again.
    """

    directory: Path
    case: Case
    record: Record
    done: int = 0
    version: str = field(default_factory=package_version)

    @staticmethod
    def opened(directory: Path, case: Case, resume: bool, series: Mapping[str, Any]) -> "Ledger":
        """The directory as a cycle may go on in it.

        Its heading has the checksums of the `series` that drive the model.

        Raises:
            DataError: it holds a cycle and `resume` is not asked for, it is of another case, or a
                file of a finished window has changed.
        """
        ledger = Ledger(directory, case, Record(directory))
        heading, *lines = read_manifest(directory) or [{}]
        known = {name for line in lines for name in line["files"]}
        known |= set(ledger.record.names([KIND]))
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
        heading["series"] = dict(series)
        ledger._clear(known)
        for name in (WINDOWS, STATES):
            (directory / name).mkdir(exist_ok=True)
        manifest.cut(directory, [heading, *lines])
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
        final, part = self.folder(window), self.record.underway / f"{window:06d}"
        shutil.rmtree(part, ignore_errors=True)
        try:
            with known_as(final):
                part.mkdir(parents=True)
                yield part
                for path in (*part.iterdir(), part):
                    flush(path)
            own = {self._name(final / path.name): path for path in part.iterdir()}
            self.record.add(KIND, manifest.checksums(own))
            move(part, final)
        finally:
            self.record.clear()

    def finish(self, window: int, carry: Any, entry: Mapping[str, Any]) -> None:
        """Keep what a window hands on, and add its line."""
        state, title = self.state(window), f"{self.case.title}: window {window}, carried"
        part = self.record.underway / state.name
        with known_as(state):
            write_dataset(steady(carry_dataset(carry)), part, title=title)
            flush(part)
        self.record.add(KIND, manifest.checksums({self._name(state): part}))
        move(part, state)
        paths = [*self.folder(window).iterdir(), state]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        files = manifest.checksums({self._name(path): path for path in paths})
        line = {"window": window, **entry, "written": now, "files": files}
        manifest.append(self.directory, line)
        self.done += 1
        remove(self.state(window - _KEPT))

    def _name(self, path: Path) -> str:
        """A file as the manifest names it."""
        return path.relative_to(self.directory).as_posix()

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
            there = sorted(path.stem for path in folder.glob("[0-9]*"))
            if there not in ([], [f"{0:06d}"]):  # the first may have been stopped before its line
                raise DataError(
                    f"{folder}: holds {len(there)} windows, but {manifest.NAME} lists none; put "
                    "it back, or choose another directory with --out"
                )

    def _check_case(self, heading: Mapping[str, Any]) -> None:
        if heading.get("config_sha256") != self.case.fingerprint():
            raise DataError(
                f"{self.directory}: holds a cycle of another case, or of this one before it was "
                "changed; undo the change (the title, [output] and cycle.windows, burn_in and "
                "on_failure may differ), or choose another directory with --out"
            )
        if changed := changed_inputs(heading, self.case.input_path):
            raise DataError(
                f"{self.case.input_path(changed[0])}: is missing or has changed since the cycle in "
                f"{self.directory} was begun; put it back, or choose another directory with --out"
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

    def _clear(self, known: set[str]) -> None:
        """Remove windows without a line, of which every file must be one that was written here.

        Raises:
            DataError: there is another file, or a folder is a link.
        """
        folders = [self.directory / WINDOWS, self.directory / STATES]
        left = [path for path in folders[0].glob(6 * "[0-9]") if int(path.name) >= self.done]
        kept = range(self.done - _KEPT, self.done)
        states = folders[1].glob(6 * "[0-9]" + ".nc")
        files = [path for path in states if int(path.stem) not in kept]
        files += [path for folder in left if not folder.is_symlink() for path in folder.iterdir()]
        for path in (*folders, *left, *files):
            strange = path in files and (path.is_dir() or self._name(path) not in known)
            if strange or path.is_symlink():
                raise DataError(
                    f"{path}: would be removed, and nothing there records that assim wrote it: "
                    "move it, or choose another directory with --out"
                )
        for path in files:
            remove(path)
        for folder in left:
            folder.rmdir()
        self.record.forget([KIND])
