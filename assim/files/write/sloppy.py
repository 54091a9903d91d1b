"""Stiff and sloppy directions for diagnostics.nc and summary.json."""

import re
from typing import Any

import numpy as np
import xarray as xr

from assim.findings.sloppy import Sloppy


def sloppy_variables(sloppy: Sloppy) -> dict[str, xr.Variable]:
    """Eigenvalues on `direction`, components by `coordinate`, and the profile where there is one.

    Coordinates are the whitened values of what was estimated, named by `flag_meanings`.
    """
    found = sloppy.directions
    number = np.arange(1, len(found.names) + 1, dtype=np.int32)
    flags = np.arange(len(found.names), dtype=np.int32)
    both = ("coordinate", "direction")
    content = {
        "direction": _on("direction", number, "number of the direction, the stiffest first"),
        "coordinate": xr.Variable(
            "coordinate",
            flags,
            {
                "long_name": "whitened coordinate of what was estimated",
                "flag_values": flags,
                "flag_meanings": " ".join(flag_meaning(name) for name in found.names),
            },
        ),
        "direction_eigenvalue": _on(
            "direction", found.eigenvalues, "precision by the data over that of the prior"
        ),
        "direction_prior": _on(
            "direction", found.prior, "precision by the prior, 0 along flat priors"
        ),
        "direction_stddev": _on(
            "direction", found.stdev, "posterior standard deviation, in those of the prior"
        ),
        "direction_component": _on(
            both, found.eigenvectors, "component of the unit vector of the direction"
        ),
        "direction_participation": _on(
            both, found.participation, "share of the coordinate in the direction"
        ),
    }
    for name, value, of in (
        ("condition_number", found.condition, "all directions"),
        ("condition_number_informed", found.condition_informed, "those the data tell most of"),
    ):
        if np.isfinite(value):
            content[name] = _on((), value, f"largest over smallest eigenvalue of {of}")
    return content | _profile(sloppy)


def _profile(sloppy: Sloppy) -> dict[str, xr.Variable]:
    """Rise of J along one direction; missing where the model fails."""
    one = sloppy.profile
    if one is None:
        return {}
    flags = np.array([0, 1], np.int32)
    settled = xr.Variable(
        "profile",
        np.asarray(one.converged).astype(np.int32),
        {
            "long_name": "whether the other directions were minimised over",
            "flag_values": flags,
            "flag_meanings": "not_settled settled",
        },
    )
    rise = np.where(np.isfinite(one.rise), one.rise, np.nan)
    along = np.abs(sloppy.directions.eigenvectors.T @ one.direction)
    number = np.int32(np.argmax(along) + 1)
    what = "distance from the minimum, in posterior standard deviations"
    return {
        "profile_distance": _on("profile", one.t, what),
        "profile_rise": _on("profile", rise, "cost above its minimum, all else minimised over"),
        "profile_quadratic": _on("profile", one.quadratic, "the same by the Laplace approximation"),
        "profile_converged": settled,
        "profile_direction": _on((), number, "number of the direction that is profiled"),
    }


def sloppy_summary(sloppy: Sloppy) -> dict[str, Any]:
    """The same for `summary.json`, with each direction in words."""
    found = sloppy.directions
    columns = zip(found.eigenvalues, found.stdev, found.informed, strict=True)
    return {
        "coordinates": list(found.names),
        "condition_number": found.condition,
        "condition_number_informed": found.condition_informed,
        "informed": int(np.sum(found.informed)),
        "directions": [
            {
                "eigenvalue": float(value),
                "stddev": float(stdev),
                "informed": bool(informed),
                "words": found.words(k),
            }
            for k, (value, stdev, informed) in enumerate(columns)
        ],
    }


def flag_meaning(name: str) -> str:
    """A name as one of CF's flag meanings: letters, digits and _ - . + @ alone."""
    return re.sub(r"[^A-Za-z0-9_.+@-]+", "_", name).strip("_") or "_"


def _on(dims: str | tuple[str, ...], values: Any, long_name: str) -> xr.Variable:
    return xr.Variable(dims, values, {"units": "1", "long_name": long_name})
