"""How a series over the windows of a cycle is drawn, however many windows there are."""

from __future__ import annotations

from typing import Any

import numpy as np

from assim.show import style
from assim.show.cycle.series import burn_in, forecast, size, times, times_label
from assim.show.cycle.statistics import LONG, block_of, drawn_points, ranges, running, width_of
from assim.show.finished import Run

FAINT = 0.4
DECADE = 30.0  # a ratio of largest to smallest beyond which an axis is logarithmic
MOST = 6  # fields, or instruments, that are drawn
STATED: dict[str, Any] = {"color": style.INK, "linestyle": (0, (4, 1.6)), "linewidth": 1.1}
BAND: dict[str, Any] = {"color": style.BACKGROUND, "alpha": 0.28}


def draw_line(
    axes: style.Axes,
    run: Run,
    values: np.ndarray,
    label: str,
    weights: np.ndarray | None = None,
    faint: bool = True,
    squared: bool = False,
    **look: Any,
) -> np.ndarray:
    """Single windows faintly and their running mean; of a long series, stretches and their range.

    Args:
        axes: where to draw.
        run: the run.
        values: of every window.
        label: of the running mean.
        weights: of the windows in means.
        faint: whether single windows, or their range, are drawn.
        squared: whether means are root mean squares.
        look: colour and dashes.

    Returns:
        What the bold line shows.
    """
    when, width, colour = times(run), width_of(values.size), look["color"]
    mean: np.ndarray = running(values**2 if squared else values, width, weights)
    mean = np.asarray(np.sqrt(mean) if squared else mean)
    if values.size > LONG:
        place = drawn_points(values.size)
        when, mean = when[place], mean[place]
        if faint:
            low, high = ranges(values)
            style.band(axes, when, low, high, 0.22, color=colour)
    elif width == 1:
        look |= {"marker": "o", "markersize": 3}
    else:
        look = {"linewidth": 1.7, **look}
        if faint:
            axes.plot(when, values, color=colour, linewidth=0.7, alpha=FAINT)
    axes.plot(when, mean, label=label, **look)
    return mean


def lines_drawn(run: Run, mean: str = "means", faint: bool = True) -> str:
    """Clauses of a caption: what lines and shades are, and where the burn-in is if there is one."""
    number, width = size(run), width_of(size(run))
    if width > 1 and not faint:
        text = f"lines are running {mean} over {width} windows"
    elif number > LONG:
        text = (
            f"lines are running {mean} over {width} windows and shades hold 80 % of every "
            f"{block_of(number)} windows"
        )
    elif width == 1:
        text = "dots are windows"
    else:
        text = f"faint lines are single windows, bold ones running {mean} over {width}"
    return text + burn_in_clause(run)


def burn_in_clause(run: Run) -> str:
    """A clause of a caption on the burn-in; empty without one."""
    return "; grey: burn-in" * (0 < burn_in(run) < size(run))


def frame(axes: style.Axes, run: Run, title: str, label: str, flags: bool = True) -> None:
    """Title, labels, burn-in and forecast windows of a panel over time."""
    when, first, missed = times(run), burn_in(run), forecast(run)
    if 0 < first < when.size:
        axes.axvspan(when[0], when[first], color=style.INK, alpha=0.08, linewidth=0, zorder=0)
    if flags and missed.any():
        axes.plot(
            when[missed], np.full(int(missed.sum()), 0.02), "|", color=style.REJECTED, markersize=7,
            markeredgewidth=1.1, transform=axes.get_xaxis_transform(), clip_on=False,
            label="forecast window",
        )  # fmt: skip
    axes.set_title(style.wrapped(title) if len(title) > 90 else title)
    axes.set_ylabel(label)
    axes.set_xlabel(times_label(run))
    if when.size > 1:
        room = (when[-1] - when[0]) / 60 if width_of(when.size) == 1 else 0 * (when[-1] - when[0])
        axes.set_xlim(when[0] - room, when[-1] + room)


def fit(axes: style.Axes, bold: list[np.ndarray], faint: list[np.ndarray]) -> None:
    """Limits from zero; a logarithmic axis where bold lines span decades.

    Args:
        axes: whose limits to set.
        bold: lines that must be in view.
        faint: single windows, the wildest of which may leave it.
    """
    good, single = _positive(bold), _positive(faint)
    if not good.size:
        return
    if good.max() > DECADE * good.min():
        style.log_scale(axes.yaxis, good.min(), good.max())
        return
    most = float(np.quantile(single, 0.95)) if single.size else 0.0
    axes.set_ylim(0, 1.08 * max(float(good.max()), most))


def _positive(lines: list[np.ndarray]) -> np.ndarray:
    every: np.ndarray = np.concatenate([*lines, np.zeros(0)])
    return np.asarray(every[np.isfinite(every) & (every > 0)])
