"""The windows of a cycle in tables: how they ended, which are flagged, how long they took."""

from collections import Counter
from typing import Any

import numpy as np

from assim.show.cycle.series import ANALYSED, USED, WINDOW, entries, series, statuses
from assim.show.finished import Run
from assim.show.layout import Entry, time_of
from assim.show.minimisation import seconds
from assim.show.page import Section, known, number, paragraph, table

ROWS = 50  # of flagged windows
ODD = ("late", "early", "repeated", "out_of_order")  # said of a file only where it is odd


def windows(run: Run) -> list[str]:
    """How windows ended, what became of their files, how long they took, and which are flagged."""
    rows = [(name.replace("_", " "), f"{n:,}") for name, n in statuses(run).items()]
    return [
        table(("Minimisation", "windows"), rows),
        _files(run),
        _seconds(run),
        _flagged(run),
    ]


def _files(run: Run) -> str:
    """What became of the files of every instrument."""
    by_name: dict[str, list[Entry]] = {}
    for line in entries(run):
        for name, file in line["observations"].items():
            by_name.setdefault(name, []).append(file)
    fates = {name: Counter(file["fate"] for file in files) for name, files in by_name.items()}
    every = sorted({fate for own in fates.values() for fate in own}, key=lambda f: (f != USED, f))
    odd = [what for what in ODD if any(_count(f, what) for some in by_name.values() for f in some)]
    header = ("Windows whose observations were", *every, "values used", "rejected")
    rows = [
        (
            name,
            *(f"{fates[name][fate]:,}" for fate in every),
            f"{sum(_count(file, USED) for file in files):,}",
            _rejected(files),
            *(sum(_count(file, what) for file in files) for what in odd),
        )
        for name, files in by_name.items()
    ]
    return table((*header, *(what.replace("_", " ") for what in odd)), rows)


def _count(file: Entry, what: str) -> int:
    """How many values; 0 where a file had none of them, or could not be read."""
    return int(file.get(what, 0))


def _rejected(files: list[Entry]) -> str:
    total: Counter[str] = Counter()
    for file in files:
        total.update(file.get("rejected", {}))
    parts = [f"{n:,} {flag.replace('_', ' ')}" for flag, n in total.items() if n]
    return ", ".join(parts) or "0"


def _flagged(run: Run) -> str:
    """Windows with which something is wrong, at most 50 of them."""
    flagged = [line for line in entries(run) if _is_flagged(line)]
    rows = [_flag(run, line) for line in flagged[:ROWS]]
    left = len(flagged) - len(rows)
    more = paragraph(f"{left} further windows are flagged; manifest.jsonl has them all.", "soft")
    header = ("Flagged window", "state", "why", "observations")
    return table(header, rows) + more * (left > 0)


def _is_flagged(line: Entry) -> bool:
    files = line["observations"].values()
    return (
        line["state"] != ANALYSED
        or bool(line["reason"])
        or any(file["fate"] != USED or any(_count(file, w) for w in ODD) for file in files)
    )


def _flag(run: Run, line: Entry) -> tuple[str, ...]:
    fates = []
    for name, file in line["observations"].items():
        odd = [f"{_count(file, w)} {w}" for w in ODD[:3] if _count(file, w)]
        odd += ["out of order"] * bool(_count(file, ODD[3]))
        fate = str(file["fate"])
        if fate != USED:
            fate += f" ({': '.join(str(file[key]) for key in ('file', 'reason') if file.get(key))})"
        fates.append(f"{name}: {', '.join([fate, *odd])}")
    reason = str(line["reason"] or "–").replace("_", " ")
    return _when(run, line[WINDOW]), str(line["state"]), reason, "; ".join(fates)


def _when(run: Run, window: int) -> str:
    time = time_of(series(run)) if series(run) else None
    if time is None or window >= time.size:
        return str(window)
    moment: Any = time.values[window]
    dated = np.issubdtype(time.dtype, np.datetime64)
    text = str(moment.astype("datetime64[m]")) if dated else f"{time.name} = {number(moment)}"
    return f"{window} ({text})"


def _seconds(run: Run) -> str:
    """Seconds a window by stage; those of a twin are of the whole cycle."""
    by_stage: dict[str, list[float]] = {}
    for line in entries(run):
        for stage, value in line["seconds"].items():
            by_stage.setdefault(stage, []).append(known(value) or 0.0)
    if not by_stage:
        return "".join(seconds(run))
    rows = [
        (
            stage,
            *(number(float(np.quantile(some, share)), 2) for share in (0.5, 0.95)),
            f"{number(max(some), 2)} ({int(np.argmax(some))})",
            number(sum(some), 3),
        )
        for stage, some in by_stage.items()
    ]
    header = ("Seconds a window", "median", "95 %", "longest (window)", "total")
    text = (
        "The first window also compiles, and so does one that has to make room for another number "
        "of observations."
    )
    return table(header, rows) + paragraph(text, "soft")


WINDOWS = Section("Windows", windows)
