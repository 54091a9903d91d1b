"""Stiff and sloppy directions: what the data fix, in words, bars and a profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from assim.show import style
from assim.show.finished import Run
from assim.show.layout import Entry
from assim.show.page import Section, known, number, paragraph, table
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
    """The directions; None where the diagnostics have none.

    Coordinates are called as the summary spells them where it has them, else as the file does.
    """
    file = run.file("diagnostics")
    if "direction_eigenvalue" not in file:
        return None
    columns = ("direction_eigenvalue", "direction_prior", "direction_component")
    values, prior, vectors = (np.asarray(file[name].values, float) for name in columns)
    if "sloppy" in run.summary:
        names = list(run.summary["sloppy"]["coordinates"])
    else:
        names = str(file["coordinate"].attrs["flag_meanings"]).split()
    return Stiffness(names, values, prior, vectors) if np.isfinite(values).all() else None


def along(run: Run) -> Along | None:
    """The profile, where one was made."""
    file = run.file("diagnostics")
    if "profile_direction" not in file:
        return None
    ends = ("distance", "rise", "quadratic", "converged")
    columns = (np.asarray(file[f"profile_{end}"].values, float) for end in ends)
    return Along(int(file["profile_direction"]), *columns)


def directions(run: Run) -> list[str]:
    """How many combinations the data determine, and which, in words."""
    entries = run.summary.get("sloppy", {}).get("directions", [])
    if not entries:
        return []
    informed = [direction for direction in entries if direction["informed"]]
    text = (
        f"Of {len(entries)} combinations of what was estimated, {len(informed)} are determined "
        "more by the data than by the prior"
        if len(entries) > 1
        else f"What was estimated is determined more by the {'data' if informed else 'prior'} than "
        f"by the {'prior' if informed else 'data'}"
    )
    if len(informed) > 1:
        stiffest, sloppiest = (known(informed[k]["stddev"]) for k in (0, -1))
        if stiffest and sloppiest:
            ratio = number(sloppiest / stiffest, 2)
            text += f"; of these the stiffest is known {ratio} times as well as the sloppiest"
    note = (
        "Combinations are of whitened values: each estimated quantity in standard deviations of "
        "its prior (as a normal variate), all else integrated out. λ is the data's precision over "
        "that of the prior; the standard deviation left is in those of the prior."
    )
    return [paragraph(text + "."), _table(entries), paragraph(note, "soft")]


def _table(entries: list[Entry]) -> str:
    rows = [
        (
            str(k),
            direction["words"].replace("- ", "− "),
            number(direction["eigenvalue"], 3),
            number(direction["stddev"], 2),
            "data" if direction["informed"] else "prior",
        )
        for k, direction in enumerate(entries, 1)
    ]
    header = ("", "combination", "λ", "standard deviation left", "mostly determined by")
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
    from matplotlib.patches import Patch

    stiff = stiffness(run)
    if stiff is None or stiff.eigenvalues.size < 2:
        return None
    shown = _shown(stiff.eigenvalues.size)
    profiled = along(run)
    named = _in_view(stiff, shown)
    rows = -(-len(named) // COLUMNS)
    upper = FOOT + HEAD + ROW * rows + BAR * shown.size
    lower = 0.0 if profiled is None else 2.35
    figure = style.blank(upper + lower)
    left, right = _two(figure, lower + FOOT, BAR * shown.size)
    _draw_eigenvalues(left, stiff, shown)
    _draw_composition(right, stiff, shown)
    handles = [Patch(**_fill(i), label=stiff.names[i]) for i in named]
    figure.legend(handles=handles, loc="upper center", ncols=COLUMNS, handlelength=1.1,
                  columnspacing=1.2)  # fmt: skip
    if profiled is not None:
        width, whole = figure.get_size_inches()
        box = (0.6 / width, 0.5 / whole, 3.6 / width, (lower - 0.85) / whole)
        _draw_profile(figure.add_axes(box), profiled)
    return style.picture(figure, _caption(stiff, shown, profiled))


def _shown(count: int) -> np.ndarray:
    """All directions, or the stiffest and the sloppiest."""
    every = np.arange(count)
    return every if count <= MOST else np.concatenate([every[: MOST // 2], every[-MOST // 2 :]])


def _two(figure: style.Figure, bottom: float, height: float) -> tuple[style.Axes, style.Axes]:
    width, whole = figure.get_size_inches()
    boxes = ((0.45, 2.75), (3.45, width - 3.45 - style.RIGHT))
    first, second = (
        figure.add_axes((x / width, bottom / whole, w / width, height / whole)) for x, w in boxes
    )
    return first, second


def _caption(stiff: Stiffness, shown: np.ndarray, profiled: Along | None) -> str:
    text = (
        "Stiff and sloppy directions. Left: eigenvalue λ of each combination, the data's precision "
        "over that of the prior; above one (blue) the data determine it, below (grey) the prior; a "
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
    if (left_out := stiff.eigenvalues.size - shown.size) > 0:
        text += f" {left_out} directions between are not drawn."
    return text


def _draw_eigenvalues(axes: style.Axes, stiff: Stiffness, shown: np.ndarray) -> None:
    values = stiff.eigenvalues[shown]
    informed = values > stiff.prior[shown]
    place = np.arange(shown.size)
    floor = max(float(stiff.eigenvalues.max()) * 1e-12, 1e-4)
    low = values < floor
    least = min(float(values[~low].min()) if (~low).any() else 1.0, 1.0)
    ends = least / 4, max(float(values.max()), 1.0) * 4
    axes.set(xscale="log", xlim=ends)
    for by_data, colour, label in ((True, style.ANALYSIS, "data"), (False, "#A9A9A9", "prior")):
        here = (informed == by_data) & ~low
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


def _draw_composition(axes: style.Axes, stiff: Stiffness, shown: np.ndarray) -> None:
    for row, k in enumerate(shown):
        vector = stiff.vectors[:, k]
        for sign in (1, -1):
            end = 0.0
            mine = [i for i in np.argsort(-np.abs(vector)) if sign * vector[i] > 0]
            for i in mine:
                share = float(vector[i] ** 2)
                start = end if sign > 0 else -end - share
                axes.barh(row, share, 0.72, start, **_fill(i))
                if share > AROUND + LETTER * len(stiff.names[i]):
                    _write(axes, start + share / 2, row, stiff.names[i], _fill(i)["facecolor"])
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


def _in_view(stiff: Stiffness, shown: np.ndarray) -> list[int]:
    """Coordinates with a share that can be seen in some direction, as the legend names them."""
    most = np.max(stiff.vectors[:, shown] ** 2, axis=1)
    return [int(i) for i in np.flatnonzero(most > 0.02)][:MOST_NAMED]


def _write(axes: style.Axes, x: float, y: float, text: str, colour: str) -> None:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
    axes.text(x, y, text, ha="center", va="center", fontsize=7, clip_on=True,
              color="white" if dark else style.INK)  # fmt: skip


def _draw_profile(axes: style.Axes, profile: Along) -> None:
    fine = np.isfinite(profile.rise)
    if fine.any():
        ends = profile.distance.min(), profile.distance.max()
        t = np.linspace(*ends, 200)
        axes.plot(t, t**2 / 2, "--", color=style.BACKGROUND, label="Laplace approximation")
        axes.plot(profile.distance[fine], profile.rise[fine], color=style.ANALYSIS, label="profile")
        for settled, face in ((1.0, style.ANALYSIS), (0.0, "white")):
            here = fine & (profile.settled == settled)
            axes.plot(profile.distance[here], profile.rise[here], "o", color=style.ANALYSIS,
                      markersize=4.5, markerfacecolor=face)  # fmt: skip
        highest = 1.08 * float(profile.rise[fine].max())
        axes.set_ylim(0, min(highest, 3 * float(profile.quadratic.max())))
    axes.set(xlabel="Distance from the minimum (posterior standard deviations)")
    axes.set(ylabel="J − min J", title=f"Along direction {profile.direction}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.03, 1.0))


SLOPPY = Section("Stiff and sloppy directions", directions, {"sloppy": draw_sloppy})
