"""Innovations of a cycle against what its covariances expect, and their ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assim.show import style
from assim.show.consistency import negative_variances, stdevs
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
from assim.show.cycle.statistics import (
    LONG,
    NORMAL,
    average,
    band_of_ranks,
    drawn_points,
    running,
    totals,
    width_of,
)
from assim.show.finished import Run, spelt_units, with_units
from assim.show.page import number, paragraph, table
from assim.show.section import Section
from assim.show.style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY = 10  # values a window


# ---- means ---------------------------------------------------------------------------------------


def innovations(run: Run) -> list[str]:
    """What the innovations of every instrument say after the burn-in."""
    header = ("", "values", "mean innovation", "RMS innovation", "expected", "σₒ → estimate",
              "σ_b → estimate", "units")  # fmt: skip
    text = (
        "Over the windows after the burn-in; σₒ and σ_b are standard deviations of the errors of "
        "observations and of the background there, as stated → as estimated from departures "
        "(Desroziers et al. 2005); a dash where that is not known."
    )
    names = instruments(run)
    if not names:
        return []
    rows = [_instrument(run, name) for name in names]
    ratios = {key: {name: _sigmas(run, name, key)[1] for name in names} for key in _ERRORS}
    return [table(header, rows), paragraph(text, "soft"), negative_variances(**ratios)]


_ERRORS = ("error", "background")


def _instrument(run: Run, name: str) -> tuple[str, ...]:
    count = _settled(run, name, "number")
    squares = (_settled(run, name, f"{what}_rms") ** 2 for what in ("innovation", "expected"))
    return (
        name,
        f"{np.nansum(count):,.0f}",
        number(average(_settled(run, name, "mean"), count), 2),
        *(number(_root(average(square, count)), 3) for square in squares),
        *(stdevs(*_sigmas(run, name, key)) for key in _ERRORS),
        spelt_units(instrument_units(run, name)),
    )


def _settled(run: Run, name: str, what: str) -> np.ndarray:
    """A series of an instrument after the burn-in."""
    return of_instrument(run, name, what)[settled(run)]


def _sigmas(run: Run, name: str, key: str) -> tuple[float | None, float | None]:
    """Standard deviation stated of an error, and the variance that departures imply over its."""
    count, stated = _settled(run, name, "number"), _settled(run, name, f"stated_{key}") ** 2
    implied = average(_settled(run, name, f"{key}_variance_ratio") * stated, count)
    total = average(stated, count)
    ratio = implied / total if total > 0 and np.isfinite(implied) else None
    return _root(total), ratio


def _root(variance: float) -> float | None:
    return float(np.sqrt(variance)) if variance >= 0 else None


# ---- innovations ---------------------------------------------------------------------------------


def draw_innovations(run: Run) -> Picture | None:
    """Root mean square and mean innovation of every instrument over time."""
    names = instruments(run)
    if not names:
        return None
    shown = names[:MOST]
    figure, axes = style.panels(2 * len(shown), 2, 2.35, top=0.32)
    for row, name in enumerate(shown):
        _draw_size(axes[2 * row], run, name)
        _draw_mean(axes[2 * row + 1], run, name)
    style.legend(figure, axes)
    several = all(_many(run, name) for name in shown)
    text = (
        "Left, the root mean square innovation y − H(x^b) against what the covariances of "
        "background and observations expect (above it they are too small, below it too large); "
        "right, the mean innovation, which leaves its 95 % band about zero (drawn as if "
        "innovations were independent) where model, operator or instrument are biased; "
        f"{lines_drawn(run, 'means of squares or of values', several)}{burn_in_clause(run)}."
    )
    return style.picture(figure, text + style.left_out(len(names) - len(shown), "instruments"))


def _many(run: Run, name: str) -> bool:
    """Whether a window has enough of an instrument's values to be drawn by itself."""
    number = of_instrument(run, name, "number")
    return bool(np.median(number[number > 0]) >= MANY) if (number > 0).any() else False


def _draw_size(axes: Axes, run: Run, name: str) -> None:
    seen, expected = (
        of_instrument(run, name, "innovation_rms"),
        of_instrument(run, name, "expected_rms"),
    )
    number = of_instrument(run, name, "number")
    means: dict[str, Any] = {"weights": number, "squared": True}
    single = _many(run, name)
    look: dict[str, Any] = {"faint": single, "color": style.ANALYSIS}
    line = draw_line(axes, run, seen, "root mean square", **means, **look)
    other = draw_line(axes, run, expected, "expected", faint=False, **means, **STATED)
    fit(axes, [line, other], [seen] * single)
    units = instrument_units(run, name)
    frame(axes, run, name, with_units("RMS innovation", units))


def _draw_mean(axes: Axes, run: Run, name: str) -> None:
    mean, number = of_instrument(run, name, "mean"), of_instrument(run, name, "number")
    when, width = times(run), width_of(mean.size)
    square = running(of_instrument(run, name, "expected_rms") ** 2, width, number)
    count = totals(number, width)
    half = NORMAL * np.sqrt(square / np.where(count > 0, count, np.nan))
    place = drawn_points(mean.size)
    axes.fill_between(when[place], -half[place], half[place], **BAND, label="95 % band of the mean")
    axes.axhline(0, color=style.INK, linewidth=0.7)
    faint = mean.size <= LONG and _many(run, name)
    line = draw_line(axes, run, mean, "mean", number, faint, color=style.OTHERS[0])
    most = np.nanmax(np.abs([*line, *half[place], *(mean if faint else ())]), initial=0.0)
    if most > 0:
        axes.set_ylim(-1.1 * most, 1.1 * most)
    frame(axes, run, name, with_units("Mean innovation", instrument_units(run, name)))


# ---- ranks ---------------------------------------------------------------------------------------


def draw_ranks(run: Run) -> Picture | None:
    """Histograms of the probability below each innovation, of every instrument."""
    names = [name for name in instruments(run) if values(run, f"{name}_obs_ranks") is not None]
    if not names:
        return None
    shown = names[:MOST]
    figure, axes = style.panels(len(shown), min(len(shown), 3), 2.4, top=0.32)
    for name, where in zip(shown, axes, strict=True):
        _draw_ranks(where, run, name)
    style.legend(figure, axes)
    text = (
        "Where innovations after the burn-in fall in the distribution N(0, HBHᵀ + R) that is "
        "expected of them: bars are level where the covariances are right, high at both ends where "
        "they are too small, in the middle where too large and on one side where there is bias; a "
        "bar leaves the band in one of 20 cases if innovations are independent."
    )
    return style.picture(figure, text + style.left_out(len(names) - len(shown), "instruments"))


def _draw_ranks(axes: Axes, run: Run, name: str) -> None:
    ranks = values(run, f"{name}_obs_ranks")
    assert ranks is not None
    counts = np.nansum(ranks[settled(run)], axis=0)
    bins, total = counts.size, max(float(counts.sum()), 1.0)
    low, high = band_of_ranks(counts)
    axes.bar((np.arange(bins) + 0.5) / bins, counts * bins / total, 0.92 / bins,
             color=style.ANALYSIS, alpha=0.75)  # fmt: skip
    axes.axhspan(low, high, color=style.INK, alpha=0.22, linewidth=0, label="95 % band if uniform",
                 zorder=3)  # fmt: skip
    axes.axhline(1, color=style.INK, linewidth=0.9, zorder=4)
    axes.set(xlim=(0, 1), xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_ylim(0, 1.12 * max(float((counts * bins / total).max()), high))
    axes.set_title(f"{name}, {total:,.0f} innovations")
    axes.set_xlabel("Probability below")
    axes.set_ylabel("Density of innovations")


SECTION = Section(
    "Innovations", innovations, {"innovations": draw_innovations, "ranks": draw_ranks}
)
