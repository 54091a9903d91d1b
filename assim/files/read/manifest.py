"""The manifest of a cycle as it is read: one line of JSON for each finished window."""

from collections.abc import Callable, Mapping
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
        if "series" in entry and not _is_series(entry["series"]):
            raise misshapen(where, "'series' as a span of two times, and checksums by name", entry)
        return
    if outside := [name for name in entry["files"] if not _is_inside(name)]:
        raise misshapen(where, "files within the directory", outside[0])
    observed = entry.get("observations", {})
    if not isinstance(observed, dict) or not all(isinstance(o, dict) for o in observed.values()):
        raise misshapen(where, "'observations' as a table of every instrument", entry)


def _is_texts(table: Any) -> bool:
    return isinstance(table, dict) and all(isinstance(value, str) for value in table.values())


def _is_series(table: Any) -> bool:
    """Whether it is what drove the model from time to time."""
    if not isinstance(table, dict) or not _is_texts(table.get("sha256")):
        return False
    span = table.get("span")
    return isinstance(span, list) and [type(time) for time in span] == [float, float]


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def changed_inputs(heading: Mapping[str, Any], path_of: Callable[[str], Path]) -> list[str]:
    """Inputs of a cycle, by name, that are missing or not what they were when it was begun."""
    paths = {name: path_of(name) for name in heading.get("inputs", {})}
    return [
        name
        for name, digest in heading.get("inputs", {}).items()
        if not paths[name].is_file() or hash_file(paths[name]) != digest
    ]


def damaged(directory: Path, entry: Mapping[str, Any]) -> list[str]:
    """Files of a line that are missing, or not what they were."""
    return [
        name
        for name, digest in entry["files"].items()
        if not (directory / name).is_file() or hash_file(directory / name) != digest
    ]
