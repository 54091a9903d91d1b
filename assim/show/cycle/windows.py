"""The windows of a cycle in words and tables: how they went, which are flagged, the time taken."""

from collections import Counter
from typing import Any

import numpy as np

from assim.show.cycle.series import (
    ANALYSED,
    FORECAST,
    USED,
    after_burn_in,
    entries,
    fields,
    series,
    settled,
    size,
    statuses,
    units_of,
    values,
)
from assim.show.finished import Run, span_of, spelt_units
from assim.show.layout import WINDOW, Entry, time_of
from assim.show.minimisation import seconds
from assim.show.page import GOOD, POOR, UNSURE, Section, known, notice, number, paragraph, table

ROWS = 50  # of flagged windows
ODD = ("late", "early", "repeated", "out_of_order")  # said of a file only where it is odd


# ---- the head ------------------------------------------------------------------------------------


def heading(run: Run) -> list[str]:
    """Time, and in words how the cycle went."""
    time = span_of(time_of(series(run)), number) if series(run) else []
    above = [run.name(), f"{size(run):,} windows", *time]
    return [
        paragraph(" · ".join(above), "soft"),
        _went(run),
        paragraph(" ".join(text for text in (_means(run), _coverage(run)) if text)),
        paragraph(_chi_squared(run)),
    ]


def _went(run: Run) -> str:
    """How many windows were analysed, and how their minimisations ended."""
    total = size(run)
    states = run.summary.get("states") or Counter(line["state"] for line in entries(run))
    missed, counts = states.get(FORECAST, 0), statuses(run)  # in memory none is missed
    unfinished = {name: n for name, n in counts.items() if name != "converged"}
    ended = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items())
    text = f"Minimisations: {ended}." if unfinished else ""
    lead = f"All {total:,} windows were analysed."
    if missed:
        lead = f"{missed:,} of {total:,} windows were forecast instead of analysed."
    verdict = UNSURE if missed or unfinished else GOOD
    if missed > total / 2 or "non_finite" in counts:
        verdict = POOR
    return notice(text, verdict, lead)


def _means(run: Run) -> str:
    """RMSE and spread: of all fields where these have one unit, else of each."""
    error, spread = known(run.summary.get("rmse_analysis")), known(run.summary["spread"])
    if spread is None:
        return _means_by_field(run)
    units = {units_of(run, f"{name}_spread_analysis") for name in fields(run)}
    unit = _unit(next(iter(units))) if len(units) == 1 else ""
    before = known(run.summary["spread_background"])
    text = f"{after_burn_in(run)} the "
    if error is None:
        text += f"spread of the analysis is {number(spread)}{unit} on average"
        text += f", that of the background {number(before)}{unit}" * (before is not None)
        return text + "."
    text += f"RMSE of the analysis is {number(error)}{unit} on average and "
    text += f"its spread {number(spread)}{unit}"
    worse = known(run.summary["rmse_background"])
    if worse is not None and before is not None:
        text += f"; those of the background are {number(worse)}{unit} and {number(before)}{unit}"
    return text + "."


def _means_by_field(run: Run) -> str:
    errors = run.summary.get("rmse_analysis_by_field", {})
    parts = []
    for name, spread in run.summary["spread_by_field"].items():
        unit = _unit(units_of(run, f"{name}_spread_analysis"))
        error = known(errors.get(name))
        of = "" if error is None else f"an RMSE of {number(error)}{unit} and "
        parts.append(f"{name} {of}a spread of {number(spread)}{unit}")
    if not parts:
        return ""
    return f"{after_burn_in(run)} the analysis has on average, of {'; of '.join(parts)}."


def _unit(units: str) -> str:
    return "" if units in {"", "1"} else f" {spelt_units(units)}"


def _coverage(run: Run) -> str:
    shares = {
        level: number(100 * share, 3)
        for level, value in run.summary.get("coverage", {}).items()
        if (share := known(value)) is not None
    }
    if not shares:
        return ""
    first, *others = shares.items()
    text = f"The {first[0]}\u00a0% intervals hold {first[1]}\u00a0% of the true values"
    rest = (f", the {level}\u00a0% intervals {share}\u00a0%" for level, share in others)
    return text + "".join(rest) + "."


def _chi_squared(run: Run) -> str:
    mean = known(run.summary["chi_squared"])
    count = values(run, "number")
    count = np.zeros(0) if count is None else count[settled(run)]
    count = count[count > 0]
    if mean is None and not count.size:
        return "No observation was assimilated after the burn-in, so that 2J/m is not known."
    if mean is None:
        return (
            "2J/m is not given: it is expected to be 1 only for Gaussian errors of known scale, of "
            "observations that enter one window each."
        )
    text = f"2J/m, twice the cost by the number of observations, is {number(mean)} on average"
    if count.size:
        spread = float(np.sqrt(np.sum(2 / count)) / count.size)
        text += f"; where all covariances are right it is 1 ± {number(spread, 2)}"
        far = abs(mean - 1) > max(3 * spread, 0.05)
        way = "larger" if mean > 1 else "smaller"
        text += f", so that departures are {way} than the covariances make likely" * far
    return text + "."


# ---- tables --------------------------------------------------------------------------------------


def windows(run: Run) -> list[str]:
    """How windows ended, what became of their files, how long they took, and which are flagged."""
    rows = [(name.replace("_", " "), f"{n:,}") for name, n in statuses(run).items()]
    return [table(("Minimisation", "windows"), rows), _files(run), _seconds(run), _flagged(run)]


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
