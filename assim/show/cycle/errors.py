"""Errors and spreads of a cycle: over time, against each other, and what intervals hold."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from assim.show import style
from assim.show.cycle.axes import (
    MOST,
    burn_in_clause,
    columns_of,
    draw_line,
    fit,
    frame,
    lines_drawn,
)
from assim.show.cycle.series import (
    field_axis,
    field_label,
    fields,
    is_scalar,
    series,
    settled,
    size,
    values,
)
from assim.show.cycle.statistics import LONG, Bins, average, spread_and_skill
from assim.show.finished import Run
from assim.show.style import Picture

COLOURS = {"background": style.BACKGROUND, "analysis": style.ANALYSIS}
SPREAD_DASH = (0, (4, 1.6))
WIDEST = 3  # fields whose spread is drawn against skill
NEAR = 9.0  # per cent within which two numbers would hide one another
SCATTER = 1500  # windows of a scatter: more hide one another


# ---- over time -----------------------------------------------------------------------------------


def draw_errors(run: Run) -> Picture | None:
    """Root mean square error and spread of every field over time."""
    names = fields(run)
    if not names:
        return None
    shown = names[:MOST]
    figure, axes = style.panels(len(shown), columns_of(len(shown)), 2.5, top=0.32)
    known = [_draw_errors(where, run, name) for name, where in zip(shown, axes, strict=True)]
    style.legend(figure, axes)
    several = not any(is_scalar(run, name) for name in shown)
    what = "Root mean square error (solid) and spread, the root mean variance (dashed)," if any(
        known) else "Spread, the root mean variance,"  # fmt: skip
    text = f"{what} of background and analysis at the newest observations of every window: "
    text += "in a calibrated cycle solid and dashed lines of one colour agree, and " * any(known)
    text += lines_drawn(run, "root mean squares", several) + burn_in_clause(run) + "."
    return style.picture("errors", figure, text + _left_out(len(names) - len(shown), "fields"))


def _draw_errors(axes: Axes, run: Run, name: str) -> bool:
    bold: list[np.ndarray] = []
    faint: list[np.ndarray] = []
    look: dict[str, Any]
    known, single = False, not is_scalar(run, name)
    for kind, colour in COLOURS.items():
        error, spread = (values(run, f"{name}_{what}_{kind}") for what in ("rmse", "spread"))
        if error is not None:
            known = True
            look = {"faint": single, "squared": True, "color": colour}
            bold.append(draw_line(axes, run, error, f"RMSE of {kind}", **look))
            faint += [error] * single
        if spread is not None:
            look = {"faint": not known, "squared": True, "color": colour}
            look["linestyle"] = SPREAD_DASH
            bold.append(draw_line(axes, run, spread, f"spread of {kind}", **look))
    fit(axes, bold, faint)
    what = "RMSE and spread" if known else "Spread"
    frame(axes, run, field_label(run, name), field_axis(run, what, name))
    return known


def _left_out(number: int, what: str) -> str:
    return f" {number} further {what} are not drawn." * (number > 0)


# ---- spread against skill ------------------------------------------------------------------------


def draw_spread_skill(run: Run) -> Picture | None:
    """Mean square error against mean variance, of windows in bins of like variance."""
    names = [name for name in fields(run) if values(run, f"{name}_rmse_analysis") is not None]
    if not names:
        return None
    shown = names[:WIDEST]
    columns = max(len(shown), 2)
    figure, axes = style.panels(2 * len(shown), columns, style.WIDTH / columns, top=0.32)
    pairs = [(name, kind) for kind in COLOURS for name in shown]
    for (name, kind), where in zip(pairs, axes, strict=True):
        _draw_skill(where, run, name, kind, len(shown) < 3)
    style.legend(figure, axes)
    text = (
        "Root mean square error against spread: dots are windows after the burn-in, circles bins "
        "of equally many windows of like spread (roots of mean square error and mean variance; "
        "bars: 95 % intervals as if windows were independent), which lie on the line where the "
        "spread tells the error and above it where the spread is too small."
    )
    return style.picture(
        "spread_skill", figure, text + _left_out(len(names) - len(shown), "fields")
    )


def _draw_skill(axes: Axes, run: Run, name: str, kind: str, wide: bool) -> None:
    error, spread = (values(run, f"{name}_{what}_{kind}") for what in ("rmse", "spread"))
    if error is None or spread is None:
        return axes.set_axis_off()
    error, spread = error[settled(run)], spread[settled(run)]
    good = np.isfinite(spread) & np.isfinite(error) & (spread > 0) & (error > 0)
    if not good.any():
        return axes.set_axis_off()
    found = spread_and_skill(spread, error)
    step = -(-spread.size // SCATTER)
    few = spread.size < 200
    axes.plot(
        spread[::step], error[::step], "o", color=COLOURS[kind], alpha=0.45 if few else 0.3,
        markersize=3 if few else 1.6, markeredgewidth=0,
    )  # fmt: skip
    _draw_bins(axes, found, kind)
    ends = [*found.error, *found.spread, *np.quantile(error[good], (0.02, 1))]
    ends += [spread[good].min(), spread[good].max()]
    _frame_skill(axes, run, name, kind, np.array(ends))
    axes.set_title(f"{field_label(run, name) if wide else name}, {kind}")


def _draw_bins(axes: Axes, found: Bins, kind: str) -> None:
    bars = np.stack([found.error - found.low, found.high - found.error])
    axes.errorbar(
        found.spread, found.error, yerr=bars, fmt="o", color=COLOURS[kind], markersize=5,
        markeredgecolor="white", markeredgewidth=0.6, elinewidth=1, zorder=4, label=kind,
    )  # fmt: skip


def _frame_skill(axes: Axes, run: Run, name: str, kind: str, ends: np.ndarray) -> None:
    ends = ends[np.isfinite(ends) & (ends > 0)]
    low, high = (ends.min(), ends.max()) if ends.size else (0.1, 1.0)
    low, high = max(low, 1e-6 * high) / 1.12, high * 1.12
    for axis in (axes.xaxis, axes.yaxis):
        style.log_scale(axis, low, high, margin=1.0)
    axes.plot([low, high], [low, high], color=style.INK, linewidth=0.8, linestyle="--", zorder=1,
              label="error = spread")  # fmt: skip
    axes.set_xlabel(field_axis(run, f"Spread of {kind}", name))
    axes.set_ylabel(field_axis(run, f"RMSE of {kind}", name))


# ---- intervals -----------------------------------------------------------------------------------


def draw_reliability(run: Run) -> Picture | None:
    """Share of the true field inside the intervals of the analysis, over time."""
    file = series(run)
    names = [name for name in fields(run) if values(run, f"{name}_inside") is not None]
    if file is None or "level" not in file.variables or not names:
        return None
    shown = names[:MOST]
    levels = np.asarray(file["level"].values, dtype=float)
    figure, axes = style.panels(len(shown), columns_of(len(shown)), 2.2, top=0.32)
    for name, where in zip(shown, axes, strict=True):
        _draw_inside(where, run, name, levels)
    style.legend(figure, axes)
    text = (
        "Share of the true field inside the intervals of the analysis: reliable intervals hold as "
        "much as they say (dashed), too narrow ones less, and the mean after the burn-in is at the "
        f"right; {lines_drawn(run, faint=_shows_windows(run, *shown))}{burn_in_clause(run)}."
    )
    return style.picture("reliability", figure, text + _left_out(len(names) - len(shown), "fields"))


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
