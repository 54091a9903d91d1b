"""Pictures of the minimisation: convergence, and the spectrum of the Hessian."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from assim.show import style
from assim.show.finished import Run, eigenvalues, per_loop
from assim.show.style import Picture

# ---- convergence ---------------------------------------------------------------------------------


def draw_convergence(run: Run) -> Picture | None:
    """Cost and gradient norm of every outer loop."""
    cost = per_loop(run, "cost", "cost_total", "total")
    gradient = per_loop(run, "gradient_norm")
    shown = [pair for pair in (cost, gradient) if pair is not None]
    if not shown:
        return None
    figure, axes = style.panels(len(shown), 2, 2.6)
    if cost is not None:
        _draw_cost(axes[0], *cost)
    if gradient is not None:
        positive = np.where(gradient[1] > 0, gradient[1], np.nan)
        _draw_loops(axes[-1], gradient[0], positive, "Gradient norm ‖∇J‖")
        _log_scale(axes[-1], positive)
    caption = (
        "Cost J (above the least met, where that shows more) and gradient norm per outer loop."
    )
    return style.picture("convergence", figure, caption)


def _draw_cost(axes: Axes, loop: np.ndarray, cost: np.ndarray) -> None:
    """A log axis where J itself allows it, else of J − J_min where that spans decades."""
    good = cost[np.isfinite(cost)]
    if good.size and good.min() > 0 and good.max() > 30 * good.min():
        _draw_loops(axes, loop, cost, "Cost J")
        _log_scale(axes, cost)
        return
    above = np.where(cost > np.nanmin(cost), cost - np.nanmin(cost), np.nan) if good.size else cost
    left = above[np.isfinite(above)]
    if left.size > 2 and left.max() > 300 * left.min():
        _draw_loops(axes, loop, above, "Cost J − min J")
        _log_scale(axes, above)
        note = f"min J = {good.min():.6g}".replace("-", "−")
        axes.annotate(note, (0.97, 0.95), xycoords="axes fraction", ha="right", va="top")
        return
    _draw_loops(axes, loop, cost, "Cost J")


def _draw_loops(axes: Axes, loop: np.ndarray, values: np.ndarray, label: str) -> None:
    axes.plot(loop, values, "o-", color=style.ANALYSIS, markersize=4)
    axes.set_xlabel("Outer loop")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))


def _log_scale(axes: Axes, values: np.ndarray) -> None:
    """A log axis of at least one decade, so that it bears labelled ticks."""
    good = values[np.isfinite(values) & (values > 0)]
    if not good.size:
        return
    axes.set_yscale("log")
    axes.set_ylim(
        10 ** np.floor(np.log10(good.min())) * 0.7, 10 ** np.ceil(np.log10(good.max())) * 1.4
    )


# ---- spectrum ------------------------------------------------------------------------------------


def draw_spectrum(run: Run) -> Picture | None:
    """Eigenvalues of the observations' part of the Hessian, against the prior's unit ones."""
    values = eigenvalues(run)
    if values is None or values.size == 0:
        return None
    figure, (axes,) = style.panels(1, 1, 2.7)
    floor = 1e-6 if values.max() <= 0 else min(1e-2, values.max() * 1e-8)
    low = values < floor
    mode = np.arange(1, values.size + 1)
    axes.plot(mode[~low], values[~low], "o", color=style.ANALYSIS, markersize=4)
    axes.set_yscale("log")
    if (~low).any():
        smallest = min(values[~low].min(), 1.0)
        axes.set_ylim(smallest * 0.3, max(values.max(), 1.0) * 3)
    bottom = np.full(int(low.sum()), axes.get_ylim()[0])
    axes.plot(mode[low], bottom, "v", color=style.REJECTED, markersize=5, clip_on=False)
    axes.axhline(1.0, color=style.INK, linewidth=0.8, linestyle="--")
    above = values.max() > 1  # at the left, points lie on this side of the line
    axes.annotate(
        "1: observations tell as much as the prior",
        (0.0, 1.0),
        xycoords=("axes fraction", "data"),
        xytext=(4, -4 if above else 4),
        textcoords="offset points",
        va="top" if above else "bottom",
        fontsize=8,
    )
    axes.set_xlabel("Mode")
    axes.set_ylabel("Eigenvalue λ of the Hessian − I")
    axes.set_xlim(0.5 - 0.01 * values.size, values.size + 0.5 + 0.01 * values.size)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return style.picture("spectrum", figure, _spectrum_caption(values, int(low.sum())))


def _spectrum_caption(values: np.ndarray, low: int) -> str:
    above = int((values > 1).sum())
    text = (
        "Eigenvalues of the observations' part of the Hessian of J, whose prior part "
        f"is the identity: {above} of the {values.size} known modes are above one, so told by the "
        "observations more than by the prior."
    )
    if low:
        text += f" Triangles at the foot: {low} below the axis or not positive."
    return text
