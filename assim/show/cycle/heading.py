"""The head of a cycle's report: title, time, and in words how the cycle went."""

from collections import Counter

import numpy as np

from assim.show.cycle.series import (
    FORECAST,
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
from assim.show.layout import time_of
from assim.show.page import GOOD, POOR, UNSURE, escaped, known, notice, number, paragraph

_TITLE = ": windows of a cycle"


def title(run: Run) -> str:
    """The title of the case; where there is none, the directory's name."""
    heading = next((line["cycle"] for line in run.manifest if "cycle" in line), None)
    return str(heading or run.title()).removesuffix(_TITLE)


def heading(run: Run) -> list[str]:
    """Title, time, and in words how the cycle went."""
    above = [run.name(), f"{size(run):,} windows", *_stretch(run)]
    return [
        f"<h1>{escaped(title(run))}</h1>",
        paragraph(" · ".join(above), "soft"),
        _went(run),
        paragraph(" ".join(text for text in (_means(run), _coverage(run)) if text)),
        paragraph(_chi_squared(run)),
    ]


def _stretch(run: Run) -> list[str]:
    return span_of(time_of(series(run)), number) if series(run) else []


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
