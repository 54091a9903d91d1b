"""Influence of each observation on the analysis, and its impact on a forecast."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from assim.show import style
from assim.show.finished import Run, field_names, instants, time_label, time_of, words
from assim.show.style import Picture

MOST = 3
TELLING = 0.5  # influence above which a value is mostly what makes its own analysis

Column = tuple[str, xr.DataArray, np.ndarray, str, str]  # title, time, values, label, colour


def draw_influence(run: Run) -> Picture | None:
    """Influence (where a value has more than half) and impact, a row a variable."""
    everything = _columns(run)
    shown = everything[: 2 * MOST]
    if not shown:
        return None
    figure, axes = style.panels(len(shown), 2 if len(shown) > 1 else 1, 2.1)
    for (title, time, values, label, colour), where in zip(shown, axes, strict=True):
        where.set_title(title)
        _draw(where, time, values, label, colour)
    caption = (
        "Influence of each observation on what the analysis says of it, from 0 (it follows the "
        "rest) to 1 (it follows this value alone). Above one half a value is hardly checked by "
        "others."
    )
    if any(label == "Impact" for _, _, _, label, _ in shown):
        caption += " Impact of each observation on the measure of the forecast: below 0 it helped."
    if (left_out := len(everything) - len(shown)) > 0:
        caption += f" {left_out} further panels are not drawn."
    return style.picture("influence", figure, caption)


def _columns(run: Run) -> list[Column]:
    found: list[Column] = []
    for file in run.feedback:
        time = time_of(file)
        if time is None:
            continue
        for name in field_names(file):
            influence, impact = (file.get(f"{name}_{end}") for end in ("influence", "impact"))
            if influence is not None and float(influence.max()) > TELLING:
                values = np.asarray(influence.values)
                found.append((words(file[name]), time, values, "Influence", style.ANALYSIS))
            if impact is not None:
                values = np.asarray(impact.values)
                found.append((words(file[name]), time, values, "Impact", style.TRUTH))
    return found


def _draw(axes: Axes, time: xr.DataArray, values: np.ndarray, label: str, colour: str) -> None:
    good = np.isfinite(values)
    axes.plot(instants(time)[good], values[good], "o", color=colour, markersize=3)
    axes.axhline(0, color=style.INK, linewidth=0.7)
    if label == "Influence":
        axes.axhline(TELLING, color=style.BACKGROUND, linewidth=0.8, linestyle="--")
        low, high = float(values[good].min()), float(values[good].max())
        axes.set_ylim(min(0.0, low) - 0.03, max(1.0, high) + 0.03)  # outside [0, 1] by correlated R
    axes.set_ylabel(label)
    axes.set_xlabel(time_label(time))
