"""The climate case against a cost written anew in NumPy and SciPy."""

from pathlib import Path

import equinox as eqx
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import xarray as xr

from assim.case.case import read_case
from assim.case.pose import pose

CASE = Path(__file__).resolve().parents[2] / "cases" / "climate_energy_balance"
MEDIANS = {
    "feedback": (1.2, 0.5),
    "surface_capacity": (8.2, 0.2),
    "deep_capacity": (109.0, 0.4),
    "exchange": (0.67, 0.3),
    "efficacy": (1.28, 0.25),
    "memory": (1.5, 0.5),
}


def read(name):
    with xr.open_dataset(CASE / f"{name}.nc", decode_times=False) as file:
        return {key: np.asarray(value) for key, value in file.variables.items()}


def warming(p):
    """Both temperatures at the start of 1750 … 2024, by the matrix exponential of a year."""
    loss = (p["feedback"] + p["efficacy"] * p["exchange"]) / p["surface_capacity"]
    back = p["efficacy"] * p["exchange"] / p["surface_capacity"]
    gain = p["exchange"] / p["deep_capacity"]
    matrix = np.array([[-loss, back, 1 / p["surface_capacity"]], [gain, -gain, 0], [0, 0, 0]])
    year, file = scipy.linalg.expm(matrix), read("forcing")
    states = [np.zeros(2)]
    for total in file["other"] + p["aerosol_scale"] * file["aerosol"]:
        states.append((year @ np.append(states[-1], total))[:2])
    return np.array(states).T


def departures(p, variability):
    """Normalised departures of both instruments; `variability` is that of 1750 … 2023."""
    surface, deep = warming(p)
    annual = (surface[1:] + surface[:-1]) / 2 + variability
    found = annual[100:] - annual[211:241].mean()
    yearly = p["surface_capacity"] * surface + p["deep_capacity"] * deep
    middle = 0.91 * 5.1007e14 * 31556952 / 1e21 * (yearly[1:] + yearly[:-1])[221:] / 2
    heat = middle - middle[0] + p["heat_offset"]
    parts = []
    for name, predicted in (("temperature", found), ("ocean_heat", heat)):
        file = read(name)
        root = np.linalg.cholesky(file[f"{name}_covariance"])
        parts.append(scipy.linalg.solve_triangular(root, file[name] - predicted, lower=True))
    return np.concatenate(parts)


def log_normal(value, median, log_stdev):
    return np.log(value / median) / log_stdev


def prior_cost(p):
    """½ Σ χ² of the parameters and the offset, from their physical values."""
    whole = scipy.stats.norm.sf(-1 / 0.36)
    drawn = scipy.stats.norm.sf((1 - p["aerosol_scale"]) / -0.36) / whole
    chi = [log_normal(p[name], *MEDIANS[name]) for name in MEDIANS if name in p]
    chi += [p["heat_offset"] / 50, scipy.stats.norm.isf(drawn)]
    return 0.5 * np.sum(np.square(chi))


def values(physical):
    named = {**physical.parameters, **physical.biases, **physical.scales}
    return {name: float(value) for name, value in named.items()}


def test_strong_cost():
    problem = pose(read_case(CASE / "strong.toml")).problem
    chi = 0.5 * np.random.default_rng(0).standard_normal(problem.size())
    p = values(problem.control(chi))
    p = {name: value for name, value in p.items() if name != "memory"}
    expected = prior_cost(p) + 0.5 * np.sum(departures(p, np.zeros(274)) ** 2)
    found = eqx.filter_jit(lambda problem, chi: problem(chi))(problem, chi)
    total = 0.5 * np.sum(chi**2) + 0.5 * np.sum(np.asarray(found.normalised) ** 2)
    np.testing.assert_allclose(total + found.normaliser, expected, rtol=1e-8)


@pytest.mark.slow
def test_weak_cost_with_the_volume_of_variability():
    """J = prior + ½ |d|² + ½ log |I + GᵀG| with variability written as a sum of its jumps."""
    problem = pose(read_case(CASE / "case.toml")).problem
    chi = 0.5 * np.random.default_rng(3).standard_normal(problem.size())
    physical = problem.control(chi)
    p = values(physical)
    memory, size = p["memory"], p["variability_jump"]
    white = np.ravel(problem.control.split(chi)["model_error"]["variability"])
    lag = np.arange(274)[:, None] - np.arange(274)
    response = size * np.where(lag >= 0, np.exp(-np.maximum(lag, 0) / memory), 0.0)
    seen = departures(p, response @ white)
    blank = departures(p, np.zeros(274))
    g = np.stack([departures(p, column) - blank for column in response.T], axis=1)
    expected = prior_cost(p) + 0.5 * log_normal(size, 0.1, 0.5) ** 2 + 0.5 * np.sum(white**2)
    expected += 0.5 * np.sum(seen**2) + 0.5 * np.linalg.slogdet(np.eye(274) + g.T @ g)[1]
    found = eqx.filter_jit(lambda problem, chi: problem(chi))(problem, chi)
    total = 0.5 * np.sum(chi**2) + 0.5 * np.sum(np.asarray(found.normalised) ** 2)
    np.testing.assert_allclose(total + found.normaliser + found.volume, expected, rtol=1e-8)
