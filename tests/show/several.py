"""A run directory of several methods with known differences, directions, and predictive checks."""

import json
from pathlib import Path

import numpy as np
import xarray as xr

from tests.show import runs

# name -> factor of standard deviations, shift of means in them, members, trust
METHODS = {
    "laplace": (1.1, 0.2, 400, "doubtful"),
    "svgd_plain": (0.5, 0.0, 100, "failed"),
    "svgd": (1.0, 0.0, 100, "certified"),
    "nuts": (1.0, 0.0, 4000, "certified"),
    "importance": (1.0, 0.0, 2000, "doubtful"),
}
CHOSEN = "svgd"
NAMES = (*runs.MEANS, "sigma")
CENTRES = {**runs.MEANS, "sigma": 0.25}


def several(directory: Path) -> Path:
    """The lynx and hare of `runs` by five methods, svgd being reported."""
    runs.lynx_hare(directory)
    random = np.random.default_rng(5)
    factor = np.linalg.cholesky(0.1**2 * _correlation(len(NAMES)))
    entries = {}
    for name, (width, shift, size, trust) in METHODS.items():
        suffix = "" if name == CHOSEN else f"_{name}"
        draws = _draws(random, factor, width, shift, size, weighted=name == "importance")
        runs.save(directory / f"posterior{suffix}.nc", draws)
        _write_trajectory(directory, suffix, width, shift)
        entries[name] = _entry(
            name, draws, trust, [f"posterior{suffix}.nc", f"trajectory{suffix}.nc"]
        )
    summary = json.loads((directory / "summary.json").read_text())
    choice = "svgd is reported: the first of those that are certified."
    summary |= {"posterior": entries, "chosen": CHOSEN, "choice": choice}
    runs.write_summary(directory, summary)
    return directory


def _correlation(count):
    k = np.arange(count)
    return (-0.8) ** np.abs(k[:, None] - k[None])


def _draws(random, factor, width, shift, size, weighted) -> xr.Dataset:
    white = random.standard_normal((size, len(NAMES)))
    white = (white - white.mean(axis=0)) / white.std(axis=0)  # moments as they are said to be
    logs = (width * white + shift) @ factor.T
    fields = {}
    for k, name in enumerate(NAMES):
        units = "1" if name == "sigma" else "1000" if name in ("hare", "lynx") else "year-1"
        about = {"units": units, "long_name": "Error scale" if name == "sigma" else name}
        fields[name] = ("realization", CENTRES[name] * np.exp(logs[:, k]), about)
        prior = CENTRES[name] * 2 * np.exp(random.standard_normal(1000))
        fields[f"{name}_prior"] = ("prior_realization", prior, about)
    weights = np.exp(-0.2 * logs[:, 0] / 0.1) if weighted else np.ones(size)
    fields["weight"] = ("realization", weights / weights.sum(), {"units": "1"})
    return xr.Dataset(fields, attrs={"assim_method": "several"})


def _write_trajectory(directory, suffix, width, shift) -> None:
    with xr.open_dataset(directory / "trajectory.nc") as file:
        data = file.load()
    for name in ("hare", "lynx"):
        stdev = 0.2 * data[name]  # as `runs` has it
        data[f"{name}_mean"] = data[name] + shift * stdev
        data[f"{name}_stddev"] = width * stdev
    runs.save(directory / f"trajectory{suffix}.nc", data)


def _entry(name, draws, trust, files) -> dict:
    weights = draws["weight"].values
    quantities = {}
    for one in NAMES:
        values = draws[one].values
        mean = float(weights @ values)
        stddev = float(np.sqrt(weights @ (values - mean) ** 2))
        units = draws[one].attrs["units"]
        quantities[one] = {"mean": mean, "stddev": stddev, "map": mean, "q05": mean - stddev,
                           "q50": mean, "q95": mean + stddev, "units": units}  # fmt: skip
    own = {"laplace": {"k_hat": 0.62}, "nuts": {"r_hat": 1.002, "effective_draws": 3100.0}}
    return {"method": name, "verdict": trust, "trust": trust, "advice": f"So {name} is {trust}.",
            "log_evidence": None if name.startswith("svgd") else 31.2, **own.get(name, {}),
            "stages": 7.0, "gradients": 1234, "evaluations": 56, "seconds": 7.8912,
            "quantities": quantities, "files": files}  # fmt: skip


# ---- directions and predictive checks ------------------------------------------------------------


def add_directions(directory: Path, values=(900.0, 40.0, 3.0, 0.2, -1e-14)) -> Path:
    """Eigenpairs of five coordinates, the last told by nothing, and a profile along it."""
    names = list(NAMES[: len(values)])
    vectors, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(len(values),) * 2))
    values = np.array(values)
    with xr.open_dataset(directory / "diagnostics.nc") as file:
        data = file.load()
    t = np.array([-3.0, -2, -1, 0, 1, 2, 3])
    data = data.assign(
        direction_eigenvalue=("direction", values),
        direction_prior=("direction", np.ones(values.size)),
        direction_component=(("coordinate", "direction"), vectors),
        profile_distance=("profile", t),
        profile_rise=("profile", np.append(0.6 * t[:-1] ** 2, np.nan)),
        profile_quadratic=("profile", t**2 / 2),
        profile_converged=("profile", np.array([0, 1, 1, 1, 1, 1, 0])),
        profile_direction=((), values.size),
    ).assign_coords(
        direction=np.arange(1, values.size + 1),
        coordinate=("coordinate", np.arange(values.size), {"flag_meanings": " ".join(names)}),
    )
    runs.save(directory / "diagnostics.nc", data)
    told = [
        {"eigenvalue": value, "stddev": (1 + value) ** -0.5, "informed": bool(value > 1),
         "words": f"1.00 {name}"}
        for value, name in zip(values, names, strict=True)
    ]  # fmt: skip
    sloppy = {"coordinates": names, "condition_number": None, "condition_number_informed": 300.0,
              "informed": 3, "directions": told}  # fmt: skip
    summary = json.loads((directory / "summary.json").read_text())
    runs.write_summary(directory, summary | {"sloppy": sloppy})
    return directory


def add_checks(directory: Path, covered: float = 0.9, held_back: bool = True) -> Path:
    """Predictive columns of both pelts."""
    with xr.open_dataset(directory / "feedback.nc") as file:
        data = file.load()
    random = np.random.default_rng(4)
    entries = {}
    for name, held in (("hare", False), ("lynx", held_back)):
        centre = data[name] * np.exp(0.25 * random.standard_normal(data.sizes["obs"]))
        for end, factor in (("q05", 0.6), ("q50", 1.0), ("q95", 1.7)):
            data[f"{name}_predictive_{end}"] = centre * factor
        data[f"{name}_predictive_pit"] = ("obs", random.uniform(size=data.sizes["obs"]))
        entries[name] = {"coverage_50": 0.5, "coverage_90": covered, "coverage_50_band": [0.3, 0.7],
                         "coverage_90_band": [0.75, 0.99], "crps": 1.5, "crps_prior": 20.25,
                         "log_score": -2.5, "count": 21, "held_back": held}  # fmt: skip
    runs.save(directory / "feedback.nc", data)
    summary = json.loads((directory / "summary.json").read_text())
    runs.write_summary(directory, summary | {"predictive": entries})
    return directory
