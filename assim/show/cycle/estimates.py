"""Estimated scalars over the windows of a cycle; its inflation, and what observations inform."""

from __future__ import annotations

from functools import partial

import numpy as np

from assim.show import style
from assim.show.cycle.series import (
    burn_in,
    burn_in_clause,
    draw_line,
    fit,
    frame,
    lines_drawn,
    named,
    scalars,
    series,
    times,
    units_of,
    values,
)
from assim.show.cycle.statistics import NORMAL, drawn_points
from assim.show.finished import Run, spelt_units, with_units, words
from assim.show.page import Section, number, paragraph, table, with_spread
from assim.show.style import Picture

MOST = 12


# ---- estimates -----------------------------------------------------------------------------------


def estimates(run: Run) -> list[str]:
    """The newest estimate of every scalar."""
    rows = []
    for name in scalars(run):
        mean, spread = with_spread(*(float(every[-1]) for every in _estimated(run, name)))
        title = named(name, words(series(run)[name]))
        rows.append((title, f"{mean} ± {spread}", spelt_units(units_of(run, name))))
    return [table(("After the newest window", "mean ± standard deviation", "units"), rows)]


def _estimated(run: Run, name: str) -> tuple[np.ndarray, np.ndarray]:
    value, stdev = values(run, name), values(run, f"{name}_stddev")
    assert value is not None and stdev is not None
    return value, stdev


def draw_estimates(run: Run) -> Picture | None:
    """Every estimated scalar over time, with ±1.96 standard deviations."""
    text = (
        "Estimated scalars as each window leaves them, with bands of ±1.96 standard deviations, "
        "95 % of a Gaussian: a calibrated history narrows about a value that stays inside the "
        f"earlier bands{burn_in_clause(run)}."
    )
    draw = partial(_draw_estimate, run)
    return style.draw_each(scalars(run), MOST, draw, text, "scalars", 2.2, top=0.32)


def _draw_estimate(run: Run, axes: style.Axes, name: str) -> None:
    value, stdev = _estimated(run, name)
    place = np.append(drawn_points(value.size), value.size - 1)
    when, middle, half = times(run)[place], value[place], NORMAL * stdev[place]
    style.band(axes, when, middle - half, middle + half, 0.22, "±1.96 standard deviations")
    marker = "o" if value.size <= 60 else None
    axes.plot(when, middle, color=style.ANALYSIS, marker=marker, markersize=2.5, label="estimate")
    _zoom(axes, middle - half, middle + half, when >= times(run)[min(burn_in(run), value.size - 1)])
    frame(axes, run, words(series(run)[name]), with_units(name, units_of(run, name)))


def _zoom(axes: style.Axes, low: np.ndarray, high: np.ndarray, after: np.ndarray) -> None:
    """Limits in which what follows the burn-in fills a third at least."""
    after = after & np.isfinite(low) & np.isfinite(high)
    if not after.any():
        return
    least, most = float(low[after].min()), float(high[after].max())
    room = most - least
    least, most = max(least - room, float(np.nanmin(low))), min(most + room, float(np.nanmax(high)))
    if most > least:
        axes.set_ylim(least - 0.04 * (most - least), most + 0.04 * (most - least))


# ---- inflation and information -------------------------------------------------------------------


PANELS = {  # title, label of the axis, words
    "inflation": (
        "Inflation",
        "Factor on standard deviations",
        "the factor on the standard deviations that a window takes over from the one before",
    ),
    "signal": (
        "Information from the observations",
        "DOF for signal",
        "degrees of freedom for signal, how many numbers the observations of a window determine "
        "that the background did not",
    ),
}
CONSTANT = 1e-6  # relative range below which a series does not vary


def inflation(run: Run) -> list[str]:
    """The inflation where it is the same in all windows, which no picture shows."""
    factor = values(run, "inflation")
    if factor is None or _varies(factor):
        return []
    return [paragraph(f"The inflation of all windows is {number(float(np.nanmax(factor)))}.")]


def draw_inflation(run: Run) -> Picture | None:
    """Inflation of the background where it varies, and degrees of freedom for signal."""
    factors = {name: values(run, name) for name in PANELS}
    shown = {name: f for name, f in factors.items() if f is not None and _varies(f)}
    if not shown:
        return None
    figure, axes = style.panels(len(shown), len(shown), 2.3)
    for (name, factor), where in zip(shown.items(), axes, strict=True):
        title, label, _ = PANELS[name]
        line = draw_line(where, run, factor, label, color=style.ANALYSIS)
        if name == "signal":
            fit(where, [line], [factor])
        frame(where, run, title, label, flags=False)
    what = "; ".join(PANELS[name][2] for name in shown)
    return style.picture(figure, f"{what[0].upper()}{what[1:]}; {lines_drawn(run)}.")


def _varies(values: np.ndarray) -> bool:
    good = values[np.isfinite(values)]
    return bool(good.size and np.ptp(good) > CONSTANT * max(np.abs(good).max(), 1e-300))


ESTIMATES = Section("Estimates", estimates, {"estimates": draw_estimates})
INFLATION = Section("Inflation and information", inflation, {"inflation": draw_inflation})
