"""Findings that have no topic of their own, as those of a user: their numbers in a table."""

from collections.abc import Iterator
from typing import Any

from assim.show.finished import Run
from assim.show.page import number, paragraph, table
from assim.show.section import Section

_SHOWN = {"diagnostics", "impact", "sloppy", "predictive"}  # each by a topic of its own
MOST = 40  # rows


def findings(run: Run) -> list[str]:
    """Every number of their entries of the summary."""
    parts = []
    for name in run.summary["findings"]:
        if name not in _SHOWN:
            rows = list(_rows(run.summary[name]))
            parts.append(table((name, ""), rows[:MOST]))
            if len(rows) > MOST:
                rest = f"{len(rows) - MOST} further numbers are in summary.json."
                parts.append(paragraph(rest, "soft"))
    return parts


def _rows(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Words for the place of each number, and the number."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _rows(item, (*path, str(key)))
    elif isinstance(value, list):
        for place, item in enumerate(value, 1):
            yield from _rows(item, (*path, str(place)))
    else:
        yield " ".join(path).replace("_", " "), number(value)


SECTION = Section("Findings of your own", findings)
