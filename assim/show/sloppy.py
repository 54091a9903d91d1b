"""Stiff and sloppy directions: what the data fix, in words, bars and a profile."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from assim.show import style
from assim.show.finished import Run
from assim.show.page import known, number, paragraph, table
from assim.show.style import Picture


@dataclass(frozen=True)
class Stiffness:
    """Eigenpairs as diagnostics.nc has them, the stiffest first.

    Args:
        names: of the coordinates.
        eigenvalues: precision by the data over that of the prior, shape (p,).
        prior: precision by the prior along each, shape (p,).
        vectors: unit vectors as columns, shape (p, p).
    """

    names: list[str]
    eigenvalues: np.ndarray
    prior: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True)
class Along:
    """Rise of J along a direction, by the number of the direction (from 1)."""

    direction: int
    distance: np.ndarray
    rise: np.ndarray
    quadratic: np.ndarray
    settled: np.ndarray


def stiffness(run: Run) -> Stiffness | None:
    """The directions; None where the diagnostics have none."""
    file = run.files.get("diagnostics")
    if file is None or "direction_eigenvalue" not in file or "direction_component" not in file:
        return None
    component = file["direction_component"]
    values = np.asarray(file["direction_eigenvalue"].values, float)
    if component.dims != ("coordinate", "direction") or not np.isfinite(values).all():
        return None
    prior = file.get("direction_prior")
    ones = np.ones(values.size) if prior is None else np.asarray(prior.values, float)
    return Stiffness(_names(run, file), values, ones, np.asarray(component.values, float))


def _names(run: Run, file: xr.Dataset) -> list[str]:
    """Of the coordinates, as the summary spells them, else as the file does."""
    given = run.summary.get("sloppy")
    spelt = given.get("coordinates") if isinstance(given, dict) else None
    count = file.sizes["coordinate"]
    if isinstance(spelt, list) and len(spelt) == count:
        return [str(name) for name in spelt]
    meanings = file["coordinate"].attrs.get("flag_meanings", "") if "coordinate" in file else ""
    told = str(meanings).split()
    return told if len(told) == count else [str(k + 1) for k in range(count)]


def along(run: Run) -> Along | None:
    """The profile, where one was made."""
    file = run.files.get("diagnostics")
    names = [f"profile_{end}" for end in ("distance", "rise", "quadratic", "converged")]
    if file is None or "profile_direction" not in file or not all(name in file for name in names):
        return None
    columns = (np.asarray(file[name].values, float) for name in names)
    return Along(int(file["profile_direction"]), *columns)


def directions(run: Run) -> list[str]:
    """How many combinations the data fix, and which, in words."""
    given = run.summary.get("sloppy")
    if not isinstance(given, dict):
        return []
    rows = given.get("directions")
    entries = [one for one in rows if isinstance(one, dict)] if isinstance(rows, list) else []
    if not entries:
        return []
    told = [one for one in entries if one.get("informed")]
    text = (
        f"Of {len(entries)} combinations of what was estimated the data tell more than the prior "
        f"of {len(told)}"
        if len(entries) > 1
        else f"The {'data' if told else 'prior'} say more of what was estimated"
    )
    ends = [known(one.get("stddev")) for one in (told[0], told[-1])] if len(told) > 1 else []
    if len(ends) == 2 and ends[0] and ends[1]:
        ratio = number(ends[1] / ends[0], 2)
        text += f"; of these the stiffest is known {ratio} times as well as the sloppiest"
    note = (
        "Combinations are of whitened values: each estimated quantity in standard deviations of "
        "its prior (as a normal variate), all else integrated out. λ is the data's precision over "
        "that of the prior; the standard deviation left is in those of the prior."
    )
    return [paragraph(text + "."), _table(entries), paragraph(note, "soft")]


def _table(entries: list[dict]) -> str:
    rows = [
        (
            str(k),
            str(one.get("words", "")).replace("- ", "− "),
            number(one.get("eigenvalue"), 3),
            number(one.get("stddev"), 2),
            "data" if one.get("informed") else "prior",
        )
        for k, one in enumerate(entries, 1)
    ]
    header = ("", "combination", "λ", "standard deviation left", "mostly told by")
    return table(header, rows)


MOST = 16  # directions drawn
MOST_NAMED = 2 * 10  # names in the legend: each colour plain and hatched
BAR, FOOT, HEAD, ROW = 0.25, 0.5, 0.3, 0.2  # inches: a bar, room below and above, a legend's row
COLUMNS = 8  # of the legend
LETTER, AROUND = 0.034, 0.035  # share of a bar that a letter of a name takes, and room around it
COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442"),
    *("#999999", "#7A5230", "#B8A9D9"),
)


def draw_sloppy(run: Run) -> Picture | None:
    """Bars of eigenvalues and of compositions; below them the profile where there is one."""
    found = stiffness(run)
    if found is None or found.eigenvalues.size < 2:
        return None
    shown = _shown(found.eigenvalues.size)
    profiled = along(run)
    named = _in_view(found, shown)
    rows = -(-len(named) // COLUMNS)
    upper = FOOT + HEAD + ROW * rows + BAR * shown.size
    lower = 0.0 if profiled is None else 2.35
    figure = Figure(figsize=(style.WIDTH, upper + lower))
    FigureCanvasAgg(figure)
    left, right = _two(figure, lower + FOOT, BAR * shown.size)
    _draw_eigenvalues(left, found, shown)
    _draw_composition(right, found, shown)
    handles = [Patch(**_fill(i), label=found.names[i]) for i in named]
    figure.legend(handles=handles, loc="upper center", ncols=COLUMNS, handlelength=1.1,
                  columnspacing=1.2)  # fmt: skip
    if profiled is not None:
        _draw_profile(_below(figure, lower), profiled)
    return style.picture("sloppy", figure, _caption(found, shown, profiled))


def _shown(count: int) -> np.ndarray:
    """All directions, or the stiffest and the sloppiest."""
    every = np.arange(count)
    return every if count <= MOST else np.concatenate([every[: MOST // 2], every[-MOST // 2 :]])


def _two(figure: Figure, bottom: float, height: float) -> tuple[Axes, Axes]:
    width, whole = figure.get_size_inches()
    boxes = ((0.45, 2.75), (3.45, width - 3.45 - style.RIGHT))
    first, second = (
        figure.add_axes((x / width, bottom / whole, w / width, height / whole)) for x, w in boxes
    )
    return first, second


def _below(figure: Figure, height: float) -> Axes:
    width, whole = figure.get_size_inches()
    box = (0.6 / width, 0.5 / whole, 3.6 / width, (height - 0.85) / whole)
    return figure.add_axes(box)


def _caption(found: Stiffness, shown: np.ndarray, profiled: Along | None) -> str:
    text = (
        "Stiff and sloppy directions. Left: eigenvalue λ of each combination, the data's precision "
        "over that of the prior; above one (blue) the data tell more, below (grey) the prior; a "
        "triangle where λ is below the axis. Right: what the combination is made of, the share of "
        "each quantity v² by its sign, in whitened values."
    )
    if profiled is not None:
        text += (
            f" Below: J along direction {profiled.direction}, all others minimised over, against "
            "the parabola of the Laplace approximation"
            + ("; open where the minimisation did not settle" if not profiled.settled.all() else "")
            + "."
        )
    if (left_out := found.eigenvalues.size - shown.size) > 0:
        text += f" {left_out} directions between are not drawn."
    return text


def _draw_eigenvalues(axes: Axes, found: Stiffness, shown: np.ndarray) -> None:
    values = found.eigenvalues[shown]
    informed = values > found.prior[shown]
    place = np.arange(shown.size)
    floor = max(float(found.eigenvalues.max()) * 1e-12, 1e-4)
    low = values < floor
    least = min(float(values[~low].min()) if (~low).any() else 1.0, 1.0)
    ends = least / 4, max(float(values.max()), 1.0) * 4
    axes.set_xscale("log")
    axes.set_xlim(*ends)
    for told, colour, label in ((True, style.ANALYSIS, "data"), (False, "#A9A9A9", "prior")):
        here = (informed == told) & ~low
        start, stop = np.minimum(values[here], 1.0), np.maximum(values[here], 1.0)
        axes.barh(place[here], stop - start, 0.72, start, color=colour, label=label)
    axes.plot(np.full(int(low.sum()), ends[0] * 1.3), place[low], "<", color=style.REJECTED,
              markersize=5)  # fmt: skip
    axes.axvline(1.0, color=style.INK, linewidth=0.9)
    for text, side, offset in (("← prior", "right", -4), ("data →", "left", 4)):
        axes.annotate(text, (1.0, 1.0), xycoords=("data", "axes fraction"), xytext=(offset, 2),
                      textcoords="offset points", ha=side, va="bottom", fontsize=8)  # fmt: skip
    axes.set(ylim=(shown.size - 0.4, -0.6), ylabel="Direction")
    axes.set_xlabel("Eigenvalue λ, data over prior")
    axes.set_yticks(place, [str(k + 1) for k in shown])
    axes.tick_params(axis="y", length=0)


def _draw_composition(axes: Axes, found: Stiffness, shown: np.ndarray) -> None:
    for row, k in enumerate(shown):
        vector = found.vectors[:, k]
        for sign in (1, -1):
            end = 0.0
            mine = [i for i in np.argsort(-np.abs(vector)) if sign * vector[i] > 0]
            for i in mine:
                share = float(vector[i] ** 2)
                start = end if sign > 0 else -end - share
                axes.barh(row, share, 0.72, start, **_fill(i))
                if share > AROUND + LETTER * len(found.names[i]):
                    _write(axes, start + share / 2, row, found.names[i], _fill(i)["facecolor"])
                end += share
    axes.axvline(0.0, color=style.INK, linewidth=0.9)
    axes.set(xlim=(-1, 1), ylim=(shown.size - 0.4, -0.6), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1], ["1", "0.5", "0", "0.5", "1"])
    axes.set_xlabel("negative  ←  share of each quantity  →  positive")


def _fill(coordinate: int) -> dict[str, Any]:
    """Colour of a coordinate; hatched where colours come round again."""
    again = "/////" if coordinate >= len(COLOURS) else None
    colour = COLOURS[coordinate % len(COLOURS)]
    return {"facecolor": colour, "edgecolor": "white", "linewidth": 0.6, "hatch": again}


def _in_view(found: Stiffness, shown: np.ndarray) -> list[int]:
    """Coordinates with a share that can be seen in some direction, as the legend names them."""
    most = np.max(found.vectors[:, shown] ** 2, axis=1)
    return [int(i) for i in np.flatnonzero(most > 0.02)][:MOST_NAMED]


def _write(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    red, green, blue = to_rgb(colour)
    dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
    axes.text(x, y, text, ha="center", va="center", fontsize=7, clip_on=True,
              color="white" if dark else style.INK)  # fmt: skip


def _draw_profile(axes: Axes, one: Along) -> None:
    fine = np.isfinite(one.rise)
    if fine.any():
        ends = one.distance.min(), one.distance.max()
        t = np.linspace(*ends, 200)
        axes.plot(t, t**2 / 2, "--", color=style.BACKGROUND, label="Laplace approximation")
        axes.plot(one.distance[fine], one.rise[fine], color=style.ANALYSIS, label="profile")
        for settled, face in ((1.0, style.ANALYSIS), (0.0, "white")):
            here = fine & (one.settled == settled)
            axes.plot(one.distance[here], one.rise[here], "o", color=style.ANALYSIS, markersize=4.5,
                      markerfacecolor=face)  # fmt: skip
        axes.set_ylim(0, min(1.08 * float(one.rise[fine].max()), 3 * float(one.quadratic.max())))
    axes.set_xlabel("Distance from the minimum (posterior standard deviations)")
    axes.set_ylabel("J − min J")
    axes.legend(loc="upper left", bbox_to_anchor=(1.03, 1.0))
    axes.set_title(f"Along direction {one.direction}")
