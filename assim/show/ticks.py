"""Ticks and their labels: plain numbers, powers of ten beside the units, few dates."""

import math

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, ScalarFormatter

from assim.show.finished import raised

DATES = 3.6  # width in inches of a panel that has room for as many dates as matplotlib likes
TIMES = "× "


def finish(figure: Figure) -> None:
    """Tick labels of every panel as people write them."""
    for axes in figure.axes:
        plain_numbers(axes)
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_label_text():
                axis.set_label_text(with_power(axis.get_label_text(), power(axis)))
        _few_dates(axes, axes.get_position().width * figure.get_size_inches()[0])


class _Plain(ScalarFormatter):
    """Plain numbers; a common power of ten is written × 10⁶, not 1e6."""

    def get_offset(self) -> str:
        offset = super().get_offset()
        exponent = offset[2:].replace("−", "-")
        return f"{TIMES}10{raised(int(exponent))}" if offset.startswith("1e") else offset


def _log_label(value: float, position: int) -> str:
    del position
    exponent = math.log10(value) if value > 0 else math.nan
    return f"10{raised(round(exponent))}" if abs(exponent - round(exponent)) < 1e-6 else ""


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


def _few_dates(axes: Axes, width: float) -> None:
    """As many dates as a panel of so many inches has room for."""
    if width < DATES and type(axes.xaxis.get_major_locator()) is AutoDateLocator:
        locator = AutoDateLocator(minticks=3, maxticks=8)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
