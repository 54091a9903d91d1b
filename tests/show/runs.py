"""Run directories made by hand, with everything that a report looks for."""

import json
from pathlib import Path

import numpy as np
import xarray as xr

ATTRIBUTES = {
    "Conventions": "CF-1.11",
    "title": "Lynx and hare, Hudson Bay, 1900-1920",
    "source": "LotkaVolterra",
    "history": "1925-01-01T00:00:00Z assim run case.toml",
    "assim_version": "0.1.0",
    "assim_config": 'title = "Lynx and hare"\n[model]\nuse = "LotkaVolterra"\n',
    "assim_config_sha256": "ab" * 32,
    "assim_inputs": '{"observations.nc": "' + "cd" * 32 + '"}',
}
HARE = [30, 47.2, 70.2, 77.4, 36.3, 20.6, 18.1, 21.4, 22, 25.4, 27.1, 40.3, 57, 76.6, 52.3, 19.5,
        11.2, 7.6, 14.6, 16.2, 24.7]  # fmt: skip
LYNX = [4, 6.1, 9.8, 35.2, 59.4, 41.7, 19, 13, 8.3, 9.1, 7.4, 8, 12.3, 19.5, 45.7, 51.1, 29.7,
        15.8, 9.7, 10.1, 8.6]  # fmt: skip


def lynx_hare(directory: Path) -> Path:
    """Two scalar fields by the year, four parameters, an error scale, a negative cost."""
    random = np.random.default_rng(1)
    years = np.array([f"{1900 + k}-01-01" for k in range(21)], dtype="datetime64[ns]")
    pelts = {"hare": np.array(HARE), "lynx": np.array(LYNX)}
    save(directory / "trajectory.nc", _trajectory(years, pelts, random))
    save(directory / "feedback.nc", _feedback(years, pelts, random))
    save(directory / "posterior.nc", _posterior(random))
    save(directory / "diagnostics.nc", _diagnostics())
    write_summary(directory, _summary())
    return directory


def save(path: Path, data: xr.Dataset) -> None:
    data.attrs = {**ATTRIBUTES, **data.attrs}
    data.to_netcdf(path)


ALWAYS = {
    "status": "converged", "advice": "", "cost": {}, "gradient_norm": None, "seconds": {},
    "verdict": None, "posterior": None, "chosen": None, "choice": "", "quantities": {},
    "findings": [], "observations": {}, "minima": [], "starts": 1, "failed_starts": 0,
    "failures": {}, "notes": [],
}  # fmt: skip


def write_summary(directory: Path, summary: dict) -> None:
    """A window's summary, with the keys that are always written."""
    write_json(directory, {**ALWAYS, **summary})


def write_json(directory: Path, summary: dict) -> None:
    (directory / "summary.json").write_text(json.dumps(summary), encoding="utf-8")


def _variable(dims, values, units="1", long_name=""):
    return (dims, values, {"units": units, "long_name": long_name})


def _observed(values, units, long_name):
    """Observed values whose errors are Gaussian."""
    about = {"units": units, "long_name": long_name, "likelihood": "Gaussian"}
    return ("obs", values, {**about, "errors_of": "value"})


def _trajectory(years, pelts, random) -> xr.Dataset:
    fields = {}
    for name, values in pelts.items():
        analysis = values * np.exp(0.12 * random.standard_normal(21))
        label = f"{name.capitalize()} pelts"
        fields[name] = _variable("time", analysis, "1000", label)
        fields[name + "_stddev"] = _variable("time", 0.2 * analysis, "1000")
        fields[name + "_background"] = _variable("time", np.roll(values, 2) * 1.6, "1000")
    return xr.Dataset(fields, {"time": years})


def _feedback(years, pelts, random) -> xr.Dataset:
    fields = {"time": ("obs", years)}
    for name, values in pelts.items():
        flags = np.zeros(21, dtype=np.int8)
        flags[6] = 19
        before, after = np.roll(values, 2) * 1.6, values * np.exp(0.1 * random.standard_normal(21))
        fields |= {
            name: _observed(np.where(flags, 3 * values, values), "1000", f"{name} pelts"),
            name + "_stddev": _variable("obs", 0.2 * values, "1000"),
            name + "_qc": ("obs", flags),
            name + "_effective_qc": ("obs", flags),
            name + "_hofx_background": _variable("obs", before, "1000"),
            name + "_hofx_analysis": _variable("obs", after, "1000"),
            name + "_ombg": _variable("obs", values - before, "1000"),
            name + "_oman": _variable("obs", values - after, "1000"),
        }
    return xr.Dataset(fields).set_coords("time")


MEANS = {"alpha": 0.55, "beta": 0.028, "gamma": 0.8, "delta": 0.024, "hare": 34.0, "lynx": 5.9}


def _posterior(random) -> xr.Dataset:
    fields = {}
    for name, mean in MEANS.items():
        units = "1000" if name in ("hare", "lynx") else "year-1"
        draws = mean * np.exp(0.1 * random.standard_normal(400))
        prior = np.abs(2 * mean * (1 + 0.5 * random.standard_normal(400)))
        fields[name] = _variable("realization", draws, units)
        fields[name + "_prior"] = _variable("realization", prior, units)
    fields["sigma"] = _variable(
        "realization", 0.25 * np.exp(0.15 * random.standard_normal(400)), "1", "Error scale"
    )
    fields["sigma_prior"] = _variable("realization", np.abs(random.standard_cauchy(400)))
    fields["weight"] = _variable("realization", np.full(400, 1 / 400))
    return xr.Dataset(fields, attrs={"assim_method": "Laplace"})


def _diagnostics() -> xr.Dataset:
    cost = np.array([842.1, 95.3, -11.2, -40.9, -44.55, -44.5641])
    return xr.Dataset(
        {
            "cost": ("loop", cost),
            "gradient_norm": ("loop", np.array([3.1e4, 2.2e3, 140.0, 9.1, 0.02, 3e-7])),
            "inner_iterations": ("loop", np.array([7, 7, 7, 6, 7, 7])),
            "seconds": ("loop", np.array([1.2, 0.01, 0.01, 0.01, 0.01, 0.01])),
            "hessian_eigenvalue": ("mode", np.array([910.0, 310, 55, 12, 1.4, 0.3, -2e-13])),
        },
        {"loop": np.arange(6)},
    )


def quantity(mean: float, units: str = "1") -> dict:
    low, high = 0.85 * mean, 1.18 * mean
    return {"mean": mean, "stddev": 0.1 * mean, "map": 0.99 * mean, "q05": low, "q50": mean,
            "q95": high, "units": units}  # fmt: skip


def _summary() -> dict:
    return {
        "status": "converged",
        "advice": "The gradient is below the tolerance.",
        "cost": {"background": 1.2, "observation": -48.9641, "model_error": 0.0,
                 "parameters": 3.2, "total": -44.5641},
        "gradient_norm": 3e-7,
        "seconds": {"read": 0.31, "compile": 1.9, "minimise": 0.22, "posterior": 0.4},
        "posterior": {"method": "Laplace", "verdict": "doubtful", "trust": "doubtful",
                      "k_hat": 0.62, "log_evidence": 31.2,
                      "effective_draws": 212.0, "effective_parameters": 6.1,
                      "advice": "Usable with importance weights; compare with NUTS."},
        "quantities": {name: quantity(mean, "year-1") for name, mean in MEANS.items()}
        | {"sigma": quantity(0.25)},
        "observations": {"pelts": {"used": 40, "rejected": {"background_check": 2}}},
        "minima": [{"cost": -44.5641, "starts": 6}, {"cost": 12.5, "starts": 2}],
    }  # fmt: skip


def twin(directory: Path, sites: int = 40) -> Path:
    """A field in time and space on non-physical time, with its truth."""
    random = np.random.default_rng(2)
    t, x = np.linspace(0, 4, 41), np.arange(sites, dtype=float)
    truth = 3 + 5 * np.sin(0.6 * x[None, :] - 2.2 * t[:, None])
    noise = random.standard_normal(truth.shape)
    coordinates = {
        "t": ("t", t, {"long_name": "time", "units": "1"}),
        "x": ("x", x, {"long_name": "site", "units": "1"}),
    }
    fields = {
        "u": _variable(("t", "x"), truth + 0.3 * noise, "1", "Lorenz-96 variable"),
        "u_stddev": _variable(("t", "x"), 0.3 + 0.1 * np.abs(noise)),
        "u_background": _variable(("t", "x"), truth + 2 * noise),
    }
    save(directory / "trajectory.nc", xr.Dataset(fields, coordinates))
    save(directory / "truth.nc", xr.Dataset({"u": (("t", "x"), truth)}, coordinates))
    first, name = {**coordinates, "t": ("t", t[:1])}, "Lorenz-96 variable"
    for stage, factor in (("analysis", 0.3), ("background", 2.0)):
        start = {
            "u": _variable(("t", "x"), truth[:1] + factor * noise[:1], "1", name),
            "u_stddev": _variable(("t", "x"), np.full((1, sites), factor)),
        }
        save(directory / f"{stage}.nc", xr.Dataset(start, first))
    save(directory / "feedback.nc", _points(truth, t, x, random))
    write_summary(
        directory,
        {"status": "out_of_loops", "advice": "Allow more.",
         "rmse": {"u": {"background": 2.0, "analysis": 0.31}}, "spread": {"u": 0.33},
         "cost": {"observation": 99.0, "total": 99.0}},
    )  # fmt: skip
    return directory


def _points(truth, t, x, random) -> xr.Dataset:
    when, where = np.meshgrid(np.arange(2, t.size, 4), np.arange(0, x.size, 2), indexing="ij")
    true = truth[when, where].ravel()
    value = true + random.standard_normal(true.size)
    flags = np.where(random.random(true.size) < 0.03, 12, 0)
    background = true + 2 * random.standard_normal(true.size)
    return xr.Dataset(
        {
            "u": _observed(value, "1", "Lorenz-96 variable"),
            "u_stddev": ("obs", np.ones(true.size)),
            "u_qc": ("obs", np.zeros(true.size, np.int32)),
            "u_effective_qc": ("obs", flags),
            "u_hofx_background": ("obs", background),
            "u_hofx_analysis": ("obs", true),
            "u_ombg": ("obs", value - background),
            "u_oman": ("obs", value - true),
        },
        {"t": ("obs", t[when.ravel()]), "x": ("obs", x[where.ravel()])},
    )
