"""What is left of each member of a sweep in its folder, and the table that is made of it."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from assim.files.errors import DataError, reason
from assim.files.netcdf import hash_file, write_bytes, write_json
from assim.files.record import FOLDER, Record

TABLE = "sweep.csv"
FIGURES = ("cost", "chi_squared_p_value", "trust", "fit")
_HEAD = ("member", "case")
_TAIL = ("exit", "meaning", *FIGURES, "seconds", "folder", "message")
_RECORD, _OUTPUT, _SUMMARY = "member.json", "output.txt", "summary.json"


class MemberFolder:
    """The directory of results of one member, and what is recorded in its folder `.assim`.

    The record says what was run (`config_sha256`, and by name the sha256 of every input), how it
    ended (`exit`, `message`, `seconds`), and the sha256 of the `summary` that it wrote, if any.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.record_path = directory / FOLDER / _RECORD
        self.output = directory / FOLDER / _OUTPUT  # what the run said

    def prepare(self) -> None:
        """Make it, without a record: what runs from now on has not ended.

        Raises:
            DataError: it cannot be made, or a link stands where files are to be written.
        """
        Record(self.directory)
        try:
            self.record_path.parent.mkdir(parents=True, exist_ok=True)
            for path in (self.record_path, self.output):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(
                f"{self.directory}: cannot be written to ({reason(error)}); choose another "
                "directory with --out"
            ) from error

    def written_summary(self) -> str | None:
        """The sha256 of the summary that is there."""
        path = self.directory / _SUMMARY
        return hash_file(path) if path.is_file() else None

    def last_line(self) -> str:
        """The last line of what the run said."""
        try:
            lines = self.output.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def record(self, content: Mapping[str, Any]) -> None:
        """Record how it ended.

        Raises:
            DataError: it cannot be written.
        """
        write_json(content, self.record_path)

    def ended(self, config: str, now: Callable[[str], str | None]) -> dict[str, Any] | None:
        """The record, if it is of this case and these inputs; where done, with its summary there.

        Args:
            config: text of the resolved case.
            now: sha256 of an input by its name, as it is now; None where it is not there.
        """
        record = _read(self.record_path)
        inputs = record.get("inputs")
        if record.get("config_sha256") != sha256(config) or not isinstance(inputs, dict):
            return None
        if any(now(name) != digest for name, digest in inputs.items()):
            return None
        return None if record.get("exit") == 0 and not self.summary(record) else record

    def summary(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The summary that this run wrote; nothing where it is of another."""
        digest = self.written_summary()
        own = digest is not None and digest == record.get("summary")
        return _read(self.directory / _SUMMARY) if own else {}


def sha256(text: str) -> str:
    """sha256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is none, or none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """J, p of its χ², trust, fit, and mean and stddev of every scalar; what there is of them."""
    cost, fit = summary.get("cost"), summary.get("fit")
    numbers = {"cost": cost.get("total")} if isinstance(cost, dict) else {}
    if isinstance(fit, dict):
        numbers |= {"chi_squared_p_value": fit.get("p_value"), "fit": fit.get("verdict")}
    methods = summary.get("posterior") or {}
    chosen = methods if "trust" in methods else methods.get(summary.get("chosen"), {})
    numbers |= {"trust": chosen.get("trust")}
    for name, quantity in summary.get("quantities", {}).items():
        several = {f"{name}_{key}": quantity.get(key) for key in ("mean", "stddev")}
        numbers |= {key: value for key, value in several.items() if isinstance(value, int | float)}
    return numbers


def check_table(directory: Path) -> None:
    """See that nothing else has the name of the table.

    Raises:
        DataError: something has.
    """
    path = directory / TABLE
    try:
        head = path.read_bytes()[:100] if path.exists() else None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from error
    if path.is_symlink() or (head is not None and not head.startswith(",".join(_HEAD).encode())):
        raise DataError(
            f"{path}: is not the table of a sweep, which is to be written there; move it, or "
            "choose another directory with --out"
        )


def write_table(directory: Path, rows: Iterable[Mapping[str, Any]], settings: list[str]) -> None:
    """Write sweep.csv, a row a member: its settings, how it ended, figures, scalars.

    Args:
        directory: of the sweep.
        rows: of all members, by column.
        settings: keys of the case that differ between members, each a column.

    Raises:
        DataError: it cannot be written.
    """
    rows = list(rows)
    known = [*_HEAD, *settings, *_TAIL]
    scalars = dict.fromkeys(key for row in rows for key in row if key not in known)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*known, *scalars], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(text.getvalue().encode(), directory / TABLE)
