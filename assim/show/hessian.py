"""Eigenvalues of the observations' part of the Hessian: how many directions they inform."""

import numpy as np

from assim.show import style
from assim.show.finished import Run
from assim.show.section import Section
from assim.show.style import Picture


def eigenvalues(run: Run) -> np.ndarray:
    """Eigenvalues of the Hessian of the observations, largest first; empty without Laplace."""
    file = run.files.get("diagnostics")
    if file is None or "hessian_eigenvalue" not in file:
        return np.zeros(0)
    values = np.asarray(file["hessian_eigenvalue"].values, dtype=float)
    return np.sort(values[np.isfinite(values)])[::-1]


def draw_spectrum(run: Run) -> Picture | None:
    """Eigenvalues of the observations' part of the Hessian, against the prior's unit ones."""
    values = eigenvalues(run)
    if values.size == 0:
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
        "1: observations inform as much as the prior",
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
    style.whole_ticks(axes.xaxis)
    return style.picture(figure, _caption(values, int(low.sum())))


def _caption(values: np.ndarray, low: int) -> str:
    above = int((values > 1).sum())
    text = (
        "Eigenvalues of the observations' part of the Hessian of J, whose prior part is the "
        f"identity: {above} of the {values.size} known modes are above one, so determined more by "
        "the observations than by the prior."
    )
    if low:
        text += f" Triangles at the foot: {low} below the axis or not positive."
    return text


SECTION = Section(
    "Hessian",
    pictures={"spectrum": draw_spectrum},
    missing="diagnostics.nc holds no eigenvalues of the Hessian.",
)
