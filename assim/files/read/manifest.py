"""The manifest of a cycle as it is read: one line of JSON for each finished window."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from assim.files.lines import misshapen, read_lines
from assim.files.netcdf import hash_file

NAME = "manifest.jsonl"
STATES = "carry"  # folder of what windows hand on


def read_manifest(directory: Path) -> list[dict[str, Any]]:
    """The whole lines of a manifest; none where there is no manifest.

    A last line without an end was being written when the cycle was stopped, and does not count.

    Raises:
        DataError: the file cannot be read, or a whole line does not hold what is written there.
    """
    path = directory / NAME
    entries = read_lines(path)
    for number, entry in enumerate(entries, 1):
        _check(entry, number, f"{path}, line {number}")
    return entries


def _check(entry: Mapping[str, Any], number: int, where: str) -> None:
    """Refuse a line whose parts have another shape than those that are written."""
    digests = "inputs" if number == 1 else "files"
    if not _is_texts(entry.get(digests)):
        raise misshapen(where, f"{digests!r} as checksums by name", entry)
    if number == 1:
        return
    if outside := [name for name in entry["files"] if not _is_inside(name)]:
        raise misshapen(where, "files within the directory", outside[0])
    observed = entry.get("observations", {})
    if not isinstance(observed, dict) or not all(isinstance(o, dict) for o in observed.values()):
        raise misshapen(where, "'observations' as a table of every instrument", entry)


def _is_texts(table: Any) -> bool:
    return isinstance(table, dict) and all(isinstance(value, str) for value in table.values())


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def damaged(directory: Path, entry: Mapping[str, Any]) -> list[str]:
    """Files of a line that are missing, or not what they were."""
    return [
        name
        for name, digest in entry["files"].items()
        if not (directory / name).is_file() or hash_file(directory / name) != digest
    ]
