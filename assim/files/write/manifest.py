"""The manifest of a cycle: one line of JSON a window, written last.

A window is finished when its line is. The line names the window's files with their checksums, so
that a cycle that was stopped at any moment knows how far it has come.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assim.files.lines import append_lines, write_lines
from assim.files.netcdf import hash_file
from assim.files.read.manifest import NAME


def append(directory: Path, entry: Mapping[str, Any]) -> None:
    """Add a line, on the disk when this returns.

    Raises:
        DataError: it cannot be written; no part of it remains.
    """
    append_lines(directory / NAME, [entry], "free some space, and go on with --resume")


def cut(directory: Path, entries: list[dict[str, Any]]) -> None:
    """Make a manifest of these lines alone, whole or not at all."""
    write_lines(directory / NAME, entries)


def checksums(files: Mapping[str, Path]) -> dict[str, str]:
    """sha256 of files, by the names that they are to have in the directory."""
    return {name: hash_file(path) for name, path in sorted(files.items())}
