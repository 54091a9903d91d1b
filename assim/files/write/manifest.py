"""The manifest of a cycle: one line of JSON a window, written last.

A window is finished when its line is. The line names the window's files with their checksums, so
that a cycle that was stopped at any moment knows how far it has come.
"""

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assim.files.errors import DataError
from assim.files.netcdf import hash_file, strict
from assim.files.read.manifest import NAME


def append(directory: Path, entry: Mapping[str, Any]) -> None:
    """Add a line, on the disk when this returns.

    Raises:
        DataError: it cannot be written; no part of it remains.
    """
    path = directory / NAME
    line = json.dumps(strict(entry), allow_nan=False, ensure_ascii=False) + "\n"
    try:
        with open(path, "ab", buffering=0) as file:  # a buffer would be written again by closing
            end = file.seek(0, os.SEEK_END)
            try:
                _all_of(file, line.encode())
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}); free some space, and go on with "
            "--resume"
        ) from error


def _all_of(file: io.FileIO, content: bytes) -> None:
    """Write every byte, however little of it the system takes at a time."""
    while content:
        content = content[file.write(content) :]


def cut(directory: Path, entries: list[dict[str, Any]]) -> None:
    """Make a manifest of these lines alone, whole or not at all."""
    path = directory / NAME
    lines = [json.dumps(entry, allow_nan=False, ensure_ascii=False) + "\n" for entry in entries]
    temporary = path.with_name(f".{NAME}.part")
    try:
        with open(temporary, "wb") as file:
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush(directory)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksums(directory: Path, paths: list[Path]) -> dict[str, str]:
    """sha256 of files, by their name relative to the directory."""
    return {str(path.relative_to(directory)): hash_file(path) for path in sorted(paths)}
