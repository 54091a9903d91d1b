"""Several posteriors side by side: their numbers, what they cost, how far to trust each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assim.show import style
from assim.show.density import ScalarDraws, density, draws_by_method, label_below
from assim.show.finished import Method, Run, truth, with_units
from assim.show.layout import Entry
from assim.show.page import (
    GOOD,
    POOR,
    UNSURE,
    known,
    notice,
    number,
    paragraph,
    table,
    unfolding,
    with_spread,
)
from assim.show.section import Section
from assim.show.spreads import draw_methods_trajectory, looks_of
from assim.show.style import Picture
from assim.statistics.weighted import weighted_quantiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRUST = {"certified": GOOD, "doubtful": UNSURE, "failed": POOR}

_COSTS = {"gradients": "gradients", "evaluations": "evaluations", "seconds": "seconds"}
_CERTIFICATES = {
    "k_hat": "k̂",
    "r_hat": "R̂",
    "effective_draws": "effective draws",
    "log_evidence": "log evidence",
}
_DIGITS = {"seconds": 3, "k_hat": 2}
_WORDS = {"method", "trust", "advice", "quantities", "files"}


def methods(run: Run) -> list[str]:
    """What each method says of every quantity, its cost and its certificates; a word of each.

    Empty where one method ran.
    """
    if not run.methods:
        return []
    verdicts = [notice(text, colour, lead) for lead, text, colour in map(_judge, run.methods)]
    return [
        paragraph(run.summary["choice"]),
        *verdicts,
        _comparison(run),
        _all_certificates(run),
    ]


def _judge(method: Method) -> tuple[str, str, str]:
    return _judged(method.name, method.entry)


def _comparison(run: Run) -> str:
    names = dict.fromkeys(name for method in run.methods for name in method.entry["quantities"])
    true = {name: truth(run, name) for name in names}
    known_truth = any(value is not None for value in true.values())
    rows = [_quantity(run, name, true[name], known_truth) for name in names]
    rows.append(_across(run, "trust", "trust", known_truth))
    for key, words in {**_COSTS, **_CERTIFICATES}.items():
        if any(known(method.entry.get(key)) is not None for method in run.methods):
            rows.append(_across(run, key, words, known_truth))
    header = [f"{m.name} (reported)" if m.chosen else m.name for m in run.methods]
    place = 1 + known_truth + next(k for k, method in enumerate(run.methods) if method.chosen)
    text = "Mean ± standard deviation of every quantity by method, and what it cost."
    return table(("", *["truth"] * known_truth, *header), rows, text, marked=place)


def _quantity(run: Run, name: str, true: float | None, known_truth: bool) -> tuple[object, ...]:
    entries = [method.entry["quantities"].get(name) for method in run.methods]
    units = next(about["units"] for about in entries if about is not None)
    pairs = [("–", "") if e is None else with_spread(e["mean"], e["stddev"]) for e in entries]
    cells = [f"{mean} ± {spread}" if mean != "–" else "–" for mean, spread in pairs]
    return with_units(name, units), *[number(true)] * known_truth, *cells


def _across(run: Run, key: str, words: str, known_truth: bool) -> tuple[object, ...]:
    """One row of the table from the methods' entries."""
    cells = [one.entry.get(key) for one in run.methods]
    digits = _DIGITS.get(key, 4)
    shown = (cell if isinstance(cell, str) else number(cell, digits) for cell in cells)
    return words, *[""] * known_truth, *shown


def _all_certificates(run: Run) -> str:
    """Every other number that a method gives of itself."""
    shown = {*_WORDS, *_COSTS, *_CERTIFICATES}
    keys = dict.fromkeys(k for one in run.methods for k in one.entry if k not in shown)
    rows = [_across(run, key, key.replace("_", " "), False) for key in keys]
    header = ("", *(one.name for one in run.methods))
    return unfolding("All certificates", table(header, rows, marked=len(header)))


# ---- one method ----------------------------------------------------------------------------------


def verdict_of(name: str, about: Entry) -> str:
    """How far to trust one posterior, and its other numbers."""
    lead, advice, verdict = _judged(name, about)
    shown = {*_WORDS, "k_hat"} if "k̂" in lead + advice else _WORDS
    rest = {
        "Pareto k̂" if key == "k_hat" else key.replace("_", " "): value
        for key, value in about.items()
        if key not in shown and isinstance(value, int | float | str)
    }
    facts = "; ".join(f"{key} {number(value)}" for key, value in rest.items())
    parts = [notice(advice, verdict, lead)]
    return "\n".join(
        [*parts, paragraph(facts[:1].upper() + facts[1:] + ".", "soft") if facts else ""]
    )


def _judged(name: str, about: Entry) -> tuple[str, str, str]:
    """Name with trust, advice, and the verdict that colours them."""
    trust, advice = about["trust"], str(about["advice"])
    lead = f"{name}, {trust}" + (":" if advice.startswith("k̂") else ".")
    return lead, advice, TRUST[trust]


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
    shown = names[:MOST]
    if not shown:
        return None
    looks = looks_of(run)
    columns = style.columns_of_densities(len(shown))
    rows = 1 + (len(looks) + 1) // 6
    figure, axes = style.panels(len(shown), columns, 1.95, 0.1 + 0.2 * rows, left=0.15, below=0.62)
    for name, where in zip(shown, axes, strict=True):
        _draw(where, lines[name], looks, truth(run, name))
    style.legend(figure, axes)
    left_out = style.left_out(len(names) - len(shown), "quantities")
    return style.picture(figure, _caption(run) + left_out)


def _caption(run: Run) -> str:
    reported = next(method.name for method in run.methods if method.chosen)
    return (
        f"Posterior marginal densities by method, {reported} (shaded) being the one reported, and "
        "the prior, on a common scale (kernel estimates from weighted draws). A method that "
        "understates its uncertainty is narrower and taller than the others."
    )


def common_limits(lines: Lines, mark: float | None = None) -> tuple[float, float]:
    """Those of the method reported, wide enough for the middle of the others within reason."""
    first = next((one for method, one in lines if method.chosen), lines[0][1])
    low, high = weighted_quantiles(first.posterior, first.weights, np.array([0.003, 0.997]))
    reach = 0.5 * (high - low) or max(abs(float(low)), 1.0) * 1e-3
    ends = [
        weighted_quantiles(one.posterior, one.weights, np.array([0.01, 0.99])) for _, one in lines
    ]
    low = min(low, max(min(end[0] for end in ends), low - reach))
    high = max(high, min(max(end[1] for end in ends), high + reach))
    if mark is not None and low - 2 * reach < mark < high + 2 * reach:
        low, high = min(low, mark), max(high, mark)
    margin = 0.06 * (high - low) or reach
    positive = all(one.posterior.min() >= 0 for _, one in lines)
    return float(max(low - margin, 0.0) if positive else low - margin), float(high + margin)


def _draw(axes: Axes, lines: Lines, looks: dict, true: float | None) -> None:
    low, high = common_limits(lines, true)
    grid = np.linspace(low, high, 300)
    curves = [(m, density(one.posterior, one.weights, grid)) for m, one in lines]
    top = next((curve.max() for m, curve in curves if m.chosen), curves[0][1].max()) or 1.0
    prior = next((one.prior for _, one in lines if one.prior is not None), None)
    highest = max(curve.max() for _, curve in curves) / top
    if prior is not None and prior.size > 1 and np.ptp(prior) > 0:
        flat = np.full(prior.size, 1 / prior.size)
        axes.plot(grid, density(prior, flat, grid) / top, color=style.BACKGROUND, linewidth=0.8,
                  label="prior")  # fmt: skip
    for method, curve in sorted(curves, key=lambda pair: not pair[0].chosen):
        if method.chosen:
            axes.fill_between(grid, curve / top, color=style.ANALYSIS, alpha=0.16, linewidth=0)
        label = f"{method.name} (reported)" if method.chosen else method.name
        axes.plot(grid, curve / top, label=label, **looks[method.name])
    if true is not None:
        axes.axvline(
            true, color=style.INK, linewidth=1.0, linestyle=style.TRUTH_DASH, label="truth"
        )
    axes.set_xlim(low, high)
    axes.set_ylim(0, 1.06 * min(highest, TALLEST))
    style.bare(axes, lines[0][1].name, label_below(lines[0][1]))
    style.few_ticks(axes.xaxis, 3)


SECTION = Section(
    "Methods",
    methods,
    {"methods": draw_methods, "methods_trajectory": draw_methods_trajectory},
)
