"""What the intervals of a cycle's analyses hold of the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assim.show import style
from assim.show.cycle.axes import MOST, burn_in_clause, draw_line, frame, lines_drawn
from assim.show.cycle.series import field_label, fields, is_scalar, series, settled, size, values
from assim.show.cycle.statistics import LONG, average
from assim.show.finished import Run
from assim.show.section import Section
from assim.show.style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEAR = 9.0  # per cent within which two numbers would hide one another


def draw_reliability(run: Run) -> Picture | None:
    """Share of the true field inside the intervals of the analysis, over time."""
    file = series(run)
    names = [name for name in fields(run) if values(run, f"{name}_inside") is not None]
    if file is None or not names:
        return None
    shown = names[:MOST]
    levels = np.asarray(file["level"].values, dtype=float)
    figure, axes = style.panels(len(shown), style.columns_over_time(len(shown)), 2.2, top=0.32)
    for name, where in zip(shown, axes, strict=True):
        _draw_inside(where, run, name, levels)
    style.legend(figure, axes)
    text = (
        "Share of the true field inside the intervals of the analysis: reliable intervals hold as "
        "much as they say (dashed), too narrow ones less, and the mean after the burn-in is at the "
        f"right; {lines_drawn(run, faint=_shows_windows(run, *shown))}{burn_in_clause(run)}."
    )
    return style.picture(figure, text + style.left_out(len(names) - len(shown), "fields"))


def _shows_windows(run: Run, *names: str) -> bool:
    """Whether single windows are drawn behind means: not where they are many, or all or nothing."""
    return size(run) <= LONG and not any(is_scalar(run, name) for name in names)


def _draw_inside(axes: Axes, run: Run, name: str, levels: np.ndarray) -> None:
    inside = values(run, f"{name}_inside")
    assert inside is not None
    means = np.array([100 * average(one) for one in inside[settled(run)].T])
    looks = (style.ANALYSIS, style.OTHERS[0], style.TRUTH, style.OTHERS[2])
    for number, level in enumerate(levels):
        colour, share = looks[number % len(looks)], 100 * inside[:, number]
        label = f"inside the {100 * level:.0f} % interval"
        draw_line(axes, run, share, label, faint=_shows_windows(run, name), color=colour)
        axes.axhline(100 * level, color=colour, linewidth=0.9, linestyle="--")
        mean = means[number]
        va = "center" if np.ptp(means) > NEAR else "top" if mean == means.min() else "bottom"
        axes.annotate(
            f"{mean:.1f} %", (1.0, mean), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", va=va, fontsize=8, color=colour,
        )  # fmt: skip
    axes.set_ylim(0, 104)
    frame(axes, run, field_label(run, name), "Share inside (%)", flags=False)
    box, wide = axes.get_position(), axes.figure.get_size_inches()[0]  # type: ignore[union-attr]
    axes.set_position((box.x0, box.y0, box.width - 0.45 / wide, box.height))


SECTION = Section("Intervals", pictures={"reliability": draw_reliability})
