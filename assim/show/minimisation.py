"""How the minimisation went: terms of the cost, loops, minima, the Hessian there, and time."""

from __future__ import annotations

import numpy as np

from assim.show import style
from assim.show.consistency import expected_cost
from assim.show.finished import Run, methods_of
from assim.show.page import UNSURE, Section, known, notice, number, paragraph, table
from assim.show.style import Picture

# ---- words ---------------------------------------------------------------------------------------


def minimisation(run: Run) -> list[str]:
    """The cost at the minimum, and other minima."""
    return [costs(run), minima(run)]


def costs(run: Run) -> str:
    """The terms of the cost at the minimum."""
    terms = run.summary["cost"]
    ordered = [key for key in terms if key != "total"] + ["total"] * ("total" in terms)
    rows: list[tuple[object, ...]] = [
        (term.replace("_", " "), _six(terms[term]), expected_cost(run, term)) for term in ordered
    ]
    if run.summary["gradient_norm"] is not None:
        rows.append(("gradient norm ‖∇J‖", run.summary["gradient_norm"], ""))
    if not any(row[2] for row in rows):
        return table(("Cost at the minimum", ""), [row[:2] for row in rows])
    return table(("Cost at the minimum", "", "expected"), rows)


def _six(value: object) -> str:
    return number(float(parsed), 6) if (parsed := known(value)) is not None else number(value)


def minima(run: Run) -> str:
    """The distinct minima, where several first guesses met more than one."""
    entries, failed = run.summary["minima"], run.summary["failed_starts"]
    lost = paragraph(f"From {failed} first guesses the model left its domain.") if failed else ""
    if len(entries) < 2:
        return lost
    lowest, second = (known(minimum["cost"]) for minimum in entries[:2])
    above = second - lowest if lowest is not None and second is not None else 0.0
    others = f"{len(entries) - 1} other minima were met, the next" if len(entries) > 2 else ""
    text = f"{others or 'Another minimum was met,'} {number(above, 3)} nats above the lowest. "
    verdict, what = _about_others(run)
    rows = [(str(k), _six(about["cost"]), about["starts"]) for k, about in enumerate(entries, 1)]
    header = ("Minimum", "cost", "first guesses that led there")
    return notice(text + what, verdict) + table(header, rows) + lost


def _about_others(run: Run) -> tuple[str, str]:
    """How much of the posterior lies about other minima, as its methods say; they judge it."""
    methods = methods_of(run.summary).values()
    if not methods:
        return UNSURE, "No posterior says how much of it lies about them: this is the lowest."
    shares = [share for about in methods if (share := known(about.get("elsewhere"))) is not None]
    text = "What that means for a posterior is part of its verdict."
    if not shares:
        return "", text
    return "", f"About {number(100 * shares[0], 2)} per cent of the posterior is there. {text}"


# ---- picture -------------------------------------------------------------------------------------


def draw_convergence(run: Run) -> Picture | None:
    """Cost and gradient norm of every outer loop."""
    file = run.file("diagnostics")
    if "loop" not in file.dims:
        return None
    names = ("loop", "cost", "gradient_norm")
    loop, cost, gradient = (np.asarray(file[name].values, float) for name in names)
    figure, (left, right) = style.panels(2, 2, 2.6)
    _draw_cost(left, loop, cost)
    positive = np.where(gradient > 0, gradient, np.nan)
    _draw_loops(right, loop, positive, "Gradient norm ‖∇J‖", log=True)
    caption = (
        "Cost J (above the least met, where that shows more) and gradient norm per outer loop."
    )
    return style.picture(figure, caption)


def _draw_cost(axes: style.Axes, loop: np.ndarray, cost: np.ndarray) -> None:
    """A log axis where J itself allows it, else of J − J_min where that spans decades."""
    good = cost[np.isfinite(cost)]
    values, label = cost, "Cost J"
    log = bool(good.size and good.min() > 0 and good.max() > 30 * good.min())
    if good.size and not log:
        above = np.where(cost > good.min(), cost - good.min(), np.nan)
        left = above[np.isfinite(above)]
        if left.size > 2 and left.max() > 300 * left.min():
            values, label, log = above, "Cost J − min J", True
            note = f"min J = {good.min():.6g}".replace("-", "−")
            axes.annotate(note, (0.97, 0.95), xycoords="axes fraction", ha="right", va="top")
    _draw_loops(axes, loop, values, label, log)


def _draw_loops(
    axes: style.Axes, loop: np.ndarray, values: np.ndarray, label: str, log: bool
) -> None:
    """Values by loop; a log axis has at least one decade, so that it bears labelled ticks."""
    axes.plot(loop, values, "o-", color=style.ANALYSIS, markersize=4)
    axes.set(xlabel="Outer loop", ylabel=label)
    style.few_ticks(axes.xaxis, 8, whole=True)
    good = values[np.isfinite(values) & (values > 0)]
    if log and good.size:
        low, high = np.floor(np.log10(good.min())), np.ceil(np.log10(good.max()))
        axes.set(yscale="log", ylim=(10**low * 0.7, 10**high * 1.4))


# ---- the Hessian ---------------------------------------------------------------------------------


def draw_spectrum(run: Run) -> Picture | None:
    """Eigenvalues of the observations' part of the Hessian, against the prior's unit ones."""
    eigenvalues = np.asarray(run.file("diagnostics").get("hessian_eigenvalue", []), dtype=float)
    values = np.sort(eigenvalues[np.isfinite(eigenvalues)])[::-1]
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
    axes.set(xlabel="Mode", ylabel="Eigenvalue λ of the Hessian − I")
    axes.set_xlim(0.5 - 0.01 * values.size, values.size + 0.5 + 0.01 * values.size)
    style.few_ticks(axes.xaxis, whole=True)
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


# ---- time ----------------------------------------------------------------------------------------


def seconds(run: Run) -> list[str]:
    """Wall time by stage."""
    rows = [
        (stage.replace("_", " "), number(value, 3))
        for stage, value in run.summary.get("seconds", {}).items()
    ]
    return [table(("Stage", "seconds"), rows)]


MINIMISATION = Section(
    "Minimisation",
    minimisation,
    {"convergence": draw_convergence},
    "the directory holds no diagnostics.nc with outer loops.",
)
HESSIAN = Section(
    "Hessian",
    pictures={"spectrum": draw_spectrum},
    missing="diagnostics.nc holds no eigenvalues of the Hessian.",
)
SECONDS = Section("Time spent", seconds)
