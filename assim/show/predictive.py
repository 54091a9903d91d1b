"""Predictive checks in words, a table and pictures: do new readings look like those made?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from assim.files.names import variable_name
from assim.show import style
from assim.show.finished import Run, instants, units_of, with_units, words
from assim.show.layout import Entry, instruments_in, time_of
from assim.show.page import GOOD, UNSURE, Section, known, notice, number, paragraph, table
from assim.show.style import Picture
from assim.statistics.uniformity import binomial_interval

FEW = 20  # readings below which shares say next to nothing
_HEADER = (
    *("", "readings", "within 50 %", "within 90 %", "CRPS", "CRPS of the prior"),
    *("log score a reading", "units"),
)


def checks(run: Run) -> Mapping[str, Entry]:
    """Entries of the summary by instrument; see `variable_name` for what files call it."""
    entries: Mapping[str, Entry] = run.summary.get("predictive", {})
    return entries


def predictive(run: Run) -> list[str]:
    """A sentence on the readings held back, and a table of instruments."""
    entries = checks(run)
    if not entries:
        return []
    rows = [_row(run, name, check) for name, check in entries.items()]
    text = (
        "Within: share of the readings inside the central intervals of their posterior predictive "
        "distribution, errors of readings included; in brackets, where 99 per cent of such shares "
        "fall if the prediction is right. CRPS: continuous ranked probability score, the smaller "
        "the better. Log score: the larger the better."
    )
    held_back = {name: check for name, check in entries.items() if check["held_back"]}
    verdicts = [_judged(name, check) for name, check in held_back.items()]
    own = "" if len(held_back) == len(entries) else _not_held_back(bool(held_back))
    return [*verdicts, own, table(_HEADER, rows), paragraph(text, "soft")]


def _not_held_back(others: bool) -> str:
    readings = "Other readings" if others else "The readings"
    text = (
        " were used in the analysis, which has seen what it predicts: more than their share may "
        "lie within the intervals. Hold readings back for a test."
    )
    return paragraph(readings + text)


def _judged(name: str, check: Entry) -> str:
    """Whether readings held back are covered as often as they should be."""
    below, above, shares = False, False, []
    for level in ("50", "90"):
        share, band = known(check[f"coverage_{level}"]), _band(check, f"coverage_{level}")
        if share is None or band is None:
            return ""
        below, above = below or share < band[0], above or share > band[1]
        shares.append(f"{100 * share:.0f} % within their {level} % intervals")
    lead = f"{name}: of the readings held back {' and '.join(shares)}."
    if below and above:
        text = "Neither is what chance allows: the predictive distribution has another shape."
    elif below:
        text = "That is less than chance allows: intervals are too narrow"
    elif above:
        text = "That is more than chance allows: intervals are too wide"
    else:
        if check["count"] < FEW:
            return paragraph(f"{lead} So few readings hardly show whether they are right.")
        return notice("That is what chance allows if they are right.", GOOD, lead)
    either = "" if below and above else ", or an error is common to many readings."
    return notice(text + either, UNSURE, lead)


def _band(check: Entry, key: str) -> tuple[float, float] | None:
    low, high = map(known, check[f"{key}_band"])
    return None if low is None or high is None else (low, high)


def _row(run: Run, name: str, check: Entry) -> tuple[object, ...]:
    label = f"{name} (held back)" if check["held_back"] else name
    scores = (number(check[key], 3) for key in ("crps", "crps_prior", "log_score"))
    shares = (_share(check, key) for key in ("coverage_50", "coverage_90"))
    return label, check["count"], *shares, *scores, units_of(run, name)


def _share(check: Entry, key: str) -> str:
    share, band = known(check[key]), _band(check, key)
    if share is None:
        return "–"
    text = f"{100 * share:.0f} %"
    return text if band is None else f"{text} ({100 * band[0]:.0f} to {100 * band[1]:.0f})"


MOST = 5
LEVEL = 0.95  # of the band about a uniform histogram
BARS = "#8FBFDD"
DECADES = 300  # largest over smallest from which an axis is logarithmic
APART = 200  # readings up to which each has its own interval
ENDS = ("q05", "q50", "q95", "pit")


@dataclass(frozen=True)
class PredictedReadings:
    """Readings of one instrument with their predictive quantiles and ranks."""

    label: str
    units: str
    held_back: bool
    time: xr.DataArray
    value: np.ndarray
    q05: np.ndarray
    q50: np.ndarray
    q95: np.ndarray
    pit: np.ndarray


def draw_predictive(run: Run) -> Picture | None:
    """A row an instrument; those held back first."""
    everything = sorted(predicted(run), key=lambda readings: not readings.held_back)

    def draw(left: style.Axes, right: style.Axes, readings: PredictedReadings) -> None:
        _draw_ranks(left, readings)
        _draw_readings(right, readings)

    return style.draw_each(everything, MOST, draw, _caption, "instruments", 2.3, each=2, left=0.62)


def _caption(shown: Sequence[PredictedReadings]) -> str:
    text = (
        "Left: histogram of the probability integral transform of each reading in its posterior "
        f"predictive distribution, with the band that holds {100 * LEVEL:.0f} % of the counts of "
        "a bin if predictions are right (a hump: too wide, a trough: too narrow, a slope: biased). "
        "Right: readings on their 90 % predictive intervals, errors of readings included."
    )
    if not all(readings.held_back for readings in shown):
        text += " Where readings were used in the analysis, a hump is expected."
    return text


def predicted(run: Run) -> list[PredictedReadings]:
    """Every instrument whose feedback has predictive quantiles and ranks."""
    held_back = {variable_name(name): check["held_back"] for name, check in checks(run).items()}
    file = run.file("feedback")
    readings = [
        _predicted(file, name, held_back.get(name, False))
        for name in instruments_in(file)
        if f"{name}_predictive_{ENDS[0]}" in file
    ]
    return [some for some in readings if some.value.size]


def _predicted(file: xr.Dataset, name: str, held_back: bool) -> PredictedReadings:
    """The readings of one instrument that are predicted."""
    columns = [file[name], *(file[f"{name}_predictive_{end}"] for end in ENDS)]
    values = np.array([np.asarray(column.values, float) for column in columns])
    good = np.isfinite(values).all(axis=0)
    units = str(file[name].attrs.get("units", "1"))
    return PredictedReadings(
        words(file[name]), units, held_back, time_of(file)[good], *values[:, good]
    )


def _draw_ranks(axes: style.Axes, readings: PredictedReadings) -> None:
    count = readings.pit.size
    bins = int(np.clip(count // 8, 4, 20))
    low, high = binomial_interval(count, 1 / bins, LEVEL)
    axes.hist(readings.pit, np.linspace(0, 1, bins + 1).tolist(), color=BARS, edgecolor="white",
              linewidth=0.6)  # fmt: skip
    axes.axhspan(low, high, color=style.INK, alpha=0.11, linewidth=0, label="chance, 95 %")
    axes.axhline(count / bins, color=style.INK, linewidth=0.8, linestyle="--")
    axes.set_ylim(0, 1.08 * max(high, *np.histogram(readings.pit, bins, (0, 1))[0]))
    axes.set(xlim=(0, 1), xlabel="PIT", ylabel="Readings")
    axes.set_title(style.wrapped(readings.label + " (held back)" * readings.held_back))


def _draw_readings(axes: style.Axes, readings: PredictedReadings) -> None:
    order = np.argsort(readings.time.values, kind="stable")
    time = instants(readings.time)[order]
    columns = (readings.value, readings.q05, readings.q50, readings.q95)
    value, low, middle, high = (column[order] for column in columns)
    apart = value.size <= APART or np.unique(time).size < time.size
    if apart:
        axes.vlines(time, low, high, color=style.ANALYSIS, alpha=0.35, linewidth=3.0,
                    label="90 % predicted")  # fmt: skip
        axes.plot(time, middle, "_", color=style.ANALYSIS, markersize=5, label="median")
    else:
        style.band(axes, time, low, high, 0.25, "90 % predicted")
        axes.plot(time, middle, color=style.ANALYSIS, label="median")
    inside = (low <= value) & (value <= high)
    size = 3.2 if apart else 1.8
    axes.plot(time[inside], value[inside], "o", color=style.INK, markersize=size, label="reading")
    axes.plot(time[~inside], value[~inside], "D", color=style.REJECTED, markersize=size + 0.6,
              label="reading outside")  # fmt: skip
    if low.min() > 0 and value.min() > 0 and high.max() > DECADES * low.min():
        axes.set_yscale("log")
    style.over_time(axes, readings.time, with_units("Reading", readings.units))


PREDICTIVE = Section("Predictive checks", predictive, {"predictive": draw_predictive})
