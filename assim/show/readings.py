"""Picture of predictive checks: PIT histograms, and readings on their predictive intervals."""

from dataclasses import dataclass
from math import lgamma

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from assim.files.feedback import variable_name
from assim.show import style
from assim.show.finished import Run, field_names, instants, time_label, time_of, with_units, words
from assim.show.predictive import checks
from assim.show.style import Picture

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
