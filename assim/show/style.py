"""One look for every picture: colours that the colour-blind tell apart, readable type."""

import io
import math
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
    ScalarFormatter,
)

# Okabe & Ito (2008)
ANALYSIS, BACKGROUND, REJECTED, TRUTH = "#0072B2", "#8A8A8A", "#D55E00", "#009E73"
INK = "#222222"
TRUTH_DASH = (0, (3, 1.5))
DASHES: tuple[Any, ...] = (
    *((0, (5, 1.6)), (0, (1.2, 1.2)), (0, (7, 1.6, 1.2, 1.6)), (0, (2.6, 1.2))),
    *((0, (10, 2.2)), (0, (5, 1.2, 1.2, 1.2, 1.2, 1.2)), "-"),
)
OTHERS = ("#D55E00", "#111111", "#CC79A7", "#009E73", "#E69F00", "#56B4E9", "#7A5230")
DPI = 160
WIDTH = 7.6  # inches, as all lengths here
DATES = 3.6  # width of a panel that has room for as many dates as matplotlib likes
TIMES = "× "
TITLE, LABELS, RIGHT = 0.26, 0.5, 0.12  # room above, below and to the right of a panel

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.limits": (-4, 6),
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": True,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.4,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,  # names come from users: a dollar is a dollar (and faster)
    "date.converter": "concise",
}


@dataclass(frozen=True)
class Picture:
    """One finished picture: its file name, the PNG, and a caption for people."""

    name: str
    png: bytes
    caption: str


def look(place: int) -> dict[str, Any]:
    """Colour and dashes of the line of one of several: both differ, so that either tells."""
    return {"color": OTHERS[place % len(OTHERS)], "linestyle": DASHES[place % len(DASHES)]}


@contextmanager
def house_style() -> Iterator[None]:
    """The style of every picture, put back as it was at the end."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def panels(
    count: int,
    columns: int,
    height: float,
    top: float = 0.0,
    left: float = 0.7,
    below: float = LABELS,
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels: `height` inches each with labels, `top` above for a legend.

    Margins are set in inches (`left` and `below` for labels and ticks), which costs nothing;
    measuring the text of every panel would double the time of a picture.
    """
    rows = -(-count // columns)
    size = WIDTH, rows * height + top
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    width = size[0] / columns
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for place, axes in enumerate(grid):
        row, column = divmod(place, columns)
        corner = column * width + left, (rows - 1 - row) * height + below
        inner = width - left - RIGHT, height - below - TITLE
        axes.set_position([corner[0] / size[0], corner[1] / size[1], inner[0] / size[0],
                           inner[1] / size[1]])  # fmt: skip
    for axes in grid[count:]:
        axes.remove()
    return figure, list(grid[:count])


def legend(figure: Figure, axes: list[Axes]) -> None:
    """One legend above all panels, each entry once, in the order in which they were drawn."""
    entries: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        names = list(entries)
        columns = min(len(names), 6)
        figure.legend(
            handles=list(entries.values()),
            labels=names,
            loc="upper center",
            ncols=columns,
            handlelength=2.6,
            columnspacing=1.4,
        )


class _Plain(ScalarFormatter):
    """Plain numbers; a common power of ten is written × 10⁶, not 1e6."""

    def get_offset(self) -> str:
        offset = super().get_offset()
        exponent = offset[2:].replace("−", "-")
        return f"{TIMES}{_power(int(exponent))}" if offset.startswith("1e") else offset


def _power(exponent: int) -> str:
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _log_label(value: float, position: int) -> str:
    del position
    exponent = math.log10(value) if value > 0 else math.nan
    return _power(round(exponent)) if abs(exponent - round(exponent)) < 1e-6 else ""


def plain_numbers(axes: Axes) -> None:
    """Tick labels without mathematical markup, which is off and slow."""
    for axis in (axes.xaxis, axes.yaxis):
        if type(axis.get_major_formatter()) is ScalarFormatter:
            axis.set_major_formatter(_Plain())
        elif axis.get_scale() == "log" and type(axis.get_major_formatter()) is not FuncFormatter:
            axis.set_major_formatter(FuncFormatter(_log_label))
            axis.set_minor_locator(NullLocator())


def log_scale(axis: Axis, low: float, high: float, margin: float = 1.15) -> None:
    """A log axis from `low` to `high`, both positive, and `margin` times beyond.

    Where it spans less than two decades, 2 and 5 times a power of ten are labelled, too; within
    half a decade as plain numbers.
    """
    axes, low, high = axis.axes, low / margin, high * margin
    across = axis is axes.xaxis
    (axes.set_xscale if across else axes.set_yscale)("log")
    (axes.set_xlim if across else axes.set_ylim)(low, high)
    decades = math.log10(high / low)
    if decades > 2.5:
        axis.set_major_locator(LogLocator(numticks=8))
        return
    subs = (1.0, 2.0, 5.0) if decades > 1 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    locator = LogLocator(subs=subs, numticks=12) if decades > 0.4 else MaxNLocator(4)
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:.3g}"))
    axis.set_minor_locator(NullLocator())


def power(axis: Axis) -> str:
    """The power of ten that tick labels leave out, as "10⁻⁶ ", to be put before the units; or "".

    Without this it stands at the end of the axis, across the label.
    """
    formatter = axis.get_major_formatter()
    if not isinstance(formatter, _Plain):
        return ""
    formatter.set_locs(axis.get_majorticklocs().tolist())
    offset = formatter.get_offset()
    if not offset.startswith(TIMES):
        return ""
    axis.get_offset_text().set_visible(False)
    return offset.removeprefix(TIMES) + " "


def with_power(label: str, power: str) -> str:
    """A label with the power of ten before its units, which are in brackets at its end."""
    if not power:
        return label
    before, bracket, units = label.rpartition("(")
    if bracket and units.endswith(")"):
        return f"{before}({power}{units}"
    return f"{label} ({TIMES}{power.strip()})".lstrip()


def _fold_powers(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_label_text():
            axis.set_label_text(with_power(axis.get_label_text(), power(axis)))


def bare(axes: Axes, title: str, below: str) -> None:
    """A panel of densities: no scale at the side, its name above and units below."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_title(title)
    axes.set_xlabel(below, fontsize=8)


def colour_bar(figure: Figure, axes: Axes, mesh: QuadMesh, room: float = 0.65) -> None:
    """A colour bar in `room` inches taken from the right of a panel."""
    box, width = axes.get_position(), figure.get_size_inches()[0]
    axes.set_position((box.x0, box.y0, box.width - room / width, box.height))
    beside = (box.x1 - (room - 0.1) / width, box.y0, 0.1 / width, box.height)
    bar = figure.colorbar(mesh, cax=figure.add_axes(beside))
    bar.outline.set_visible(False)


def _few_dates(axes: Axes, width: float) -> None:
    """As many dates as a panel of so many inches has room for."""
    if width < DATES and type(axes.xaxis.get_major_locator()) is AutoDateLocator:
        locator = AutoDateLocator(minticks=3, maxticks=8)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def picture(name: str, figure: Figure, caption: str) -> Picture:
    """The PNG of a figure."""
    for axes in figure.axes:
        plain_numbers(axes)
        _fold_powers(axes)
        _few_dates(axes, axes.get_position().width * figure.get_size_inches()[0])
    memory = io.BytesIO()
    # no metadata: the same run gives the same bytes
    figure.savefig(memory, format="png", dpi=DPI, metadata={"Software": None})
    return Picture(name, memory.getvalue(), caption)


def wrapped(title: str) -> str:
    """A title that does not run past its panel."""
    return textwrap.fill(title, 46)
