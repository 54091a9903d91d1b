"""Observations: how many were used, and departures before and after the analysis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from assim.files.names import FLAGS
from assim.show import style
from assim.show.finished import Run, instants, time_label, with_units
from assim.show.layout import Entry
from assim.show.observed import Observed, observed
from assim.show.page import Section, paragraph, table
from assim.show.style import Picture

MOST = 6


def observations(run: Run) -> list[str]:
    """How many observations of every instrument were used, and why others were not."""
    counts = {name: _counts(about) for name, about in run.summary["observations"].items()}
    flags = list(dict.fromkeys(flag for about in counts.values() for flag in about))
    rows = [(name, *(about.get(flag, 0) for flag in flags)) for name, about in counts.items()]
    codes = {name.replace("_", " "): code for code, name in FLAGS.items()}
    header = (f"{flag} ({codes[flag]})" if flag in codes else flag for flag in flags)
    rejected = any(flag in codes for flag in flags)
    text = "Numbers in brackets are the flags of rejected values in feedback.nc."
    return [table(("", *header), rows), paragraph(text, "soft") if rejected else ""]


def _counts(about: Entry) -> dict[str, int]:
    """Numbers of values by what became of them."""
    held_back = {"held_back": about["held_back"]} if "held_back" in about else {}
    counts = {"used": about["used"], **about["rejected"], **held_back}
    return {name.replace("_", " "): count for name, count in counts.items()}


def draw_departures(run: Run) -> Picture | None:
    """A row an observed variable: histogram, and departures against time."""
    everything = [variable for variable in observed(run) if variable.used.any()]
    return style.draw_each(everything, MOST, _draw_row, _caption, "variables", 2.2, each=2)


def _caption(shown: Sequence[Observed]) -> str:
    text = "Departures of the used observations from background (o − b) and analysis (o − a)"
    if any(variable.scaled() for variable in shown):
        text += (
            ", divided by the standard deviation of observation error where the file gives it; "
            "dotted: the standard normal density"
        )
    if any(variable.logarithmic for variable in shown):
        text += "; departures of the logarithm where the likelihood is log-normal"
    return text + ". Bars and triangles at the rim hold what lies beyond."


def _draw_row(left: style.Axes, right: style.Axes, variable: Observed) -> None:
    both = variable.departures()
    label, least = "Normalised departure", 4.0
    if not variable.scaled():
        units = "1" if variable.logarithmic else variable.units
        label, least = with_units("Departure", units), 0.0
    edges = _edges(both, least)
    time = instants(variable.time)[variable.used]
    looks = (("o − b", style.BACKGROUND), ("o − a", style.ANALYSIS))
    for (name, colour), values in zip(looks, both, strict=True):
        inside = np.clip(values[np.isfinite(values)], edges[0], edges[-1])
        look: dict[str, Any] = {"alpha": 0.45, "edgecolor": "white", "linewidth": 0.4}
        left.hist(inside, edges.tolist(), density=True, label=name, color=colour, **look)
        _draw_in_time(right, time, values, edges[-1], colour)
    if variable.scaled():
        grid = np.linspace(edges[0], edges[-1], 200)
        left.plot(grid, np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi), ":", color=style.INK)
    left.set(xlabel=label, ylabel="Density", title=variable.label)
    right.axhline(0, color=style.INK, linewidth=0.7)
    right.set(ylabel=label, xlabel=time_label(variable.time), ylim=(edges[0], edges[-1]))


def _draw_in_time(
    axes: style.Axes, time: np.ndarray, values: np.ndarray, most: float, colour: str
) -> None:
    """Dots; triangles at the rim for what lies beyond it."""
    axes.plot(time, values, ".", color=colour, markersize=4)
    for sign, marker in ((1, "^"), (-1, "v")):
        beyond = sign * values > most
        rim = np.full(int(beyond.sum()), 0.97 * sign * most)
        axes.plot(time[beyond], rim, marker, color=colour, markersize=4)


def _edges(values: Sequence[np.ndarray], least: float) -> np.ndarray:
    """Edges of common bins, the same on both sides of zero.

    They follow the departures from the analysis (the last of `values`), so that a few from a bad
    background do not hide them; what lies beyond joins the last bin.
    """
    absolute = [np.abs(some[np.isfinite(some)]) for some in values]
    if not all(some.size for some in absolute):
        return np.linspace(-1, 1, 11)
    every = 1.1 * np.concatenate(absolute).max()
    most = min(every, max(least, 6 * float(np.quantile(absolute[-1], 0.9)))) or 1.0
    count = int(np.clip(np.sqrt(absolute[-1].size), 6, 20))
    return np.linspace(-most, most, 2 * count + 1)


OBSERVATIONS = Section(
    "Observations",
    observations,
    {"departures": draw_departures},
    "the directory holds no feedback.nc with observations and departures.",
)
