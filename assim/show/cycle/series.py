"""Series over the windows of a cycle, lines of its manifest, and how both are drawn."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import xarray as xr

from assim.show import style
from assim.show.cycle.statistics import LONG, block_of, drawn_points, ranges, running, width_of
from assim.show.finished import Run, instants, time_label, with_units, words
from assim.show.layout import NUMBER, SPREAD, WINDOW, Entry, time_of

ANALYSED, FORECAST, USED = "analysed", "forecast", "used"
_LABEL = "root mean variance of the analysis of "


def series(run: Run) -> xr.Dataset:
    """The file of all series; empty where the directory does not have it."""
    return run.file("diagnostics")


def values(run: Run, name: str) -> np.ndarray | None:
    """One series, shape (window, …); None where it is not there, or nothing of it is known."""
    array = np.asarray(series(run).get(name, np.nan), dtype=float)
    return array if np.isfinite(array).any() else None


def units_of(run: Run, name: str) -> str:
    """Units of a series."""
    file = series(run)
    return str(file[name].attrs.get("units", "1")) if name in file else "1"


def times(run: Run) -> np.ndarray:
    """Newest time of every window."""
    return instants(time_of(series(run)))


def size(run: Run) -> int:
    """Number of finished windows."""
    return int(run.summary["windows"])


def burn_in(run: Run) -> int:
    """Windows that means leave out."""
    return int(run.summary["burn_in"])


def settled(run: Run) -> slice:
    """The windows after the burn-in; all of them where there are no others."""
    first = burn_in(run)
    return slice(first if first < size(run) else 0, None)


def statuses(run: Run) -> dict[str, int]:
    """How many windows' minimisations ended in which way, the commonest first."""
    return dict(Counter(run.summary["statuses"]).most_common())


# ---- names ---------------------------------------------------------------------------------------


def fields(run: Run) -> list[str]:
    """The fields of the state, in the order of the file."""
    return _ending(run, SPREAD)


def instruments(run: Run) -> list[str]:
    """The instruments, in the order of the file."""
    return _ending(run, NUMBER)


def scalars(run: Run) -> list[str]:
    """Estimated parameters, coefficients of bias and scales of errors."""
    return _ending(run, "_stddev")


def _ending(run: Run, end: str) -> list[str]:
    names = [name for name in map(str, series(run).data_vars) if name.endswith(end)]
    return [name.removesuffix(end) for name in names if values(run, name) is not None]


def field_label(run: Run, name: str) -> str:
    """What a field is called."""
    return words(series(run)[name + SPREAD]).removeprefix(_LABEL) or name


def is_scalar(run: Run, name: str) -> bool:
    """Whether a field seems to have one entry, so that a window's error is no mean over many."""
    inside = values(run, f"{name}_inside")
    return inside is not None and bool(np.isin(inside[np.isfinite(inside)], (0.0, 1.0)).all())


def named(name: str, label: str) -> str:
    """A name, with what it stands for where that says more."""
    return name if label == name else f"{name}: {label}"


def field_axis(run: Run, what: str, name: str) -> str:
    """`what (units)` of a field."""
    return with_units(what, units_of(run, name + SPREAD))


def instrument_units(run: Run, name: str) -> str:
    """Units of the innovations of an instrument."""
    return units_of(run, f"{name}_obs_innovation_rms")


def of_instrument(run: Run, name: str, what: str) -> np.ndarray:
    """A series of an instrument, shape (window,); NaN where nothing of it is known."""
    array = values(run, f"{name}_obs_{what}")
    return np.full(size(run), np.nan) if array is None else array


# ---- the manifest --------------------------------------------------------------------------------


def entries(run: Run) -> list[Entry]:
    """The lines of the manifest on windows; none without a manifest."""
    return [line for line in run.manifest if WINDOW in line]


def forecast(run: Run) -> np.ndarray:
    """Which windows were forecast in place of analysed."""
    mask = np.zeros(size(run), bool)
    for line in entries(run):
        if line["state"] == FORECAST and line[WINDOW] < mask.size:
            mask[line[WINDOW]] = True
    return mask


# ---- words ---------------------------------------------------------------------------------------


def after_burn_in(run: Run) -> str:
    """Which windows means are over."""
    first = burn_in(run)
    return f"After the burn-in of {first} windows" if 0 < first < size(run) else "Over all windows"


# ---- how series are drawn, however many windows there are ----------------------------------------


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
        label: of the running mean, which is what is returned.
        weights: of the windows in means.
        faint: whether single windows, or their range, are drawn.
        squared: whether means are root mean squares.
        look: colour and dashes.
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
    title = style.wrapped(title) if len(title) > 90 else title
    axes.set(title=title, xlabel=time_label(time_of(series(run))), ylabel=label)
    if when.size > 1:
        room = (when[-1] - when[0]) / 60 if width_of(when.size) == 1 else 0 * (when[-1] - when[0])
        axes.set_xlim(when[0] - room, when[-1] + room)


def fit(axes: style.Axes, bold: list[np.ndarray], faint: list[np.ndarray]) -> None:
    """Limits from zero about bold lines, on a log axis where these span decades.

    Of the single windows that are drawn faintly the wildest may leave it.
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
