"""Draws of scalar quantities, from the posterior files of a run."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from assim.show.finished import Method, Run, field_names, words

WEIGHTS = ("weight", "weights", "log_weight", "log_weights")


@dataclass(frozen=True)
class Draws:
    """Posterior and prior draws of one scalar quantity; `weights` add up to one."""

    name: str
    label: str
    units: str
    posterior: np.ndarray
    prior: np.ndarray | None
    weights: np.ndarray


def draws(run: Run) -> list[Draws]:
    """Every scalar quantity that has draws, in the order of the file."""
    return draws_in(run.files.get("posterior"))


def draws_by_method(run: Run) -> list[tuple[Method, dict[str, Draws]]]:
    """Draws of each of several methods by quantity; methods without a file are left out."""
    found = [(method, draws_in(method.posterior)) for method in run.methods]
    return [(method, {one.name: one for one in some}) for method, some in found if some]


def draws_in(file: xr.Dataset | None) -> list[Draws]:
    """Every scalar quantity that a posterior file has draws of, in its order."""
    if file is None:
        return []
    scalars = [n for n in field_names(file, ("_prior",)) if file[n].dims == ("realization",)]
    weights = _weights(file)
    return [_draws(file, name, weights) for name in scalars if name not in WEIGHTS]


def _draws(file: xr.Dataset, name: str, weights: np.ndarray) -> Draws:
    posterior = np.asarray(file[name].values, dtype=float)
    prior = np.asarray(file[name + "_prior"].values, float) if name + "_prior" in file else None
    label, units = words(file[name]), str(file[name].attrs.get("units", "1"))
    good = np.isfinite(posterior) & (weights > 0)
    kept = weights[good]
    total = kept.sum() or 1.0
    prior = None if prior is None else prior[np.isfinite(prior)]
    return Draws(name, label, units, posterior[good], prior, kept / total)


def _weights(file: xr.Dataset) -> np.ndarray:
    size = file.sizes.get("realization", 0)
    for name in WEIGHTS:
        if name in file and file[name].dims == ("realization",):
            values = np.asarray(file[name].values, dtype=float)
            return np.exp(values - np.nanmax(values)) if name.startswith("log") else values
    return np.ones(size)
