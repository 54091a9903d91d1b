"""The manifest of a cycle as it is read: one line of JSON for each finished window."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assim.files.errors import DataError
from assim.files.netcdf import hash_file

NAME = "manifest.jsonl"
STATES = "carry"  # folder of what windows hand on


def read_manifest(directory: Path) -> list[dict[str, Any]]:
    """The whole lines of a manifest; none where there is no manifest.

    A last line without an end was being written when the cycle was stopped, and does not count.

    Raises:
        DataError: the file cannot be read, or a line before the last is not JSON.
    """
    path = directory / NAME
    if not path.exists():
        return []
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    entries = []
    for number, line in enumerate(text[: text.rfind(b"\n") + 1].splitlines(), 1):
        try:
            entries.append(json.loads(line))
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: expected JSON, got {line[:40]!r}; the file was changed by "
                "something else: put it back, or start anew in another directory"
            ) from error
    return entries


def damaged(directory: Path, entry: Mapping[str, Any]) -> list[str]:
    """Files of a line that are missing, or not what they were."""
    return [
        name
        for name, digest in entry["files"].items()
        if not (directory / name).is_file() or hash_file(directory / name) != digest
    ]
