"""Several posteriors side by side: their numbers, what they cost, how far to trust each."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from assim.show import style
from assim.show.density import COLUMNS, MOST, Draws, density, draws_by_method, label_below, quantile
from assim.show.finished import Method, Run, truth, with_units
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
from assim.show.style import Picture
from assim.statistics.pareto import TRUSTED_K_HAT, USABLE_K_HAT

TRUST = {"certified": GOOD, "doubtful": UNSURE, "failed": POOR}

_K_HAT_WORDS = {
    GOOD: "The approximate posterior is close to the true one: importance weights behave.",
    UNSURE: "The approximate posterior is usable; its tails are not quite right.",
    POOR: "The approximate posterior cannot be trusted: compare with a sampler such as NUTS.",
    "": "How close the approximate posterior is to the true one is not known.",
}
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
    choice = run.summary.get("choice")
    return [
        paragraph(choice) if isinstance(choice, str) and choice else "",
        *(_verdict_alone(one) for one in run.methods),
        _comparison(run),
        _all_certificates(run),
    ]


def _verdict_alone(method: Method) -> str:
    lead, advice, verdict = _judged(method.name, method.entry)
    return notice(advice, verdict, lead)


def _comparison(run: Run) -> str:
    names = dict.fromkeys(name for one in run.methods for name in _quantities(one))
    true = {name: truth(run, name) for name in names}
    told = any(value is not None for value in true.values())
    rows = [_quantity(run, name, true[name], told) for name in names]
    rows.append(_across(run, "trust", "trust", told))
    for key, words in {**_COSTS, **_CERTIFICATES}.items():
        if any(known(one.entry.get(key)) is not None for one in run.methods):
            rows.append(_across(run, key, words, told))
    header = [f"{m.name} (reported)" if m.chosen else m.name for m in run.methods]
    place = 1 + told + next(k for k, method in enumerate(run.methods) if method.chosen)
    text = "Mean ± standard deviation of every quantity by method, and what it cost."
    return table(("", *["truth"] * told, *header), rows, text, marked=place)


def _quantity(run: Run, name: str, true: float | None, told: bool) -> tuple[object, ...]:
    entries = [_quantities(one).get(name, {}) for one in run.methods]
    units = next((one["units"] for one in entries if "units" in one), "1")
    pairs = (with_spread(one.get("mean"), one.get("stddev")) for one in entries)
    cells = [f"{mean} ± {spread}" if mean != "–" else "–" for mean, spread in pairs]
    return with_units(name, units), *[number(true)] * told, *cells


def _quantities(method: Method) -> dict[str, dict[str, Any]]:
    given = method.entry.get("quantities")
    given = given if isinstance(given, dict) else {}
    return {str(name): one for name, one in given.items() if isinstance(one, dict)}


def _across(run: Run, key: str, words: str, told: bool) -> tuple[object, ...]:
    """One row of the table from the methods' entries."""
    cells = [one.entry.get(key) for one in run.methods]
    digits = _DIGITS.get(key, 4)
    shown = (cell if isinstance(cell, str) else number(cell, digits) for cell in cells)
    return words, *[""] * told, *shown


def _all_certificates(run: Run) -> str:
    """Every other number that a method gives of itself."""
    shown = {*_WORDS, *_COSTS, *_CERTIFICATES}
    keys = dict.fromkeys(k for one in run.methods for k in one.entry if k not in shown)
    rows = [_across(run, key, key.replace("_", " "), False) for key in keys]
    header = ("", *(one.name for one in run.methods))
    return unfolding("All certificates", table(header, rows, marked=len(header)))


# ---- one method ----------------------------------------------------------------------------------


def told(name: str, one: dict[str, Any]) -> str:
    """How far to trust one posterior, and its other numbers."""
    if not name and not one:
        return ""
    lead, advice, verdict = _judged(name, one)
    said = {*_WORDS, "k_hat"} if "k̂" in lead + advice else _WORDS
    rest = {
        "Pareto k̂" if key == "k_hat" else key.replace("_", " "): value
        for key, value in one.items()
        if key not in said and isinstance(value, int | float | str)
    }
    facts = "; ".join(f"{key} {number(value)}" for key, value in rest.items())
    parts = [notice(advice, verdict, lead)]
    return "\n".join(
        [*parts, paragraph(facts[:1].upper() + facts[1:] + ".", "soft") if facts else ""]
    )


def _judged(name: str, one: dict[str, Any]) -> tuple[str, str, str]:
    """Name with trust, advice, and the verdict that colours them.

    Trust decides; k̂, which may be that of the approximation a method started from, only where a
    file does not tell of trust.
    """
    trust, k_hat = one.get("trust"), known(one.get("k_hat"))
    by_trust = isinstance(trust, str) and trust in TRUST
    verdict = TRUST[str(trust)] if by_trust else k_hat_verdict(k_hat)
    advice = str(one.get("advice") or _K_HAT_WORDS[k_hat_verdict(k_hat)])
    lead = ", ".join([name or "Posterior", *[str(trust)] * by_trust])
    if not by_trust and "k̂" not in advice and k_hat is not None:
        lead += f", k̂ = {k_hat:.2f}"
    return lead + (":" if advice.startswith("k̂") else "."), advice, verdict


def k_hat_verdict(k_hat: float | None) -> str:
    """Pareto k̂ of the importance weights: good below 0.5, poor from 0.7 on."""
    if k_hat is None:
        return ""
    if k_hat < TRUSTED_K_HAT:
        return GOOD
    return UNSURE if k_hat < USABLE_K_HAT else POOR


TALLEST = 2.6  # peak drawn, over that of the method reported: a collapsed one is cut there
Lines = list[tuple[Method, Draws]]


def draw_methods(run: Run) -> Picture | None:
    """One panel a quantity, one line a method; None where one method ran."""
    found = draws_by_method(run)
    if len(found) < 2:
        return None
    names = list(dict.fromkeys(name for _, some in found for name in some))
    lines: dict[str, Lines] = {
        name: [
            (m, some[name]) for m, some in found if name in some and some[name].posterior.size > 1
        ]
        for name in names
    }
    names = [name for name in names if lines[name]]
    shown = names[:MOST]
    if not shown:
        return None
    looks = looks_of(run)
    columns = min(COLUMNS, max(len(shown), 2)) if len(shown) != 6 else 3
    rows = 1 + (len(looks) + 1) // 6
    figure, axes = style.panels(len(shown), columns, 1.95, 0.1 + 0.2 * rows, left=0.15, below=0.62)
    for name, where in zip(shown, axes, strict=True):
        _draw_one(where, lines[name], looks, truth(run, name))
    style.legend(figure, axes)
    return style.picture("methods", figure, _caption(run, len(names) - len(shown)))


def _caption(run: Run, left_out: int) -> str:
    reported = next(one.name for one in run.methods if one.chosen)
    return (
        f"Posterior marginal densities by method, {reported} (shaded) being the one reported, and "
        "the prior, on a common scale (kernel estimates from weighted draws). A method that is too "
        "sure of itself is narrower and taller than the others."
        + f" {left_out} further quantities are not drawn."
        * (left_out > 0)
    )


def looks_of(run: Run) -> dict[str, dict[str, object]]:
    """How the line of each method is drawn: the same in every picture."""
    others = [one.name for one in run.methods if not one.chosen]
    looks = {name: {**style.look(k), "linewidth": 1.2} for k, name in enumerate(others)}
    chosen = {"color": style.ANALYSIS, "linestyle": "-", "linewidth": 2.0}
    return {one.name: chosen if one.chosen else looks[one.name] for one in run.methods}


def common_limits(lines: Lines, mark: float | None = None) -> tuple[float, float]:
    """Those of the method reported, wide enough for the middle of the others within reason."""
    first = next((one for method, one in lines if method.chosen), lines[0][1])
    low, high = quantile(first.posterior, first.weights, np.array([0.003, 0.997]))
    reach = 0.5 * (high - low) or max(abs(float(low)), 1.0) * 1e-3
    ends = [quantile(one.posterior, one.weights, np.array([0.01, 0.99])) for _, one in lines]
    low = min(low, max(min(end[0] for end in ends), low - reach))
    high = max(high, min(max(end[1] for end in ends), high + reach))
    if mark is not None and low - 2 * reach < mark < high + 2 * reach:
        low, high = min(low, mark), max(high, mark)
    margin = 0.06 * (high - low) or reach
    positive = all(one.posterior.min() >= 0 for _, one in lines)
    return float(max(low - margin, 0.0) if positive else low - margin), float(high + margin)


def _draw_one(axes: Axes, lines: Lines, looks: dict, true: float | None) -> None:
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
    axes.xaxis.set_major_locator(MaxNLocator(3))
