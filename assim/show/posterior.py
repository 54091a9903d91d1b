"""Prior and posterior: marginal densities of every scalar quantity, and every pair of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assim.show import style
from assim.show.corner import draw_corner
from assim.show.density import ScalarDraws, density, draws, label_below, limits
from assim.show.finished import Run, quantity, truth
from assim.show.section import Section
from assim.show.style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 24


def draw_densities(run: Run) -> Picture | None:
    """One panel a quantity: prior, posterior, and where the cost is least."""
    everything = draws(run)
    shown = [one for one in everything if one.posterior.size > 1][:MOST]
    if not shown:
        return None
    columns = style.columns_of_densities(len(shown))
    figure, axes = style.panels(len(shown), columns, 1.95, top=0.3, left=0.15, below=0.62)
    for one, where in zip(shown, axes, strict=True):
        _draw(where, one, quantity(run, one.name, "map"), truth(run, one.name))
    style.legend(figure, axes)
    caption = (
        "Prior and posterior marginal densities on a common scale (kernel estimates from draws; "
        "the axes follow the posterior, so wide priors are cut). The line marks the minimum of the "
        "cost (MAP)."
    )
    left_out = style.left_out(len(everything) - len(shown), "quantities")
    return style.picture(figure, caption + left_out)


def _draw(axes: Axes, about: ScalarDraws, mode: float | None, truth: float | None) -> None:
    low, high = limits(about, [x for x in (mode, truth) if x is not None])
    grid = np.linspace(low, high, 256)
    posterior = density(about.posterior, about.weights, grid)
    top = posterior.max() or 1.0
    highest = 1.0
    if about.prior is not None and about.prior.size > 1 and np.ptp(about.prior) > 0:
        flat = np.full(about.prior.size, 1 / about.prior.size)
        prior = density(about.prior, flat, grid) / top
        highest = prior.max()
        axes.plot(grid, prior, color=style.BACKGROUND, linestyle="--", label="prior")
    posterior /= top
    axes.fill_between(grid, posterior, color=style.ANALYSIS, alpha=0.25, linewidth=0)
    axes.plot(grid, posterior, color=style.ANALYSIS, label="posterior")
    if mode is not None:
        axes.axvline(mode, color=style.REJECTED, linewidth=1.1, label="MAP")
    if truth is not None:
        axes.axvline(
            truth, color=style.TRUTH, linewidth=1.1, linestyle=style.TRUTH_DASH, label="truth"
        )
    axes.set_xlim(low, high)
    axes.set_ylim(0, 1.12 * min(max(1.0, highest), 3.0))
    style.few_ticks(axes.xaxis, 4)
    style.bare(axes, about.name, label_below(about))


SECTION = Section(
    "Prior and posterior",
    pictures={"densities": draw_densities, "corner": draw_corner},
    missing="the directory holds no posterior.nc with draws of scalar quantities.",
)
