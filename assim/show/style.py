"""One look for every picture: colours that the colour-blind distinguish, readable type."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from assim.show.finished import time_label

if TYPE_CHECKING:  # matplotlib is imported where something is drawn
    from matplotlib.axes import Axes as Axes  # style.Axes, where others annotate
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Figure

Item = TypeVar("Item")

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
HALF, NINETY = 0.6745, 1.6449  # quantiles of N(0, 1): bands that hold 50 % and 90 %
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
    """One finished picture: the PNG, a caption for people, and the figure, to be changed."""

    png: bytes
    caption: str
    figure: Figure | None = field(default=None, compare=False, repr=False)

    @property
    def axes(self) -> list[Axes]:
        """The panels of the figure."""
        return [] if self.figure is None else self.figure.axes

    def _repr_png_(self) -> bytes:
        """How a notebook shows it."""
        return self.png


def look(place: int) -> dict[str, Any]:
    """Colour and dashes of the line of one of several: both differ, so that either suffices."""
    return {"color": OTHERS[place % len(OTHERS)], "linestyle": DASHES[place % len(DASHES)]}


@contextmanager
def house_style() -> Iterator[None]:
    """The style of every picture, put back as it was at the end."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def blank(height: float) -> Figure:
    """An empty figure of this height in inches, which needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    return figure


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
    figure = blank(size[1])
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
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        look: dict[str, Any] = {"loc": "upper center", "handlelength": 2.6, "columnspacing": 1.4}
        figure.legend(list(entries.values()), list(entries), ncols=min(len(entries), 6), **look)


def draw_each(
    everything: Sequence[Item],
    most: int,
    draw: Callable[..., object],
    caption: str | Callable[[Sequence[Item]], str],
    what: str,
    height: float,
    columns: int | Callable[[int], int] | None = None,
    each: int = 1,
    top: float = 0.3,
    **room: float,
) -> Picture | None:
    """Panels of the same kind for each of several; None without any.

    Args:
        everything: what there is to draw.
        most: how many of them are drawn.
        draw: called with the panels of one of them, and with it.
        caption: or what makes it of those that are drawn.
        what: they are, in the plural.
        height: of a panel, see `panels`, as `top` and `room`.
        columns: panels side by side, or how many of so many; `each`, or as over time.
        each: panels of each.
    """
    shown = everything[:most]
    if not shown:
        return None
    count = each * len(shown)
    columns = columns or (each if each > 1 else 1 if count <= 3 else 2)
    beside = columns if isinstance(columns, int) else columns(count)
    figure, axes = panels(count, beside, height, top, **room)
    for place, item in enumerate(shown):
        draw(*axes[each * place : each * (place + 1)], item)
    legend(figure, axes)
    text = caption if isinstance(caption, str) else caption(shown)
    return picture(figure, text + left_out(len(everything) - len(shown), what))


def wide(count: int) -> int:
    """Panels over time side by side, which are wide where they are few."""
    return 1 if count <= 4 else 2


def over_time(axes: Axes, time: xr.DataArray, label: str, margin: float = 0.02) -> None:
    """Labels of a panel over time."""
    axes.set(xlabel=time_label(time), ylabel=label)
    axes.margins(x=margin)


def band(
    axes: Axes, x: Any, low: Any, high: Any, alpha: float, label: str = "", **look: Any
) -> None:
    """The area between two lines."""
    look = {"color": ANALYSIS, "linewidth": 0, "label": label or None, **look}
    axes.fill_between(x, low, high, alpha=alpha, **look)


def bare(axes: Axes, title: str, below: str) -> None:
    """A panel of densities: no scale at the side, its name above and units below."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_title(title)
    axes.set_xlabel(below, fontsize=8)


def plane(
    figure: Figure, axes: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, signed: bool
) -> None:
    """Values (y, x) in colours, `signed` about zero, with a colour bar at the right."""
    look, room = colours(values, signed), 0.65  # inches for the colour bar
    mesh = axes.pcolormesh(x, y, values, shading="nearest", rasterized=True, **look)
    box, width = axes.get_position(), figure.get_size_inches()[0]
    axes.set_position((box.x0, box.y0, box.width - room / width, box.height))
    beside = (box.x1 - (room - 0.1) / width, box.y0, 0.1 / width, box.height)
    bar = figure.colorbar(mesh, cax=figure.add_axes(beside))
    bar.outline.set_visible(False)


def colours(values: np.ndarray, signed: bool) -> dict[str, Any]:
    """A diverging map about zero where both signs matter, else a sequential one."""
    good = values[np.isfinite(values)]
    low, high = (float(good.min()), float(good.max())) if good.size else (0.0, 1.0)
    if signed and low < 0 < high and min(-low, high) > 0.2 * max(-low, high):
        most = max(-low, high)
        return {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    return {"cmap": "viridis"}


def few_ticks(axis: Axis, most: int = 10, whole: bool = False) -> None:
    """At most so many intervals between ticks, which may be at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most, integer=whole, min_n_ticks=1 if whole else 2))


def log_scale(axis: Axis, low: float, high: float, margin: float = 1.15) -> None:
    """A log axis from `low` to `high`, both positive, and `margin` times beyond."""
    from assim.show import ticks

    ticks.log_scale(axis, low, high, margin)


def picture(figure: Figure, caption: str) -> Picture:
    """The PNG of a figure."""
    from assim.show import ticks

    ticks.finish(figure)
    memory = io.BytesIO()
    # no metadata: the same run gives the same bytes
    figure.savefig(memory, format="png", dpi=DPI, metadata={"Software": None})
    return Picture(memory.getvalue(), caption, figure)


def wrapped(title: str) -> str:
    """A title that does not run past its panel."""
    return textwrap.fill(title, 46)


def columns_of_densities(panels: int) -> int:
    """Panels of densities side by side."""
    return min(4, max(panels, 2)) if panels != 6 else 3


def left_out(number: int, what: str) -> str:
    """A sentence at the end of a caption on what there was no room for; "" where all is drawn."""
    return f" {number} further {what} are not drawn." if number > 0 else ""
