"""What arrays take of the memory that there is, asked before they are made."""

import os
from contextlib import suppress
from pathlib import Path

_NUMBER = 8  # bytes
_COPIES = 4  # of an array that a program holds at a time: itself, a gradient, a trial, a result
_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def available() -> int:
    """Bytes of memory of this machine, or of the share of it that this process may use."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # there is no such limit
        total = min(total, int(_GROUP_LIMIT.read_text()))
    return total


def excess(numbers: float, copies: int = _COPIES) -> str | None:
    """What so many numbers take, where that is more than there is; None where it is not."""
    size, limit = _NUMBER * copies * float(numbers), available()
    if size <= limit:
        return None
    return (
        f"takes some {_gib(size)} of memory ({numbers:.3g} numbers of {_NUMBER} bytes, {copies} "
        f"times), and this machine has {_gib(limit)}"
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB"
