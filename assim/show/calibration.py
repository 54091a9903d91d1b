"""Ranks of true values: histograms with their band, and distribution functions with theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from assim.show import style
from assim.show.style import Picture

MOST = 16
COLUMNS = 4


def draw_calibration(path: Path) -> Picture:
    """Two panels a quantity from the file of a calibration."""
    with xr.open_dataset(path) as file:
        data = file.load()
    names = str(data["quantity"].attrs["quantity_names"]).split("\n")

    def draw(left: style.Axes, right: style.Axes, k: int) -> None:
        _draw_histogram(left, data.isel(quantity=k), names[k])
        _draw_ecdf(right, data.isel(quantity=k))

    numbers, text = range(len(names)), _caption(data)
    with style.house_style():
        picture = style.draw_each(
            numbers, MOST, draw, text, "quantities", 1.75, COLUMNS, 2, left=0.42
        )
    assert picture is not None  # there is a quantity
    return picture


def _caption(file: xr.Dataset) -> str:
    held = 100 * float(file["ecdf_low"].attrs["simultaneous_level"])
    return (
        f"{file.attrs['assim_verdict']} Left: ranks of the true value among "
        f"{int(file['rank'].attrs['draws'])} draws, with the band in which a bin lies in 99 of 100 "
        f"cases. Right: their distribution function less the uniform one, with its band of "
        f"{held:.0f} % everywhere at once. Ranks heaped at both ends: intervals too narrow; in the "
        "middle: too wide; on one side: biased."
    )


def _draw_histogram(axes: style.Axes, quantity: xr.Dataset, name: str) -> None:
    counts = quantity["histogram"].values
    places = (np.arange(counts.size) + 0.5) / counts.size
    low, high = int(quantity["histogram_low"]), int(quantity["histogram_high"])
    axes.axhspan(low, high, color=style.BACKGROUND, alpha=0.25, linewidth=0, label="band")
    axes.bar(places, counts, 0.9 / counts.size, color=_colour(quantity), label=None)
    axes.axhline(counts.sum() / counts.size, color=style.INK, linewidth=0.7)
    axes.set(xlim=(0, 1), xticks=[0, 0.5, 1], title=name)
    axes.set_xlabel(f"rank    p = {float(quantity['p_value']):.2g}", fontsize=8)


def _draw_ecdf(axes: style.Axes, quantity: xr.Dataset) -> None:
    at = quantity["expected"].values
    low, high = quantity["ecdf_low"].values - at, quantity["ecdf_high"].values - at
    style.band(axes, at, low, high, 0.25, "band", step="mid", color=style.BACKGROUND)
    axes.axhline(0, color=style.INK, linewidth=0.7)
    axes.step(at, quantity["ecdf"].values - at, where="mid", color=_colour(quantity), label="ranks")
    axes.set(xlim=(0, 1), xticks=[0, 0.5, 1])
    axes.set_xlabel("rank", fontsize=8)


def _colour(quantity: xr.Dataset) -> str:
    return style.ANALYSIS if bool(quantity["inside"]) else style.REJECTED
