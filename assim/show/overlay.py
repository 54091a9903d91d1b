"""Marginal densities of every quantity by each of several methods, one over the other."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from assim.show import style
from assim.show.density import COLUMNS, MOST, density, label_below, quantile
from assim.show.draws import Draws, draws_by_method
from assim.show.finished import Method, Run, truth
from assim.show.style import Picture

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
