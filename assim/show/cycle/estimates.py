"""Estimated parameters, scales and bias coefficients over the windows of a cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assim.show import style
from assim.show.cycle.axes import burn_in_clause, frame
from assim.show.cycle.series import burn_in, scalar_label, scalars, times, units_of, values
from assim.show.cycle.statistics import NORMAL, drawn_points
from assim.show.finished import Run, spelt_units, with_units
from assim.show.page import table, with_spread
from assim.show.section import Section
from assim.show.style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 12


def estimates(run: Run) -> list[str]:
    """The newest estimate of every scalar."""
    rows = []
    for name in scalars(run):
        value, stdev = values(run, name), values(run, f"{name}_stddev")
        assert value is not None and stdev is not None
        mean, spread = with_spread(float(value[-1]), float(stdev[-1]))
        label = scalar_label(run, name)
        title = name if label == name else f"{name}: {label}"
        rows.append((title, f"{mean} ± {spread}", spelt_units(units_of(run, name))))
    return [table(("After the newest window", "mean ± standard deviation", "units"), rows)]


def draw_estimates(run: Run) -> Picture | None:
    """Every estimated scalar over time, with ±1.96 standard deviations."""
    names = scalars(run)
    if not names:
        return None
    shown = names[:MOST]
    figure, axes = style.panels(len(shown), style.columns_over_time(len(shown)), 2.2, top=0.32)
    for name, where in zip(shown, axes, strict=True):
        _draw_estimate(where, run, name)
    style.legend(figure, axes)
    text = (
        "Estimated scalars as each window leaves them, with bands of ±1.96 standard deviations, "
        "95 % of a Gaussian: a calibrated history narrows about a value that stays inside the "
        f"earlier bands{burn_in_clause(run)}."
    )
    left_out = style.left_out(len(names) - len(shown), "scalars")
    return style.picture(figure, text + left_out)


def _draw_estimate(axes: Axes, run: Run, name: str) -> None:
    value, stdev = values(run, name), values(run, f"{name}_stddev")
    assert value is not None and stdev is not None
    place = np.append(drawn_points(value.size), value.size - 1)
    when, middle, half = times(run)[place], value[place], NORMAL * stdev[place]
    axes.fill_between(when, middle - half, middle + half, color=style.ANALYSIS, alpha=0.22,
                      linewidth=0, label="±1.96 standard deviations")  # fmt: skip
    marker = "o" if value.size <= 60 else None
    axes.plot(when, middle, color=style.ANALYSIS, marker=marker, markersize=2.5, label="estimate")
    _zoom(axes, middle - half, middle + half, when >= times(run)[min(burn_in(run), value.size - 1)])
    frame(axes, run, scalar_label(run, name), with_units(name, units_of(run, name)))


def _zoom(axes: Axes, low: np.ndarray, high: np.ndarray, after: np.ndarray) -> None:
    """Limits in which what follows the burn-in fills a third at least."""
    after = after & np.isfinite(low) & np.isfinite(high)
    if not after.any():
        return
    least, most = float(low[after].min()), float(high[after].max())
    room = most - least
    least, most = max(least - room, float(np.nanmin(low))), min(most + room, float(np.nanmax(high)))
    if most > least:
        axes.set_ylim(least - 0.04 * (most - least), most + 0.04 * (most - least))


SECTION = Section("Estimates", estimates, {"estimates": draw_estimates})
