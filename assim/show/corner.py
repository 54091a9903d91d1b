"""Corner plot: every pair of the scalar quantities, by each method."""

from __future__ import annotations

import numpy as np

from assim.show import style
from assim.show.density import ScalarDraws, density, draws, draws_by_method
from assim.show.finished import Method, Run, with_units
from assim.show.layout import Entry
from assim.show.methods import Lines, common_limits, looks_of
from assim.show.style import Picture
from assim.statistics.resampling import systematic

MOST = 8  # quantities, where several methods are compared
FEW = 4  # of one method, whose pairs take the longest to draw
CELLS = 96  # of the grid on which densities are drawn, a side
LEAST = 0.7  # standard deviation of a kernel at least, in cells
LETTERS = 14  # that a label as wide as a panel has
ROOM = 48  # cells beyond each end of the axes
POINTS = 250  # draws shown as dots
LEVELS = (0.9, 0.5)
LEFT, BELOW, GAP = 0.68, 0.62, 0.07  # inches


def draw_corner(run: Run) -> Picture | None:
    """Contours of 50 and 90 per cent of the method reported, and of 90 per cent of others."""
    alone = Method("posterior", True, Entry({}, "summary.json"), None, None)
    by_method = draws_by_method(run) or [(alone, {about.name: about for about in draws(run)})]
    reported = next((some for method, some in by_method if method.chosen), None)
    if reported is None:
        return None
    free = [name for name, about in reported.items() if _varies(about)]
    derived = {name for name, about in run.summary["quantities"].items() if "draws" in about}
    free.sort(key=lambda name: name in derived)  # what is estimated before what is derived from it
    names = free[: MOST if run.methods else FEW]
    if len(names) < 2:
        return None
    drawn = [(m, s) for m, s in by_method if all(n in s and _varies(s[n]) for n in names)]
    looks = looks_of(run) or {"posterior": {"color": style.ANALYSIS}}
    ranges = [common_limits([(m, some[n]) for m, some in drawn]) for n in names]
    figure, grid = _triangle(len(names))
    for row, name in enumerate(names):
        _draw_marginal(grid[row][row], [(m, s[name]) for m, s in drawn], looks, ranges[row])
        for column in range(row):
            ends = ranges[column], ranges[row]
            for method, some in drawn:
                pair = some[names[column]], some[name]
                _draw_pair(grid[row][column], pair, ends, method.chosen, looks[method.name])
    for row, line in enumerate(grid):
        for column, axes in enumerate(line):
            axes.set_xticks(_ticks(*ranges[column]))
            axes.set_yticks(_ticks(*ranges[row]) if row != column else [])
    units = [with_units("", reported[name].units).replace(" (", "\n(") for name in names]
    _name(figure, grid, [name + own for name, own in zip(names, units, strict=True)])
    _legend(figure, [method for method, _ in drawn], looks)
    several = " by the method reported; lines, 90 % by the others" * bool(run.methods)
    caption = (
        "Posterior of every pair of quantities: shaded, the regions of highest density that hold "
        f"50 % and 90 %{several} (kernel estimates); dots, some of the draws. On the diagonal the "
        "marginals."
    )
    return style.picture(figure, caption + style.left_out(len(free) - len(names), "quantities"))


def _varies(about: ScalarDraws) -> bool:
    return about.posterior.size > 2 and float(np.ptp(about.posterior)) > 0


def _ticks(low: float, high: float) -> list[float]:
    """A few, away from the ends, where they would run into those of the next panel."""
    from matplotlib.ticker import MaxNLocator

    margin = 0.1 * (high - low)
    for most in (4, 3, 2):
        every = MaxNLocator(most).tick_values(low, high)
        ticks = [float(tick) for tick in every if low + margin <= tick <= high - margin]
        letters = max((len(f"{tick:.3g}".split("e")[0]) + 1 for tick in ticks), default=0)
        if len(ticks) < 2 or letters * (high - low) <= LETTERS * (ticks[1] - ticks[0]):
            break
    return ticks


def _name(figure: style.Figure, grid: list[list[style.Axes]], labels: list[str]) -> None:
    """Labels at the foot and at the left, each row of them on one line."""
    from assim.show import ticks

    width, height = figure.get_size_inches()
    for axes in (*grid[-1], *(line[0] for line in grid[1:])):
        ticks.plain_numbers(axes)
    for axes, label in zip(grid[-1], labels, strict=True):
        middle = axes.get_position().x0 + axes.get_position().width / 2
        label = ticks.with_power(label, ticks.power(axes.xaxis))
        figure.text(middle, 0.34 / height, label, ha="center", va="top", fontsize=7.5)
    for line, label in zip(grid[1:], labels[1:], strict=True):
        box = line[0].get_position()
        label = ticks.with_power(label, ticks.power(line[0].yaxis))
        figure.text(0.05 / width, box.y0 + box.height / 2, label, rotation=90, va="center",
                    ha="left", multialignment="center", fontsize=7.5)  # fmt: skip


def _triangle(count: int) -> tuple[style.Figure, list[list[style.Axes]]]:
    """Panels below and on the diagonal; ticks only at the left and below."""
    side = min(1.35, (style.WIDTH - LEFT - style.RIGHT) / count - GAP)
    size = style.WIDTH, BELOW + count * (side + GAP) + 0.12
    figure = style.blank(size[1])
    grid: list[list[style.Axes]] = []
    for row in range(count):
        bottom = BELOW + (count - 1 - row) * (side + GAP)
        places = ((LEFT + k * (side + GAP), bottom) for k in range(row + 1))
        boxes = [(x / size[0], y / size[1], side / size[0], side / size[1]) for x, y in places]
        grid.append([figure.add_axes(box) for box in boxes])
    for row, line in enumerate(grid):
        for column, axes in enumerate(line):
            axes.tick_params(labelsize=6.5, length=2.5, pad=2)
            axes.tick_params(labelbottom=row == count - 1, labelleft=column == 0 < row)
            axes.spines[["top", "right"]].set_visible(row != column)
    return figure, grid


def _draw_marginal(axes: style.Axes, lines: Lines, looks: dict, ends: tuple[float, float]) -> None:
    grid = np.linspace(*ends, 200)
    top = 0.0
    for method, about in lines:
        curve = density(about.posterior, about.weights, grid)
        axes.plot(grid, curve, **{**looks[method.name], "linewidth": 1.1})
        if method.chosen:
            style.band(axes, grid, curve, 0, 0.16)
            top = float(curve.max())
    highest = max(2.0 * top if len(lines) > 1 else 1.1 * top, 1e-300)
    axes.set(xlim=ends, ylim=(0, highest))
    axes.spines["left"].set_visible(False)


def _draw_pair(
    axes: style.Axes,
    pair: tuple[ScalarDraws, ScalarDraws],
    ends: tuple[tuple[float, float], tuple[float, float]],
    chosen: bool,
    look: dict,
) -> None:
    x, y = pair
    if x.posterior.size != y.posterior.size:
        return  # draws of one are missing where the other has them: no pairs
    points = np.stack([x.posterior, y.posterior])
    height = density_of_pairs(points, x.weights, ends)
    levels = levels_of(height, LEVELS)
    height = height[ROOM:-ROOM, ROOM:-ROOM]
    at = [np.linspace(low, high, CELLS) for low, high in ends]
    if levels is None:
        axes.plot(*points, ".", color=look["color"], markersize=2)
    elif chosen:
        shades = [(style.ANALYSIS, 0.22), (style.ANALYSIS, 0.5)]
        axes.contourf(*at, height.T, [*levels, np.inf], colors=shades)
        axes.contour(*at, height.T, levels, colors=style.ANALYSIS, linewidths=0.9)
        some = points[:, systematic(x.weights, min(POINTS, x.weights.size))]
        axes.plot(*some, ".", color=style.INK, markersize=1.4, markeredgewidth=0, alpha=0.5)
    else:
        axes.contour(*at, height.T, levels[:1], colors=look["color"],
                     linestyles=[look["linestyle"]], linewidths=1.0)  # fmt: skip
    axes.set(xlim=ends[0], ylim=ends[1])


def density_of_pairs(
    points: np.ndarray, weights: np.ndarray, ends: tuple[tuple[float, float], tuple[float, float]]
) -> np.ndarray:
    """Mass of weighted points (2, N) by cells, smoothed by a kernel of their own covariance.

    The kernel's covariance is h² times that of the points, h = n^(-1/6) (Scott 1992, equation
    6.43), and the points are shrunk towards their mean so that the estimate keeps it. The kernel
    is applied by its Fourier transform, never narrower than `LEAST`. Cells reach half the axes'
    length beyond each end, where the first and last hold what lies further still.
    """
    low, high = np.array(ends).T
    step = (high - low) / (CELLS - 1)
    room = ROOM * step
    points = np.clip(points, (low - room)[:, None], (high + room)[:, None])
    mean = points @ weights
    away = points - mean[:, None]
    covariance = (weights * away) @ away.T
    h2 = min(float(1 / np.sum(weights**2)) ** (-1 / 3), 0.9)
    points = mean[:, None] + np.sqrt(1 - h2) * away
    width = h2 * covariance + np.diag((LEAST * step) ** 2)
    count = CELLS + 2 * ROOM
    cells = np.rint((points - low[:, None]) / step[:, None]).astype(int) + ROOM
    row, column = np.clip(cells, 0, count - 1)
    counts = np.bincount(row * count + column, weights, count**2).reshape(count, count)
    frequency = [2 * np.pi * np.fft.fftfreq(count, s) for s in step]
    k = np.stack(np.meshgrid(*frequency, indexing="ij"))
    kernel = np.exp(-0.5 * np.einsum("iab,ij,jab->ab", k, width, k))
    return np.maximum(np.fft.ifft2(np.fft.fft2(counts) * kernel).real, 0.0)


def levels_of(height: np.ndarray, masses: tuple[float, ...]) -> list[float] | None:
    """Levels of density above which so much mass lies, lowest first; None where they are not."""
    flat = np.sort(height.ravel())[::-1]
    mass = np.cumsum(flat)
    levels = [float(flat[np.searchsorted(mass, share)]) for share in masses if share < mass[-1]]
    good = len(levels) == len(masses) and bool(np.all(np.diff([0.0, *levels]) > 0))
    return levels if good else None


def _legend(figure: style.Figure, methods: list[Method], looks: dict) -> None:
    from matplotlib.lines import Line2D

    if len(methods) < 2:
        return
    handles = [Line2D([], [], **looks[method.name], label=method.label()) for method in methods]
    figure.legend(handles=handles, loc="upper right", handlelength=2.6, fontsize=9)
