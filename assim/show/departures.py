"""Departures before and after: their distribution, and how they run with time."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from assim.show import style
from assim.show.finished import Run, instants, time_label, with_units
from assim.show.observed import Observed, observed
from assim.show.style import Picture

MOST = 6


def draw_departures(run: Run) -> Picture | None:
    """A row an observed variable: histogram, and departures against time."""
    everything = [one for one in observed(run) if one.oman is not None and one.used.any()]
    shown = everything[:MOST]
    if not shown:
        return None
    figure, axes = style.panels(2 * len(shown), 2, 2.2, top=0.3)
    for row, one in enumerate(shown):
        _draw_row(axes[2 * row], axes[2 * row + 1], one)
    style.legend(figure, axes)
    left_out = len(everything) - len(shown)
    caption = _caption(shown) + f" {left_out} further variables are not drawn." * (left_out > 0)
    return style.picture("departures", figure, caption)


def _caption(shown: list[Observed]) -> str:
    text = "Departures of the used observations from background (o − b) and analysis (o − a)"
    if any(one.scaled() for one in shown):
        text += (
            ", divided by the standard deviation of observation error where the file gives it; "
            "dotted: the standard normal density"
        )
    if any(one.logarithmic for one in shown):
        text += "; departures of the logarithm where the likelihood is log-normal"
    return text + ". Bars and triangles at the rim hold what lies beyond."


def _departures(one: Observed) -> list[tuple[str, str, np.ndarray]]:
    """Label, colour and departures, before and after."""
    looks = (("o − b", style.BACKGROUND), ("o − a", style.ANALYSIS))
    return [
        (label, colour, values)
        for (label, colour), values in zip(looks, one.departures(), strict=True)
        if values is not None
    ]


def _draw_row(left: Axes, right: Axes, one: Observed) -> None:
    both = _departures(one)
    normalised = one.scaled()
    label = (
        "Normalised departure"
        if normalised
        else with_units("Departure", "1" if one.logarithmic else one.units)
    )
    edges = _edges([values for *_, values in both], 4.0 if normalised else 0.0)
    for name, colour, values in both:
        inside = np.clip(values[np.isfinite(values)], edges[0], edges[-1])
        look: dict[str, Any] = {
            "color": colour,
            "alpha": 0.45,
            "edgecolor": "white",
            "linewidth": 0.4,
        }
        left.hist(inside, edges.tolist(), density=True, label=name, **look)
        _draw_in_time(right, instants(one.time)[one.used], values, edges[-1], colour)
    if normalised:
        grid = np.linspace(edges[0], edges[-1], 200)
        left.plot(grid, np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi), ":", color=style.INK)
    left.set(xlabel=label, ylabel="Density", title=one.label)
    right.axhline(0, color=style.INK, linewidth=0.7)
    right.set(ylabel=label, xlabel=time_label(one.time), ylim=(edges[0], edges[-1]))


def _draw_in_time(
    axes: Axes, time: np.ndarray, values: np.ndarray, most: float, colour: str
) -> None:
    """Dots; triangles at the rim for what lies beyond it."""
    axes.plot(time, values, ".", color=colour, markersize=4)
    for sign, marker in ((1, "^"), (-1, "v")):
        beyond = sign * values > most
        rim = np.full(int(beyond.sum()), 0.97 * sign * most)
        axes.plot(time[beyond], rim, marker, color=colour, markersize=4)


def _edges(values: list[np.ndarray], least: float) -> np.ndarray:
    """Edges of common bins, the same on both sides of zero.

    They follow the departures from the analysis (the last of `values`), so that a few from a bad
    background do not hide them; what lies beyond joins the last bin.
    """
    absolute = [np.abs(one[np.isfinite(one)]) for one in values]
    if not all(one.size for one in absolute):
        return np.linspace(-1, 1, 11)
    every = 1.1 * np.concatenate(absolute).max()
    most = min(every, max(least, 6 * float(np.quantile(absolute[-1], 0.9)))) or 1.0
    count = int(np.clip(np.sqrt(absolute[-1].size), 6, 20))
    return np.linspace(-most, most, 2 * count + 1)
