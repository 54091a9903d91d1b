"""Errors, spreads and intervals of a cycle: over time, and against each other and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from assim.show import style
from assim.show.cycle.series import (
    MOST,
    after_burn_in,
    draw_line,
    field_axis,
    field_label,
    fields,
    fit,
    frame,
    is_scalar,
    lines_drawn,
    named,
    series,
    settled,
    size,
    units_of,
    values,
)
from assim.show.cycle.statistics import LONG, Bins, average, spread_and_skill
from assim.show.finished import Run, spelt_units
from assim.show.layout import KINDS
from assim.show.page import Section, number, paragraph, table
from assim.show.style import Picture

COLOURS = {"background": style.BACKGROUND, "analysis": style.ANALYSIS}
SPREAD_DASH = (0, (4, 1.6))
WIDEST = 3  # fields whose spread is drawn against skill
NEAR = 9.0  # per cent within which two numbers would hide one another
SCATTER = 1500  # windows of a scatter: more hide one another


# ---- means ---------------------------------------------------------------------------------------


def errors(run: Run) -> list[str]:
    """Mean RMSE and spread of every field, and how many times the error the spread is."""
    rows = [row for name in fields(run) for kind in KINDS if (row := _error(run, name, kind))]
    if not rows:
        return []
    windows = after_burn_in(run)
    header = (
        f"Means {windows[0].lower()}{windows[1:]}",
        "",
        "RMSE",
        "spread",
        "spread / error",
        "units",
    )
    text = (
        "Background and analysis are those at the newest observations of a window, the smoother "
        "is the analysis at its start. Spread / error: the root of the mean variance by the root "
        "of the mean square error, 1 in a calibrated cycle."
    )
    shown: Sequence[int] = range(len(header))
    if all(row[2] == "–" for row in rows):
        shown = (0, 1, 3, 5)
        text = text[: text.index(" Spread /")] + " Errors are left out, as no truth is known."
    chosen = [[row[k] for k in shown] for row in (header, *rows)]
    return [table(chosen[0], chosen[1:]), paragraph(text, "soft")]


def _error(run: Run, name: str, kind: str) -> tuple[str, ...]:
    """A row of one field and kind; empty where the files do not have it."""
    spread, error = (values(run, f"{name}_{what}_{kind}") for what in ("spread", "rmse"))
    if spread is None:
        return ()
    spread, mean, ratio = spread[settled(run)], None, None
    if error is not None:
        error = error[settled(run)]
        mean, square = average(error), average(error**2)
        ratio = float(np.sqrt(average(spread**2) / square)) if square > 0 else None
    units = spelt_units(units_of(run, f"{name}_spread_{kind}"))
    title = named(name, field_label(run, name))
    return title, kind, number(mean, 3), number(average(spread), 3), number(ratio, 3), units


# ---- over time -----------------------------------------------------------------------------------


def draw_errors(run: Run) -> Picture | None:
    """Root mean square error and spread of every field over time."""

    def caption(shown: Sequence[str]) -> str:
        several = not any(is_scalar(run, name) for name in shown)
        known = any(values(run, f"{n}_rmse_{kind}") is not None for n in shown for kind in COLOURS)
        what = "Spread, the root mean variance,"
        if known:
            what = "Root mean square error (solid) and spread, the root mean variance (dashed),"
        text = f"{what} of background and analysis at the newest observations of every window: "
        text += "in a calibrated cycle solid and dashed lines of one colour agree, and " * known
        return text + lines_drawn(run, "root mean squares", several) + "."

    draw = partial(_draw_errors, run)
    return style.draw_each(fields(run), MOST, draw, caption, "fields", 2.5, top=0.32)


def _draw_errors(run: Run, axes: style.Axes, name: str) -> None:
    bold: list[np.ndarray] = []
    faint: list[np.ndarray] = []
    known, single = False, not is_scalar(run, name)
    for kind, colour in COLOURS.items():
        error, spread = (values(run, f"{name}_{what}_{kind}") for what in ("rmse", "spread"))
        look: dict[str, Any] = {"squared": True, "color": colour}
        if error is not None:
            known = True
            bold.append(draw_line(axes, run, error, f"RMSE of {kind}", faint=single, **look))
            faint += [error] * single
        if spread is not None:
            look |= {"faint": not known, "linestyle": SPREAD_DASH}
            bold.append(draw_line(axes, run, spread, f"spread of {kind}", **look))
    fit(axes, bold, faint)
    what = "RMSE and spread" if known else "Spread"
    frame(axes, run, field_label(run, name), field_axis(run, what, name))


# ---- spread against skill ------------------------------------------------------------------------


def draw_spread_skill(run: Run) -> Picture | None:
    """Mean square error against mean variance, of windows in bins of like variance."""
    names = [name for name in fields(run) if values(run, f"{name}_rmse_analysis") is not None]
    shown = names[:WIDEST]
    pairs = [(name, kind) for kind in COLOURS for name in shown]
    columns = max(len(shown), 2)
    text = (
        "Root mean square error against spread: dots are windows after the burn-in, circles bins "
        "of equally many windows of like spread (roots of mean square error and mean variance; "
        "bars: 95 % intervals as if windows were independent), which lie on the line where the "
        "spread equals the error and above it where the spread is too small."
    )
    text += style.left_out(len(names) - len(shown), "fields")
    draw, side = partial(_draw_skill, run, len(shown) < 3), style.WIDTH / columns
    return style.draw_each(pairs, len(pairs), draw, text, "", side, columns, top=0.32)


def _draw_skill(run: Run, wide: bool, axes: style.Axes, pair: tuple[str, str]) -> None:
    name, kind = pair
    error, spread = (values(run, f"{name}_{what}_{kind}") for what in ("rmse", "spread"))
    if error is None or spread is None:
        return axes.set_axis_off()
    error, spread = error[settled(run)], spread[settled(run)]
    good = np.isfinite(spread) & np.isfinite(error) & (spread > 0) & (error > 0)
    if not good.any():
        return axes.set_axis_off()
    bins = spread_and_skill(spread, error)
    step = -(-spread.size // SCATTER)
    few = spread.size < 200
    axes.plot(
        spread[::step], error[::step], "o", color=COLOURS[kind], alpha=0.45 if few else 0.3,
        markersize=3 if few else 1.6, markeredgewidth=0,
    )  # fmt: skip
    _draw_bins(axes, bins, kind)
    ends = [*bins.error, *bins.spread, *np.quantile(error[good], (0.02, 1))]
    ends += [spread[good].min(), spread[good].max()]
    _frame_skill(axes, run, name, kind, np.array(ends))
    axes.set_title(f"{field_label(run, name) if wide else name}, {kind}")


def _draw_bins(axes: style.Axes, bins: Bins, kind: str) -> None:
    bars = np.stack([bins.error - bins.low, bins.high - bins.error])
    axes.errorbar(
        bins.spread, bins.error, yerr=bars, fmt="o", color=COLOURS[kind], markersize=5,
        markeredgecolor="white", markeredgewidth=0.6, elinewidth=1, zorder=4, label=kind,
    )  # fmt: skip


def _frame_skill(axes: style.Axes, run: Run, name: str, kind: str, ends: np.ndarray) -> None:
    ends = ends[np.isfinite(ends) & (ends > 0)]
    low, high = (ends.min(), ends.max()) if ends.size else (0.1, 1.0)
    low, high = max(low, 1e-6 * high) / 1.12, high * 1.12
    for axis in (axes.xaxis, axes.yaxis):
        style.log_scale(axis, low, high, margin=1.0)
    axes.plot([low, high], [low, high], color=style.INK, linewidth=0.8, linestyle="--", zorder=1,
              label="error = spread")  # fmt: skip
    labels = [field_axis(run, f"{what} of {kind}", name) for what in ("Spread", "RMSE")]
    axes.set(xlabel=labels[0], ylabel=labels[1])


# ---- intervals -----------------------------------------------------------------------------------


def draw_reliability(run: Run) -> Picture | None:
    """Share of the true field inside the intervals of the analysis, over time."""
    names = [name for name in fields(run) if values(run, f"{name}_inside") is not None]
    faint = _shows_windows(run, *names[:MOST])
    text = (
        "Share of the true field inside the intervals of the analysis: reliable intervals hold as "
        "much as they say (dashed), too narrow ones less, and the mean after the burn-in is at the "
        f"right; {lines_drawn(run, faint=faint)}."
    )
    draw = partial(_draw_inside, run)
    return style.draw_each(names, MOST, draw, text, "fields", 2.2, top=0.32)


def _shows_windows(run: Run, *names: str) -> bool:
    """Whether single windows are drawn behind means: not where they are many, or all or nothing."""
    return size(run) <= LONG and not any(is_scalar(run, name) for name in names)


def _draw_inside(run: Run, axes: style.Axes, name: str) -> None:
    inside, levels = values(run, f"{name}_inside"), np.asarray(series(run)["level"].values, float)
    assert inside is not None
    means = np.array([100 * average(share) for share in inside[settled(run)].T])
    looks = (style.ANALYSIS, style.OTHERS[0], style.TRUTH, style.OTHERS[2])
    for k, level in enumerate(levels):
        colour, share = looks[k % len(looks)], 100 * inside[:, k]
        label = f"inside the {100 * level:.0f} % interval"
        draw_line(axes, run, share, label, faint=_shows_windows(run, name), color=colour)
        axes.axhline(100 * level, color=colour, linewidth=0.9, linestyle="--")
        mean = means[k]
        va = "center" if np.ptp(means) > NEAR else "top" if mean == means.min() else "bottom"
        axes.annotate(
            f"{mean:.1f} %", (1.0, mean), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", va=va, fontsize=8, color=colour,
        )  # fmt: skip
    axes.set_ylim(0, 104)
    frame(axes, run, field_label(run, name), "Share inside (%)", flags=False)
    box, wide = axes.get_position(), axes.figure.get_size_inches()[0]  # type: ignore[union-attr]
    axes.set_position((box.x0, box.y0, box.width - 0.45 / wide, box.height))


ERRORS = Section(
    "Errors and spread",
    errors,
    {"errors": draw_errors, "spread_skill": draw_spread_skill},
    "the directory holds no diagnostics.nc with series over windows.",
)
INTERVALS = Section("Intervals", pictures={"reliability": draw_reliability})
