"""Innovations of a cycle and its covariances: what is expected, ranks, 2J/m, and Desroziers."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from assim.show import style
from assim.show.consistency import KINDS, negative_variances, stdevs
from assim.show.cycle.series import (
    BAND,
    MOST,
    STATED,
    burn_in_clause,
    draw_line,
    fit,
    frame,
    instrument_units,
    instruments,
    lines_drawn,
    of_instrument,
    settled,
    size,
    times,
    values,
)
from assim.show.cycle.statistics import (
    LONG,
    NORMAL,
    average,
    band_of_ranks,
    drawn_points,
    root,
    running,
    totals,
    width_of,
)
from assim.show.finished import Run, spelt_units, with_units
from assim.show.page import Section, number, paragraph, table
from assim.show.style import Picture

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
    ratios = {key: {name: _sigmas(run, name, key)[1] for name in names} for key in KINDS}
    return [table(header, rows), paragraph(text, "soft"), negative_variances(**ratios)]


def _instrument(run: Run, name: str) -> tuple[str, ...]:
    count = _settled(run, name, "number")
    squares = (_settled(run, name, f"{what}_rms") ** 2 for what in ("innovation", "expected"))
    return (
        name,
        f"{np.nansum(count):,.0f}",
        number(average(_settled(run, name, "mean"), count), 2),
        *(number(_root(average(square, count)), 3) for square in squares),
        *(stdevs(*_sigmas(run, name, key)) for key in KINDS),
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

    def caption(shown: Any) -> str:
        several = all(_many(run, name) for name in shown)
        return (
            "Left, the root mean square innovation y − H(x^b) against what the covariances of "
            "background and observations expect (above it they are too small, below it too large); "
            "right, the mean innovation, which leaves its 95 % band about zero (drawn as if "
            "innovations were independent) where model, operator or instrument are biased; "
            f"{lines_drawn(run, 'means of squares or of values', several)}."
        )

    def draw(left: style.Axes, right: style.Axes, name: str) -> None:
        _draw_size(left, run, name)
        _draw_mean(right, run, name)

    names = instruments(run)
    return style.draw_each(names, MOST, draw, caption, "instruments", 2.35, each=2, top=0.32)


def _many(run: Run, name: str) -> bool:
    """Whether a window has enough of an instrument's values to be drawn by itself."""
    number = of_instrument(run, name, "number")
    return bool(np.median(number[number > 0]) >= MANY) if (number > 0).any() else False


def _draw_size(axes: style.Axes, run: Run, name: str) -> None:
    kinds = ("innovation_rms", "expected_rms", "number")
    seen, expected, number = (of_instrument(run, name, what) for what in kinds)
    means: dict[str, Any] = {"weights": number, "squared": True}
    single = _many(run, name)
    look: dict[str, Any] = {"faint": single, "color": style.ANALYSIS}
    line = draw_line(axes, run, seen, "root mean square", **means, **look)
    other = draw_line(axes, run, expected, "expected", faint=False, **means, **STATED)
    fit(axes, [line, other], [seen] * single)
    frame(axes, run, name, with_units("RMS innovation", instrument_units(run, name)))


def _draw_mean(axes: style.Axes, run: Run, name: str) -> None:
    mean, number = of_instrument(run, name, "mean"), of_instrument(run, name, "number")
    width, place = width_of(mean.size), drawn_points(mean.size)
    square = running(of_instrument(run, name, "expected_rms") ** 2, width, number)
    count = totals(number, width)
    half = (NORMAL * np.sqrt(square / np.where(count > 0, count, np.nan)))[place]
    style.band(axes, times(run)[place], -half, half, label="95 % band of the mean", **BAND)
    axes.axhline(0, color=style.INK, linewidth=0.7)
    faint = mean.size <= LONG and _many(run, name)
    line = draw_line(axes, run, mean, "mean", number, faint, color=style.OTHERS[0])
    most = np.nanmax(np.abs([*line, *half, *(mean if faint else ())]), initial=0.0)
    if most > 0:
        axes.set_ylim(-1.1 * most, 1.1 * most)
    frame(axes, run, name, with_units("Mean innovation", instrument_units(run, name)))


# ---- ranks ---------------------------------------------------------------------------------------


def draw_ranks(run: Run) -> Picture | None:
    """Histograms of the probability below each innovation, of every instrument."""
    names = [name for name in instruments(run) if values(run, f"{name}_obs_ranks") is not None]
    text = (
        "Where innovations after the burn-in fall in the distribution N(0, HBHᵀ + R) that is "
        "expected of them: bars are level where the covariances are right, high at both ends where "
        "they are too small, in the middle where too large and on one side where there is bias; a "
        "bar leaves the band in one of 20 cases if innovations are independent."
    )
    draw = partial(_draw_ranks, run)
    side = partial(min, 3)
    return style.draw_each(names, MOST, draw, text, "instruments", 2.4, side, top=0.32)


def _draw_ranks(run: Run, axes: style.Axes, name: str) -> None:
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
    axes.set(xlim=(0, 1), xticks=[0, 0.25, 0.5, 0.75, 1], xlabel="Probability below")
    axes.set(ylim=(0, 1.12 * max(float((counts * bins / total).max()), high)))
    axes.set(title=f"{name}, {total:,.0f} innovations", ylabel="Density of innovations")


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
        f"lie outside the band, of which about 5 % are expected there; {lines_drawn(run)}."
    )
    return style.picture(figure, text)


def _draw_expected(axes: style.Axes, run: Run, number: np.ndarray) -> np.ndarray:
    """The bands of single windows and of their running mean; half the width of the former."""
    width, every, place = width_of(number.size), np.arange(number.size), drawn_points(number.size)
    there = number > 0
    filled = np.interp(every, every[there], number[there])  # as where a window has observations
    single: np.ndarray = 2 * np.sqrt(2 / filled)
    bands = [(single, BAND, "expected of a window, 1 ± 2√(2/m)")]
    if width > 1:
        look = {**BAND, "alpha": 0.45}
        mean = 2 * np.sqrt(2 / totals(filled, width))
        bands.append((mean, look, f"of the mean over {width} windows"))
    for half, look, label in bands:
        low, high = np.maximum(1 - half, 0)[place], (1 + half)[place]
        style.band(axes, times(run)[place], low, high, label=label, **look)
    axes.axhline(1, color=style.INK, linewidth=0.8)
    return single


# ---- Desroziers ----------------------------------------------------------------------------------


def draw_desroziers(run: Run) -> Picture | None:
    """Standard deviations that departures imply against those stated, of every instrument."""
    ratios = {name: of_instrument(run, name, "error_variance_ratio") for name in instruments(run)}
    names = [name for name, ratio in ratios.items() if np.isfinite(ratio).any()]
    width = width_of(size(run))
    text = (
        "Standard deviations of the errors of observations (left) and of the background at the "
        "observations (right) as departures imply them (Desroziers et al. 2005) and as stated: "
        "where the solid line lies above the dashed one, the error is understated"
    )
    text += f"; lines are means of variances over {width} windows" * (width > 1)
    text += f", with gaps where they are negative{burn_in_clause(run)}."
    draw = partial(_draw_sigmas, run)
    return style.draw_each(names, MOST, draw, text, "instruments", 2.35, each=2, top=0.32)


def _draw_sigmas(run: Run, left: style.Axes, right: style.Axes, name: str) -> None:
    units, number = instrument_units(run, name), of_instrument(run, name, "number")
    width, place = width_of(number.size), drawn_points(number.size)
    when, titles = times(run)[place], ("Error of observations", "Error of the background")
    for axes, title, key in zip((left, right), titles, KINDS, strict=True):
        stated = of_instrument(run, name, f"stated_{key}") ** 2
        variance = of_instrument(run, name, f"{key}_variance_ratio") * stated
        implied = root(running(variance, width, number))[place]
        given = root(running(stated, width, number))[place]
        axes.plot(when, implied, color=style.ANALYSIS, label="as departures imply")
        axes.plot(when, given, label="as stated", **STATED)
        fit(axes, [implied, given], [])
        frame(axes, run, f"{title}, {name}", with_units("Standard deviation", units), flags=False)


INNOVATIONS = Section(
    "Innovations", innovations, {"innovations": draw_innovations, "ranks": draw_ranks}
)
COVARIANCES = Section(
    "Covariances", pictures={"chi_squared": draw_chi_squared, "desroziers": draw_desroziers}
)
