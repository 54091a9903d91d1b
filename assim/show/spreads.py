"""Means and standard deviations of the trajectory by method, against those reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from assim.show import style
from assim.show.fields import SITES
from assim.show.finished import Run, instants, position, time_label, words
from assim.show.layout import field_names, time_of
from assim.show.style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 6
Moments = tuple[np.ndarray, np.ndarray]  # mean and standard deviation
WITHIN = 0.05  # of the ratio: differences that hardly matter


@dataclass(frozen=True)
class SpreadSeries:
    """One series: by method, the ratio of standard deviations and the shift of means in them."""

    title: str
    time: xr.DataArray
    reported: str
    ratio: dict[str, np.ndarray]
    shift: dict[str, np.ndarray]


def draw_methods_trajectory(run: Run) -> Picture | None:
    """A row a field, or a site of a small field; None where one method ran."""
    everything = compared(run)
    shown = everything[:MOST]
    if not shown:
        return None
    looks = looks_of(run)
    rows = 1 + len(looks) // 6
    figure, axes = style.panels(2 * len(shown), 2, 2.0, 0.1 + 0.2 * rows, left=0.62)
    for row, one in enumerate(shown):
        _draw_ratio(axes[2 * row], one, looks)
        _draw_shift(axes[2 * row + 1], one, looks)
    style.legend(figure, axes)
    left_out = style.left_out(len(everything) - len(shown), "series")
    return style.picture(figure, _caption(run) + left_out)


def _caption(run: Run) -> str:
    reported = next(method.name for method in run.methods if method.chosen)
    return (
        "Trajectory by method. Left: posterior standard deviation over that of "
        f"{reported}, the method reported; right: its mean less that of {reported}, in standard "
        f"deviations of the latter. Shaded: within {100 * WITHIN:.0f} %. A ratio well below one "
        "is an ensemble that has collapsed."
    )


def looks_of(run: Run) -> dict[str, dict[str, object]]:
    """How the line of each method is drawn: the same in every picture."""
    others = [method.name for method in run.methods if not method.chosen]
    looks = {name: {**style.look(k), "linewidth": 1.2} for k, name in enumerate(others)}
    chosen = {"color": style.ANALYSIS, "linestyle": "-", "linewidth": 2.0}
    return {method.name: chosen if method.chosen else looks[method.name] for method in run.methods}


def compared(run: Run) -> list[SpreadSeries]:
    """Every series of scalar fields and of sites of small fields; of others the mean over space."""
    chosen = next((method for method in run.methods if method.chosen), None)
    file = None if chosen is None else chosen.trajectory
    if chosen is None or file is None:
        return []
    others = {
        m.name: m.trajectory for m in run.methods if not m.chosen and m.trajectory is not None
    }
    return [
        series
        for name in field_names(file)
        if f"{name}_stddev" in file
        for series in _of_field(file, name, chosen.name, others)
    ]


def _of_field(
    file: xr.Dataset, name: str, reported: str, others: dict[str, xr.Dataset]
) -> list[SpreadSeries]:
    """The series of one field."""
    mean, stdev = _moments(file, name)
    moments = {n: _moments(other, name) for n, other in others.items() if f"{name}_stddev" in other}
    if not moments:
        return []
    return [
        _series(title, time_of(file), reported, cut((mean, stdev)),
                {n: cut(pair) for n, pair in moments.items()})
        for title, cut in _parts(file, name, mean.shape)
    ]  # fmt: skip


def _parts(
    file: xr.Dataset, name: str, shape: tuple[int, ...]
) -> list[tuple[str, Callable[[Moments], Moments]]]:
    """Titles of the series of a field, and how each is cut from its mean and deviation."""
    title = words(file[name])
    if len(shape) == 1:
        return [(title, lambda pair: pair)]
    if len(shape) == 2 and shape[1] <= SITES:
        dim = str(file[name].dims[1])
        return [
            (f"{title}, {dim} = {position(file, dim, k)}", partial(_site, k))
            for k in range(shape[1])
        ]
    centre = _moments(file, name)[0]
    return [(f"{title}, root mean square over space", partial(_over_space, centre))]


def _site(place: int, pair: Moments) -> Moments:
    return pair[0][:, place], pair[1][:, place]


def _over_space(centre: np.ndarray, pair: Moments) -> Moments:
    """Root mean squares of the shift of the mean and of standard deviations, at each time."""
    squares = (pair[0] - centre) ** 2, pair[1] ** 2
    shift, spread = (np.sqrt(one.reshape(len(one), -1).mean(axis=1)) for one in squares)
    return shift, spread


def _moments(file: xr.Dataset, name: str) -> Moments:
    """Posterior mean (the trajectory itself where it has none) and standard deviation."""
    mean = f"{name}_mean" if f"{name}_mean" in file else name
    return np.asarray(file[mean].values, float), np.asarray(file[f"{name}_stddev"].values, float)


def _series(
    title: str, time: xr.DataArray, reported: str, own: Moments, others: dict[str, Moments]
) -> SpreadSeries:
    mean, stdev = own[0], np.where(own[1] > 0, own[1], np.nan)
    return SpreadSeries(
        title,
        time,
        reported,
        {name: spread / stdev for name, (_, spread) in others.items()},
        {name: (centre - mean) / stdev for name, (centre, _) in others.items()},
    )


def _draw_ratio(axes: Axes, one: SpreadSeries, looks: dict) -> None:
    values = _draw(axes, one, one.ratio, looks, 1.0)
    top = float(values.max(initial=1.0))
    axes.set_ylim(0, min(max(1.1 * top, 1.3), 4.0))
    axes.set_ylabel("Ratio of stddev")
    axes.set_title(style.wrapped(one.title))


def _draw_shift(axes: Axes, one: SpreadSeries, looks: dict) -> None:
    values = np.abs(_draw(axes, one, one.shift, looks, 0.0))
    top = float(values.max(initial=0.0))
    reach = min(max(1.1 * top, 0.15), 4.0)
    axes.set_ylim(-reach, reach)
    axes.set_ylabel("Shift of mean / stddev")


def _draw(
    axes: Axes, one: SpreadSeries, lines: dict[str, np.ndarray], looks: dict, level: float
) -> np.ndarray:
    """Lines by method about that of the method reported; returns every finite value."""
    time = instants(one.time)
    axes.axhspan(level - WITHIN, level + WITHIN, color="#E8E8E8", linewidth=0)
    axes.axhline(level, label=f"{one.reported} (reported)", **looks[one.reported])
    for name, values in lines.items():
        axes.plot(time, values, label=name, **looks[name])
    axes.set_xlabel(time_label(one.time))
    axes.margins(x=0.01)
    everything = np.concatenate(list(lines.values()))
    return everything[np.isfinite(everything)]
