"""Several posteriors side by side: their numbers, what they cost, how far to trust each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from assim.show import style
from assim.show.density import ScalarDraws, density, draw_prior, draws_by_method, label_below
from assim.show.fields import site_label, sites
from assim.show.finished import Method, Run, instants, truth, with_units, words
from assim.show.layout import Entry, field_names, time_of
from assim.show.page import (
    GOOD,
    POOR,
    UNSURE,
    Section,
    known,
    notice,
    number,
    paragraph,
    table,
    unfolding,
    with_spread,
)
from assim.show.style import Picture
from assim.statistics.weighted import weighted_quantiles

TRUST = {"certified": GOOD, "doubtful": UNSURE, "failed": POOR}

_COSTS = {"gradients": "gradients", "evaluations": "evaluations", "seconds": "seconds"}
_CERTIFICATES = {
    "k_hat": "k̂",
    "r_hat": "R̂",
    "effective_draws": "effective draws",
    "log_evidence": "log evidence",
}
_DIGITS = {"seconds": 3, "k_hat": 2}
_WORDS = {"method", "verdict", "trust", "advice", "quantities", "files"}


def methods(run: Run) -> list[str]:
    """What each method says of every quantity, its cost and its certificates; a word of each.

    Empty where one method ran.
    """
    if not run.methods:
        return []
    verdicts = [_verdict(method.name, method.entry) for method in run.methods]
    choice = paragraph(run.summary["choice"])
    return [choice, *verdicts, _comparison(run), _all_certificates(run)]


def _comparison(run: Run) -> str:
    names = dict.fromkeys(name for method in run.methods for name in method.entry["quantities"])
    true = {name: truth(run, name) for name in names}
    known_truth = any(value is not None for value in true.values())
    rows = [_quantity(run, name, true[name], known_truth) for name in names]
    rows.append(_across(run, "trust", "trust", known_truth))
    for key, title in {**_COSTS, **_CERTIFICATES}.items():
        if any(known(method.entry.get(key)) is not None for method in run.methods):
            rows.append(_across(run, key, title, known_truth))
    header = [method.label() for method in run.methods]
    order = [method.chosen for method in run.methods]
    place = 1 + known_truth + (order.index(True) if any(order) else len(order))  # none is marked
    text = "Mean ± standard deviation of every quantity by method, and what it cost."
    return table(("", *["truth"] * known_truth, *header), rows, text, marked=place)


def _quantity(run: Run, name: str, true: float | None, known_truth: bool) -> tuple[object, ...]:
    entries = [method.entry["quantities"].get(name) for method in run.methods]
    units = next(about["units"] for about in entries if about is not None)
    cells = [_cell(about) for about in entries]
    return with_units(name, units), *[number(true)] * known_truth, *cells


def _cell(about: Any) -> str:
    """Mean ± standard deviation, the median where there is none, or a dash."""
    if about is None:
        return "–"
    if about.get("note"):
        return f"median {number(about['q50'])}"
    mean, spread = with_spread(about["mean"], about["stddev"])
    return f"{mean} ± {spread}" if mean != "–" else "–"


def _across(run: Run, key: str, title: str, known_truth: bool) -> tuple[object, ...]:
    """One row of the table from the methods' entries."""
    cells = [method.entry.get(key) for method in run.methods]
    digits = _DIGITS.get(key, 4)
    shown = (cell if isinstance(cell, str) else number(cell, digits) for cell in cells)
    return title, *[""] * known_truth, *shown


def _all_certificates(run: Run) -> str:
    """Every other number that a method gives of itself."""
    shown = {*_WORDS, *_COSTS, *_CERTIFICATES}
    keys = dict.fromkeys(k for method in run.methods for k in method.entry if k not in shown)
    rows = [_across(run, key, key.replace("_", " "), False) for key in keys]
    header = ("", *(method.name for method in run.methods))
    return unfolding("All certificates", table(header, rows, marked=len(header)))


# ---- one method ----------------------------------------------------------------------------------


def verdict_of(name: str, about: Entry) -> str:
    """How far to trust one posterior, and its other numbers."""
    shown = {*_WORDS, "k_hat"} if "k̂" in str(about["advice"]) else _WORDS
    rest = {
        "Pareto k̂" if key == "k_hat" else key.replace("_", " "): value
        for key, value in about.items()
        if key not in shown and isinstance(value, int | float | str)
    }
    facts = "; ".join(f"{key} {number(value)}" for key, value in rest.items())
    more = paragraph(facts[:1].upper() + facts[1:] + ".", "soft") if facts else ""
    return f"{_verdict(name, about)}\n{more}"


def _verdict(name: str, about: Entry) -> str:
    """Name with its verdict, and advice, coloured by it."""
    verdict, advice = about["verdict"], str(about["advice"])
    lead = f"{name}, {verdict}" + (":" if advice.startswith("k̂") else ".")
    return notice(advice, TRUST[verdict], lead)


MOST = 24
TALLEST = 2.6  # peak drawn, over that of the method reported: a collapsed one is cut there
Lines = list[tuple[Method, ScalarDraws]]


def draw_methods(run: Run) -> Picture | None:
    """One panel a quantity, one line a method; None where one method ran."""
    by_method = draws_by_method(run)
    if len(by_method) < 2:
        return None
    names = list(dict.fromkeys(name for _, some in by_method for name in some))
    lines: dict[str, Lines] = {
        name: [(m, s[name]) for m, s in by_method if name in s and s[name].posterior.size > 1]
        for name in names
    }
    names = [name for name in names if lines[name]]
    looks = looks_of(run)
    caption = (
        f"Posterior marginal densities by method, {run.summary['chosen']} (shaded) being the one "
        "reported, and the prior, on a common scale (kernel estimates from weighted draws). A "
        "method that understates its uncertainty is narrower and taller than the others."
    )

    def draw(axes: style.Axes, name: str) -> None:
        _draw(axes, lines[name], looks, truth(run, name))

    columns, top = style.columns_of_densities, 0.1 + 0.2 * (1 + (len(looks) + 1) // 6)
    return style.draw_each(
        names, MOST, draw, caption, "quantities", 1.95, columns, top=top, left=0.15, below=0.62
    )


def looks_of(run: Run) -> dict[str, dict[str, object]]:
    """How the line of each method is drawn: the same in every picture."""
    others = [method.name for method in run.methods if not method.chosen]
    looks = {name: {**style.look(k), "linewidth": 1.2} for k, name in enumerate(others)}
    chosen = {"color": style.ANALYSIS, "linestyle": "-", "linewidth": 2.0}
    return {method.name: chosen if method.chosen else looks[method.name] for method in run.methods}


def common_limits(lines: Lines, mark: float | None = None) -> tuple[float, float]:
    """Those of the method reported, wide enough for the middle of the others within reason."""
    first = next((draws for method, draws in lines if method.chosen), lines[0][1])
    low, high = weighted_quantiles(first.posterior, first.weights, np.array([0.003, 0.997]))
    reach = 0.5 * (high - low) or max(abs(float(low)), 1.0) * 1e-3
    middle = np.array([0.01, 0.99])
    ends = [weighted_quantiles(draws.posterior, draws.weights, middle) for _, draws in lines]
    low = min(low, max(min(end[0] for end in ends), low - reach))
    high = max(high, min(max(end[1] for end in ends), high + reach))
    if mark is not None and low - 2 * reach < mark < high + 2 * reach:
        low, high = min(low, mark), max(high, mark)
    margin = 0.06 * (high - low) or reach
    positive = all(draws.posterior.min() >= 0 for _, draws in lines)
    return float(max(low - margin, 0.0) if positive else low - margin), float(high + margin)


def _draw(axes: style.Axes, lines: Lines, looks: dict, true: float | None) -> None:
    low, high = common_limits(lines, true)
    grid = np.linspace(low, high, 300)
    curves = [(method, density(about.posterior, about.weights, grid)) for method, about in lines]
    top = next((curve.max() for m, curve in curves if m.chosen), curves[0][1].max()) or 1.0
    prior = next((about.prior for _, about in lines if about.prior is not None), None)
    highest = max(curve.max() for _, curve in curves) / top
    draw_prior(axes, prior, grid, top, linewidth=0.8)
    for method, curve in sorted(curves, key=lambda pair: not pair[0].chosen):
        if method.chosen:
            style.band(axes, grid, curve / top, 0, 0.16)
        axes.plot(grid, curve / top, label=method.label(), **looks[method.name])
    if true is not None:
        axes.axvline(true, color=style.INK, linewidth=1.0, linestyle=style.TRUTH_DASH,
                     label="truth")  # fmt: skip
    axes.set(xlim=(low, high), ylim=(0, 1.06 * min(highest, TALLEST)))
    style.bare(axes, lines[0][1].name, label_below(lines[0][1]))
    style.few_ticks(axes.xaxis, 3)


# ---- trajectories --------------------------------------------------------------------------------


SERIES = 6  # drawn
WITHIN = 0.05  # of the ratio: differences that hardly matter
Moments = tuple[np.ndarray, np.ndarray]  # mean and standard deviation


@dataclass(frozen=True)
class SpreadSeries:
    """One series: by method, the ratio of standard deviations and the shift of means in them."""

    title: str
    time: xr.DataArray
    reported: str
    ratio: dict[str, np.ndarray]
    shift: dict[str, np.ndarray]


def draw_methods_trajectory(run: Run) -> Picture | None:
    """A row a field, or a site of a small field; None where one method ran."""
    looks, reported = looks_of(run), run.summary["chosen"]
    caption = (
        f"Trajectory by method. Left: posterior standard deviation over that of {reported}, the "
        f"method reported; right: its mean less that of {reported}, in standard deviations of the "
        f"latter. Shaded: within {100 * WITHIN:.0f} %. A ratio well below one is an ensemble that "
        "has collapsed."
    )
    draw, top = partial(_draw_series, looks), 0.1 + 0.2 * (1 + len(looks) // 6)
    return style.draw_each(
        compared(run), SERIES, draw, caption, "series", 2.0, each=2, top=top, left=0.62
    )


def compared(run: Run) -> list[SpreadSeries]:
    """Every series of scalar fields and of sites of small fields; of others the mean over space."""
    files = {m.name: m.trajectory for m in run.methods if m.trajectory is not None}
    reported = run.summary["chosen"]
    file = files.get(reported, xr.Dataset())
    series = []
    for name in field_names(file):
        moments = {n: _moments(f, name) for n, f in files.items() if f"{name}_stddev" in f}
        if reported not in moments or len(moments) < 2:
            continue
        cuts = {site_label(file, name, place): place for place in sites(file[name])}
        for title, place in cuts.items():
            site: Any = (..., *place.values())
            at = {n: (mean[site], stdev[site]) for n, (mean, stdev) in moments.items()}
            series.append(_series(title, time_of(file), reported, at))
        if not cuts:
            title = f"{words(file[name])}, root mean square over space"
            centre = moments[reported][0]
            whole = {n: (_rms(mean - centre), _rms(stdev)) for n, (mean, stdev) in moments.items()}
            series.append(_series(title, time_of(file), reported, whole))
    return series


def _moments(file: xr.Dataset, name: str) -> Moments:
    """Posterior mean (the trajectory itself where it has none) and standard deviation."""
    mean = f"{name}_mean" if f"{name}_mean" in file else name
    return np.asarray(file[mean].values, float), np.asarray(file[f"{name}_stddev"].values, float)


def _rms(values: np.ndarray) -> np.ndarray:
    """Root mean square over space at each time."""
    return np.sqrt((values**2).reshape(len(values), -1).mean(axis=1))


def _series(
    title: str, time: xr.DataArray, reported: str, moments: dict[str, Moments]
) -> SpreadSeries:
    mean, stdev = moments[reported]
    stdev = np.where(stdev > 0, stdev, np.nan)
    others = {name: pair for name, pair in moments.items() if name != reported}
    ratio = {name: spread / stdev for name, (_, spread) in others.items()}
    shift = {name: (centre - mean) / stdev for name, (centre, _) in others.items()}
    return SpreadSeries(title, time, reported, ratio, shift)


def _draw_series(looks: dict, left: style.Axes, right: style.Axes, series: SpreadSeries) -> None:
    ratios = _draw_lines(left, series, series.ratio, looks, 1.0, "Ratio of stddev")
    left.set_ylim(0, min(max(1.1 * float(ratios.max(initial=1.0)), 1.3), 4.0))
    left.set_title(style.wrapped(series.title))
    shifts = _draw_lines(right, series, series.shift, looks, 0.0, "Shift of mean / stddev")
    reach = min(max(1.1 * float(np.abs(shifts).max(initial=0.0)), 0.15), 4.0)
    right.set_ylim(-reach, reach)


def _draw_lines(
    axes: style.Axes,
    series: SpreadSeries,
    lines: dict[str, np.ndarray],
    looks: dict,
    level: float,
    label: str,
) -> np.ndarray:
    """Lines by method about that of the method reported; returns every finite value."""
    axes.axhspan(level - WITHIN, level + WITHIN, color="#E8E8E8", linewidth=0)
    axes.axhline(level, label=f"{series.reported} (reported)", **looks[series.reported])
    for name, values in lines.items():
        axes.plot(instants(series.time), values, label=name, **looks[name])
    style.over_time(axes, series.time, label, margin=0.01)
    everything = np.concatenate(list(lines.values()))
    return everything[np.isfinite(everything)]


METHODS = Section(
    "Methods", methods, {"methods": draw_methods, "methods_trajectory": draw_methods_trajectory}
)
