"""Draws of scalar quantities, posterior and prior, and the density that they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from assim.show import style
from assim.show.finished import Method, Run, spelt_units, with_units, words
from assim.show.layout import field_names
from assim.statistics.weighted import weighted_quantiles

WEIGHT = "weight"


@dataclass(frozen=True)
class ScalarDraws:
    """Posterior and prior draws of one scalar quantity; `weights` add up to one."""

    name: str
    label: str
    units: str
    posterior: np.ndarray
    prior: np.ndarray | None
    weights: np.ndarray


def draws(run: Run) -> list[ScalarDraws]:
    """Every scalar quantity that has draws, in the order of the file."""
    return draws_in(run.files.get("posterior"))


def draws_by_method(run: Run) -> list[tuple[Method, dict[str, ScalarDraws]]]:
    """Draws of each of several methods by quantity; methods without a file are left out."""
    by_method = [(method, draws_in(method.posterior)) for method in run.methods]
    return [(method, {d.name: d for d in scalars}) for method, scalars in by_method if scalars]


def draws_in(file: xr.Dataset | None) -> list[ScalarDraws]:
    """Every scalar quantity that a posterior file has draws of, in its order."""
    if file is None:
        return []
    scalars = [n for n in field_names(file, ("_prior",)) if file[n].dims == ("realization",)]
    return [_draws(file, name) for name in scalars if name != WEIGHT]


def _draws(file: xr.Dataset, name: str) -> ScalarDraws:
    weights = np.asarray(file[WEIGHT].values, dtype=float)
    posterior = np.asarray(file[name].values, dtype=float)
    prior = np.asarray(file[name + "_prior"].values, float) if name + "_prior" in file else None
    label, units = words(file[name]), str(file[name].attrs.get("units", "1"))
    good = np.isfinite(posterior) & (weights > 0)
    kept = weights[good]
    total = kept.sum() or 1.0
    prior = None if prior is None else prior[np.isfinite(prior)]
    return ScalarDraws(name, label, units, posterior[good], prior, kept / total)


FEW = 2000  # draws whose kernels are added one by one


def label_below(quantity: ScalarDraws, width: int = 26) -> str:
    """What the title does not say: words and units, on two lines where they are long."""
    if quantity.label == quantity.name:
        return "" if quantity.units == "1" else spelt_units(quantity.units)
    text = with_units(quantity.label, quantity.units)
    cut = text.rfind(" ", 0, width) if len(text) > width else -1
    return text if cut < 1 else f"{text[:cut]}\n{text[cut + 1 :]}"


def limits(quantity: ScalarDraws, marks: list[float]) -> tuple[float, float]:
    """Axis limits: the posterior, and of the prior's middle what does not dwarf it."""
    low, high = weighted_quantiles(quantity.posterior, quantity.weights, np.array([0.003, 0.997]))
    wide = (high - low) or max(abs(float(low)), 1.0) * 1e-3
    if quantity.prior is not None and quantity.prior.size:
        prior_low, prior_high = np.quantile(quantity.prior, [0.02, 0.98])
        low = max(min(low, prior_low), low - wide)
        high = min(max(high, prior_high), high + wide)
    near = [mark for mark in marks if low - 2 * wide < mark < high + 2 * wide]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.08 * (high - low or wide)
    positive = quantity.posterior.min() >= 0 and (
        quantity.prior is None or quantity.prior.min(initial=0) >= 0
    )
    return (max(low - margin, 0.0) if positive else low - margin), high + margin


def density(values: np.ndarray, weights: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Σᵢ wᵢ N(grid; xᵢ, h²), mirrored at an end where the draws stop abruptly.

    The bandwidth h is Silverman's, 0.9 min(σ, IQR/1.34) n^(-1/5) with n the effective number of
    draws (Silverman 1986, equation 3.31): a few wild draws do not widen it. Draws that do not stop
    abruptly are shrunk towards their mean, so that kernels do not widen the density of a small
    ensemble (West 1993, J. R. Statist. Soc. B 55, 409).
    """
    width, spread = bandwidth(values, weights)
    centres, masses = _binned(values, weights, width)
    result = _kernels(centres, masses, grid, width)
    least = values.min()
    least = 0.0 if 0 <= least < width else least  # zero is the bound of what is positive
    abrupt = [
        (end, side)
        for end, side in ((least, 1), (values.max(), -1))
        if masses[side * (centres - end) < width].sum() / width > 0.8 * result.max()
    ]
    if not abrupt and width < spread:
        mean = masses @ centres
        shrunk = mean + np.sqrt(1 - (width / spread) ** 2) * (centres - mean)
        return _kernels(shrunk, masses, grid, width)
    for end, side in abrupt:
        mirrored = _kernels(2 * end - centres, masses, grid, width)
        result = np.where(side * (grid - end) >= 0, result + mirrored, 0.0)
    return result


def draw_prior(
    axes: style.Axes, prior: np.ndarray | None, grid: np.ndarray, top: float, **look: Any
) -> float:
    """The density of draws of the prior, over `top`; how high it is, 1 where there is none."""
    if prior is None or prior.size < 2 or not np.ptp(prior) > 0:
        return 1.0
    curve = density(prior, np.full(prior.size, 1 / prior.size), grid) / top
    axes.plot(grid, curve, color=style.BACKGROUND, label="prior", **look)
    return float(curve.max())


def bandwidth(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Silverman's h, and the standard deviation."""
    q25, q75 = weighted_quantiles(values, weights, np.array([0.25, 0.75]))
    mean = weights @ values
    spread = float(np.sqrt(weights @ (values - mean) ** 2))
    scale = min(spread, float(q75 - q25) / 1.34) or spread or abs(mean) * 1e-6 or 1e-12
    return 0.9 * scale * float(1.0 / (weights**2).sum()) ** -0.2, spread


def _binned(values: np.ndarray, weights: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Many draws as mean and mass of bins much narrower than the kernel; few as they are."""
    if values.size <= FEW:
        return values, weights
    bins = np.floor((values - values.min()) / (0.1 * width)).astype(int)
    mass = np.bincount(bins, weights)
    full = mass > 0
    return np.bincount(bins, weights * values)[full] / mass[full], mass[full]


def _kernels(values: np.ndarray, weights: np.ndarray, grid: np.ndarray, width: float) -> np.ndarray:
    near = (values > grid[0] - 5 * width) & (values < grid[-1] + 5 * width)
    distance = (grid[:, None] - values[None, near]) / width
    return np.exp(-0.5 * distance**2) @ weights[near] / (width * np.sqrt(2 * np.pi))
