"""What the innovations of a cycle say of its covariances."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from assim.show import style
from assim.show.cycle.axes import MOST, burn_in_clause, draw_line, fit, frame, lines_drawn
from assim.show.cycle.series import instrument_units, instruments, series, settled, times, values
from assim.show.cycle.statistics import (
    LONG,
    NORMAL,
    common,
    drawn_points,
    root,
    running,
    totals,
    width_of,
)
from assim.show.finished import Run, with_units
from assim.show.style import Picture

MANY = 10  # values a window
STATED: dict[str, Any] = {"color": style.INK, "linestyle": (0, (4, 1.6)), "linewidth": 1.1}
BAND: dict[str, Any] = {"color": style.BACKGROUND, "alpha": 0.28, "linewidth": 0}


def _of(run: Run, name: str, what: str) -> np.ndarray:
    """A series of an instrument; NaN where there is none."""
    found, number = values(run, f"{name}_obs_{what}"), values(run, f"{name}_obs_number")
    assert number is not None
    return np.full(number.shape, np.nan) if found is None else found


def _left_out(number: int) -> str:
    return f" {number} further instruments are not drawn." * (number > 0)


# ---- innovations ---------------------------------------------------------------------------------


def draw_innovations(run: Run) -> Picture | None:
    """Root mean square and mean innovation of every instrument over time."""
    names = instruments(run)
    if not names:
        return None
    shown = names[:MOST]
    figure, axes = style.panels(2 * len(shown), 2, 2.35, top=0.32)
    for number, name in enumerate(shown):
        _draw_size(axes[2 * number], run, name)
        _draw_mean(axes[2 * number + 1], run, name)
    style.legend(figure, axes)
    several = all(_many(run, name) for name in shown)
    text = (
        "Left, the root mean square innovation y − H(x^b) against what the covariances of "
        "background and observations expect (above it they are too small, below it too large); "
        "right, the mean innovation, which leaves its 95 % band about zero (drawn as if "
        "innovations were independent) where model, operator or instrument are biased; "
        f"{lines_drawn(run, 'means of squares or of values', several)}{burn_in_clause(run)}."
    )
    return style.picture("innovations", figure, text + _left_out(len(names) - len(shown)))


def _many(run: Run, name: str) -> bool:
    """Whether a window has enough of an instrument's values to be drawn alone."""
    number = _of(run, name, "number")
    return bool(np.median(number[number > 0]) >= MANY) if (number > 0).any() else False


def _draw_size(axes: Axes, run: Run, name: str) -> None:
    seen, expected = _of(run, name, "innovation_rms"), _of(run, name, "expected_rms")
    number = _of(run, name, "number")
    same: dict[str, Any] = {"weights": number, "squared": True}
    single = _many(run, name)
    look: dict[str, Any] = {"faint": single, "color": style.ANALYSIS}
    line = draw_line(axes, run, seen, "root mean square", **same, **look)
    other = draw_line(axes, run, expected, "expected", faint=False, **same, **STATED)
    fit(axes, [line, other], [seen] * single)
    units = instrument_units(run, name)
    frame(axes, run, name, with_units("RMS innovation", units))


def _draw_mean(axes: Axes, run: Run, name: str) -> None:
    mean, number = _of(run, name, "mean"), _of(run, name, "number")
    when, width = times(run), width_of(mean.size)
    square = running(_of(run, name, "expected_rms") ** 2, width, number)
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


# ---- chi-squared ---------------------------------------------------------------------------------


def draw_chi_squared(run: Run) -> Picture | None:
    """2J/m of every window, with the band in which it is expected."""
    found, number = values(run, "chi_squared"), values(run, "number")
    if found is None or number is None:
        return None
    figure, (axes,) = style.panels(1, 1, 2.5, top=0.32)
    half = _draw_expected(axes, run, number)
    line = draw_line(axes, run, found, "2J/m", number, color=style.ANALYSIS)
    fit(axes, [line, 1 + half], [found])
    frame(axes, run, "Twice the cost by the number m of observations", "2J/m")
    style.legend(figure, [axes])
    after = settled(run)
    good = np.isfinite(found[after])
    outside = np.abs(found[after] - 1)[good] > half[after][good]
    share = 100 * float(np.mean(outside)) if good.any() else 0.0
    text = (
        "2J/m of every window, whose mean is 1 where all covariances are right, larger where they "
        f"are too small and smaller where too large; {share:.1f} % of windows after the burn-in "
        "lie outside the band, of which about 5 % are expected there; "
        f"{lines_drawn(run)}{burn_in_clause(run)}."
    )
    return style.picture("chi_squared", figure, text)


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
    ratios = {name: _of(run, name, "error_variance_ratio") for name in instruments(run)}
    names = [name for name, ratio in ratios.items() if np.any(np.isfinite(ratio))]
    if not names:
        return None
    shown = names[:MOST]
    figure, axes = style.panels(2 * len(shown), 2, 2.35, top=0.32)
    for number, name in enumerate(shown):
        _draw_sigmas(axes[2 * number], axes[2 * number + 1], run, name)
    style.legend(figure, axes)
    width = width_of(len(times(run)))
    text = (
        "Standard deviations of the errors of observations (left) and of the background at the "
        "observations (right) as departures imply them (Desroziers et al. 2005) and as stated: "
        "where the solid line lies above the dashed one, the error is understated"
    )
    text += f"; lines are means of variances over {width} windows" * (width > 1)
    text += f", with gaps where they are negative{burn_in_clause(run)}."
    return style.picture("desroziers", figure, text + _left_out(len(names) - len(shown)))


def _draw_sigmas(left: Axes, right: Axes, run: Run, name: str) -> None:
    units, number = instrument_units(run, name), _of(run, name, "number")
    when, width = times(run), width_of(number.size)
    place = drawn_points(number.size)
    pairs = (
        (left, "Error of observations", "error"),
        (right, "Error of the background", "background"),
    )
    for axes, title, which in pairs:
        stated = _of(run, name, f"stated_{which}") ** 2
        implied = _of(run, name, f"{which}_variance_ratio") * stated
        told = root(running(implied, width, number))[place]
        given = root(running(stated, width, number))[place]
        axes.plot(when[place], told, color=style.ANALYSIS, label="as departures imply")
        axes.plot(when[place], given, label="as stated", **STATED)
        fit(axes, [told, given], [])
        frame(axes, run, f"{title}, {name}", with_units("Standard deviation", units), flags=False)


# ---- ranks ---------------------------------------------------------------------------------------


def draw_ranks(run: Run) -> Picture | None:
    """Histograms of the probability below each innovation, of every instrument."""
    names = [name for name in instruments(run) if values(run, f"{name}_obs_ranks") is not None]
    if series(run) is None or not names:
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
    return style.picture("ranks", figure, text + _left_out(len(names) - len(shown)))


def _draw_ranks(axes: Axes, run: Run, name: str) -> None:
    ranks = values(run, f"{name}_obs_ranks")
    assert ranks is not None
    counts = np.nansum(ranks[settled(run)], axis=0)
    bins, total = counts.size, max(float(counts.sum()), 1.0)
    low, high = common(counts, 1 / bins)
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
