"""Predictive checks in words and a table: do new readings look like those made?"""

from dataclasses import dataclass
from math import lgamma
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from assim.files.names import variable_name
from assim.show import style
from assim.show.finished import (
    Run,
    field_names,
    instants,
    spelt_units,
    time_label,
    time_of,
    with_units,
    words,
)
from assim.show.page import GOOD, UNSURE, known, notice, number, paragraph, table
from assim.show.style import Picture

FEW = 20  # readings below which shares tell next to nothing
_HEADER = (
    *("", "readings", "within 50 %", "within 90 %", "CRPS", "CRPS of the prior"),
    *("log score a reading", "units"),
)


def checks(run: Run) -> dict[str, dict[str, Any]]:
    """Entries of the summary by instrument; see `variable_name` for what files call it."""
    given = run.summary.get("predictive")
    if not isinstance(given, dict):
        return {}
    return {str(name): one for name, one in given.items() if isinstance(one, dict)}


def predictive(run: Run) -> list[str]:
    """A sentence of the readings held back, and a table of instruments."""
    found = checks(run)
    if not found:
        return []
    rows = [_row(run, name, one) for name, one in found.items()]
    text = (
        "Within: share of the readings inside the central intervals of their posterior predictive "
        "distribution, errors of readings included; in brackets, where 99 per cent of such shares "
        "fall if the prediction is right. CRPS: continuous ranked probability score, the smaller "
        "the better. Log score: the larger the better."
    )
    held = {name: one for name, one in found.items() if one.get("held_back")}
    said = [_judged(name, one) for name, one in held.items()]
    own = "" if len(held) == len(found) else _not_held_back(held)
    return [*said, own, table(_HEADER, rows), paragraph(text, "soft")]


def _not_held_back(held: dict[str, dict[str, Any]]) -> str:
    others = "Other readings" if held else "The readings"
    text = (
        " were used in the analysis, which has seen what it predicts: more than their share may "
        "lie within the intervals. Hold readings back for a test."
    )
    return paragraph(others + text)


def _judged(name: str, one: dict[str, Any]) -> str:
    """Whether readings held back are covered as often as they should be."""
    below, above, told = False, False, []
    for level in ("50", "90"):
        share, band = known(one.get(f"coverage_{level}")), _band(one, f"coverage_{level}")
        if share is None or band is None:
            return ""
        below, above = below or share < band[0], above or share > band[1]
        told.append(f"{100 * share:.0f} % within their {level} % intervals")
    lead = f"{name}: of the readings held back {' and '.join(told)}."
    if below and above:
        text = "Neither is what chance allows: the predictive distribution has another shape."
    elif below:
        text = "That is less than chance allows: intervals are too narrow"
    elif above:
        text = "That is more than chance allows: intervals are too wide"
    else:
        if (one.get("count") or 0) < FEW:
            return paragraph(f"{lead} So few readings hardly tell whether they are right.")
        return notice("That is what chance allows if they are right.", GOOD, lead)
    either = "" if below and above else ", or an error is common to many readings."
    return notice(text + either, UNSURE, lead)


def _band(one: dict[str, Any], key: str) -> tuple[float, float] | None:
    given = one.get(f"{key}_band")
    ends = [known(end) for end in given] if isinstance(given, list) else []
    return (ends[0], ends[1]) if len(ends) == 2 and None not in ends else None  # type: ignore[return-value]


def _row(run: Run, name: str, one: dict[str, Any]) -> tuple[object, ...]:
    called = f"{name} (held back)" if one.get("held_back") else name
    scores = (number(one.get(key), 3) for key in ("crps", "crps_prior", "log_score"))
    shares = (_share(one, key) for key in ("coverage_50", "coverage_90"))
    return called, one.get("count"), *shares, *scores, _units(run, name)


def _share(one: dict[str, Any], key: str) -> str:
    share, band = known(one.get(key)), _band(one, key)
    if share is None:
        return "–"
    text = f"{100 * share:.0f} %"
    return text if band is None else f"{text} ({100 * band[0]:.0f} to {100 * band[1]:.0f})"


def _units(run: Run, name: str) -> str:
    name = variable_name(name)
    found = (file[name].attrs.get("units") for file in run.feedback if name in file)
    return spelt_units(next(found, "1"))


MOST = 5
LEVEL = 0.95  # of the band about a uniform histogram
BARS = "#8FBFDD"
DECADES = 300  # largest over smallest from which an axis is logarithmic
APART = 200  # readings up to which each has its own interval
ENDS = ("q05", "q50", "q95", "pit")


@dataclass(frozen=True)
class Predicted:
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
    everything = sorted(predicted(run), key=lambda one: not one.held_back)
    shown = everything[:MOST]
    if not shown:
        return None
    figure, axes = style.panels(2 * len(shown), 2, 2.3, top=0.3, left=0.62)
    for row, one in enumerate(shown):
        _draw_ranks(axes[2 * row], one)
        _draw_readings(axes[2 * row + 1], one)
    style.legend(figure, axes)
    return style.picture("predictive", figure, _caption(shown, len(everything) - len(shown)))


def _caption(shown: list[Predicted], left_out: int) -> str:
    text = (
        "Left: histogram of the probability integral transform of each reading in its posterior "
        f"predictive distribution, with the band that holds {100 * LEVEL:.0f} % of the counts of "
        "a bin if predictions are right (a hump: too wide, a trough: too narrow, a slope: biased). "
        "Right: readings on their 90 % predictive intervals, errors of readings included."
    )
    if not all(one.held_back for one in shown):
        text += " Where readings were used in the analysis, a hump is expected."
    return text + f" {left_out} further instruments are not drawn." * (left_out > 0)


def predicted(run: Run) -> list[Predicted]:
    """Every instrument whose feedback has predictive quantiles and ranks."""
    found = []
    told = {variable_name(name): one for name, one in checks(run).items()}
    for file in run.feedback:
        time = time_of(file)
        for name in field_names(file) if time is not None else ():
            if not all(f"{name}_predictive_{end}" in file for end in ENDS):
                continue
            columns = [np.asarray(file[f"{name}_predictive_{end}"].values, float) for end in ENDS]
            value = np.asarray(file[name].values, float)
            good = np.isfinite([value, *columns]).all(axis=0)
            if time is not None and good.any():
                units = str(file[name].attrs.get("units", "1"))
                held = bool(told.get(name, {}).get("held_back"))
                parts = [column[good] for column in (value, *columns)]
                found.append(Predicted(words(file[name]), units, held, time[good], *parts))
    return found


def _draw_ranks(axes: Axes, one: Predicted) -> None:
    count = one.pit.size
    bins = int(np.clip(count // 8, 4, 20))
    low, high = binomial_band(count, 1 / bins, LEVEL)
    axes.hist(one.pit, np.linspace(0, 1, bins + 1).tolist(), color=BARS, edgecolor="white",
              linewidth=0.6)  # fmt: skip
    axes.axhspan(low, high, color=style.INK, alpha=0.11, linewidth=0, label="chance, 95 %")
    axes.axhline(count / bins, color=style.INK, linewidth=0.8, linestyle="--")
    axes.set_ylim(0, 1.08 * max(high, *np.histogram(one.pit, bins, (0, 1))[0]))
    axes.set(xlim=(0, 1), xlabel="PIT", ylabel="Readings")
    axes.set_title(style.wrapped(one.label + " (held back)" * one.held_back))


def binomial_band(count: int, p: float, level: float) -> tuple[int, int]:
    """Least and most of Binomial(count, p) that leave (1 - level)/2 at most beyond each."""
    k = np.arange(count + 1)
    choose = [lgamma(count + 1) - lgamma(i + 1) - lgamma(count - i + 1) for i in k]
    below = np.cumsum(np.exp(np.array(choose) + k * np.log(p) + (count - k) * np.log1p(-p)))
    tail = (1 - level) / 2
    low, high = int(np.sum(below <= tail)), int(np.sum(below < 1 - tail))
    return low, min(high, count)


def _draw_readings(axes: Axes, one: Predicted) -> None:
    order = np.argsort(one.time.values, kind="stable")
    time = instants(one.time)[order]
    value, low, middle, high = (c[order] for c in (one.value, one.q05, one.q50, one.q95))
    apart = value.size <= APART or np.unique(time).size < time.size
    if apart:
        axes.vlines(time, low, high, color=style.ANALYSIS, alpha=0.35, linewidth=3.0,
                    label="90 % predicted")  # fmt: skip
        axes.plot(time, middle, "_", color=style.ANALYSIS, markersize=5, label="median")
    else:
        axes.fill_between(time, low, high, color=style.ANALYSIS, alpha=0.25, linewidth=0,
                          label="90 % predicted")  # fmt: skip
        axes.plot(time, middle, color=style.ANALYSIS, label="median")
    inside = (low <= value) & (value <= high)
    size = 3.2 if apart else 1.8
    axes.plot(time[inside], value[inside], "o", color=style.INK, markersize=size, label="reading")
    axes.plot(time[~inside], value[~inside], "D", color=style.REJECTED, markersize=size + 0.6,
              label="reading outside")  # fmt: skip
    if low.min() > 0 and value.min() > 0 and high.max() > DECADES * low.min():
        axes.set_yscale("log")
    axes.set_ylabel(with_units("Reading", one.units))
    axes.set_xlabel(time_label(one.time))
    axes.margins(x=0.02)
