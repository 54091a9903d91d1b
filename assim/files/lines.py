"""Files of JSON lines, of which a line that has its end is whole and another does not count."""

import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from assim.files.errors import DataError, reason
from assim.files.netcdf import strict

_CHANGED = "the file was changed by something else: put it back, or start anew in another directory"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of all whole lines; none where there is no file.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from error
    whole = content[: content.rfind(b"\n") + 1].splitlines()
    return [_object(line, f"{path}, line {number}") for number, line in enumerate(whole, 1)]


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected JSON, got {line[:40]!r}; {_CHANGED}") from error
    if not isinstance(entry, dict):
        raise misshapen(where, "a JSON object", entry)
    return entry


def misshapen(where: str, expected: str, got: Any) -> DataError:
    """The error that a line holds something else than what is written there."""
    return DataError(f"{where}: expected {expected}, got {str(got)[:40]!r}; {_CHANGED}")


def append_lines(path: Path, entries: Iterable[Mapping[str, Any]], way_out: str) -> None:
    """Add lines, on the disk when this returns.

    Raises:
        DataError: they cannot be written; no part of them remains.
    """
    try:
        with open(path, "ab", buffering=0) as file:  # a buffer would be written again by closing
            end = file.seek(0, os.SEEK_END)
            try:
                _write_all(file, _text(entries))
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(end)
                raise
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({reason(error)}); {way_out}") from error


def _write_all(file: io.FileIO, content: bytes) -> None:
    """Write every byte, however little of it the system takes at a time."""
    while content:
        content = content[file.write(content) :]


def write_lines(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Make a file of these lines alone, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(_text(entries))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written ({reason(error)})") from error


def _text(entries: Iterable[Mapping[str, Any]]) -> bytes:
    lines = (json.dumps(strict(entry), allow_nan=False, ensure_ascii=False) for entry in entries)
    return "".join(f"{line}\n" for line in lines).encode()


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
