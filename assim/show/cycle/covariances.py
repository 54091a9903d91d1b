"""Whether the covariances of a cycle are right: 2J/m, and Desroziers' estimates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assim.show import style
from assim.show.cycle.axes import (
    BAND,
    MOST,
    STATED,
    burn_in_clause,
    draw_line,
    fit,
    frame,
    lines_drawn,
)
from assim.show.cycle.series import (
    instrument_units,
    instruments,
    of_instrument,
    settled,
    times,
    values,
)
from assim.show.cycle.statistics import drawn_points, root, running, totals, width_of
from assim.show.finished import Run, with_units
from assim.show.section import Section
from assim.show.style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# ---- chi-squared ---------------------------------------------------------------------------------


def draw_chi_squared(run: Run) -> Picture | None:
    """2J/m of every window, with the band in which it is expected."""
    ratio, number = values(run, "chi_squared"), values(run, "number")
    if ratio is None or number is None:
        return None
    figure, (axes,) = style.panels(1, 1, 2.5, top=0.32)
    half = _draw_expected(axes, run, number)
    line = draw_line(axes, run, ratio, "2J/m", number, color=style.ANALYSIS)
    fit(axes, [line, 1 + half], [ratio])
    frame(axes, run, "Twice the cost by the number m of observations", "2J/m")
    style.legend(figure, [axes])
    after = settled(run)
    good = np.isfinite(ratio[after])
    outside = np.abs(ratio[after] - 1)[good] > half[after][good]
    share = 100 * float(np.mean(outside)) if good.any() else 0.0
    text = (
        "2J/m of every window, whose mean is 1 where all covariances are right, larger where they "
        f"are too small and smaller where too large; {share:.1f} % of windows after the burn-in "
        "lie outside the band, of which about 5 % are expected there; "
        f"{lines_drawn(run)}{burn_in_clause(run)}."
    )
    return style.picture(figure, text)


def _draw_expected(axes: Axes, run: Run, number: np.ndarray) -> np.ndarray:
    """The bands of single windows and of their running mean; half the width of the former."""
    when, width, every = times(run), width_of(number.size), np.arange(number.size)
    there = number > 0
    filled = np.interp(every, every[there], number[there])  # as where a window has observations
    half: np.ndarray = 2 * np.sqrt(2 / filled)
    total = totals(filled, width)
    place = drawn_points(number.size)
    both = [(half, BAND, "expected of a window, 1 ± 2√(2/m)")]
    if width > 1:
        look = {**BAND, "alpha": 0.45}
        both.append((2 * np.sqrt(2 / total), look, f"of the mean over {width} windows"))
    for one, look, label in both:
        low, high = np.maximum(1 - one, 0)[place], (1 + one)[place]
        axes.fill_between(when[place], low, high, **look, label=label)
    axes.axhline(1, color=style.INK, linewidth=0.8)
    return half


# ---- Desroziers ----------------------------------------------------------------------------------


def draw_desroziers(run: Run) -> Picture | None:
    """Standard deviations that departures imply against those stated, of every instrument."""
    names = [
        name
        for name in instruments(run)
        if np.any(np.isfinite(of_instrument(run, name, "error_variance_ratio")))
    ]
    if not names:
        return None
    shown = names[:MOST]
    figure, axes = style.panels(2 * len(shown), 2, 2.35, top=0.32)
    for row, name in enumerate(shown):
        _draw_sigmas(axes[2 * row], axes[2 * row + 1], run, name)
    style.legend(figure, axes)
    width = width_of(len(times(run)))
    text = (
        "Standard deviations of the errors of observations (left) and of the background at the "
        "observations (right) as departures imply them (Desroziers et al. 2005) and as stated: "
        "where the solid line lies above the dashed one, the error is understated"
    )
    text += f"; lines are means of variances over {width} windows" * (width > 1)
    text += f", with gaps where they are negative{burn_in_clause(run)}."
    return style.picture(figure, text + style.left_out(len(names) - len(shown), "instruments"))


def _draw_sigmas(left: Axes, right: Axes, run: Run, name: str) -> None:
    units, number = instrument_units(run, name), of_instrument(run, name, "number")
    when, width = times(run), width_of(number.size)
    place = drawn_points(number.size)
    pairs = (
        (left, "Error of observations", "error"),
        (right, "Error of the background", "background"),
    )
    for axes, title, key in pairs:
        stated = of_instrument(run, name, f"stated_{key}") ** 2
        variance = of_instrument(run, name, f"{key}_variance_ratio") * stated
        implied = root(running(variance, width, number))[place]
        given = root(running(stated, width, number))[place]
        axes.plot(when[place], implied, color=style.ANALYSIS, label="as departures imply")
        axes.plot(when[place], given, label="as stated", **STATED)
        fit(axes, [implied, given], [])
        frame(axes, run, f"{title}, {name}", with_units("Standard deviation", units), flags=False)


SECTION = Section(
    "Covariances", pictures={"chi_squared": draw_chi_squared, "desroziers": draw_desroziers}
)
