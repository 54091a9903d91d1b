"""Make observations.nc and power.nc of this twin: python make_data.py.

The truth is integrated by the exponential of a matrix on a grid of its own, four times as fine, not
by the model that the case uses: 3/2 n ∂T/∂t = (1/r) ∂/∂r (r n χ ∂T/∂r) + P with a uniform density.
The posterior that is printed is that of this integration, linearised at its maximum.
"""

from pathlib import Path

import numpy as np
import xarray as xr
from scipy.linalg import expm

HERE = Path(__file__).resolve().parent
A, R, N = 0.5, 1.65, 240  # radii in m, and shells
DENSITY, EDGE = 3.0, 0.1  # 10¹⁹ m-3, keV
KNOTS, CHI = [0.0, 0.25, 0.5, 0.75, 1.0], [0.4, 0.6, 1.2, 2.5, 5.0]  # of a, m2/s
CENTRE, WIDTH = 0.05, 0.06  # m, of the heating
POWER_TIMES = 0.01 * np.arange(9)  # s
POWER = np.array([0.2, 0.8, 0.2, 0.8, 0.2, 0.8, 0.2, 0.8])  # MW, between them
CHANNELS = np.array([0.03, 0.09, 0.15, 0.21, 0.27, 0.33, 0.39, 0.45])  # m
TIMES = 1e-3 * np.arange(1, 81)  # s
STDEV, SEED = 0.02, 0  # keV
FACES = np.linspace(0.0, A, N + 1)
MIDDLES, AREAS = (FACES[1:] + FACES[:-1]) / 2, np.diff(FACES**2) / 2


def heating() -> np.ndarray:
    """keV s-1 in each shell for a megawatt."""
    shape = np.exp(-(((MIDDLES - CENTRE) / WIDTH) ** 2) / 2)
    total = 4 * np.pi**2 * R * np.sum(shape * AREAS)
    return shape / total * 1e3 / 1.602176634 / (1.5 * DENSITY)


def conduction(chi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A and b of dT/dt = A T + b, for the diffusivities at the knots."""
    at_faces = np.exp(np.interp(FACES[1:] / A, KNOTS, np.log(chi)))
    spacing = np.append(np.full(N - 1, A / N), A / N / 2)
    exchange = 2 / 3 * FACES[1:] * at_faces / spacing
    matrix = np.diag(exchange[:-1], 1) + np.diag(exchange[:-1], -1)
    matrix = matrix - np.diag(exchange + np.append(0.0, exchange[:-1]))
    matrix = matrix / AREAS[:, None]
    return matrix, np.append(np.zeros(N - 1), exchange[-1] / AREAS[-1] * EDGE)


def predicted(chi: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """Temperature at the channels, shape (times, channels); at first at rest at half a megawatt."""
    (matrix, constant), source = conduction(chi), heating()

    def rest(power: float) -> np.ndarray:
        return np.linalg.solve(matrix, -constant - power * source)

    state, readings = rest(0.5) if start is None else start, []
    propagator, rests = expm(matrix * TIMES[0]), {power: rest(power) for power in set(POWER)}
    for power in np.repeat(POWER, len(TIMES) // len(POWER)):
        state = rests[power] + propagator @ (state - rests[power])
        readings.append(np.interp(CHANNELS, MIDDLES, state))
    return np.array(readings)


def posterior(readings: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """ln χ at the maximum, their covariance, and J there, by Gauss-Newton steps from the truth.

    The start is 1.5 keV with errors of 1.5 keV and a Gaussian correlation of length 0.15 m.
    """
    distance = np.subtract.outer(MIDDLES, MIDDLES)
    values, vectors = np.linalg.eigh(1.5**2 * np.exp(-((distance / 0.15) ** 2) / 2))
    modes = (vectors * np.sqrt(np.maximum(values, 0.0)))[:, -20:]
    mean, number = np.full(N, 1.5), len(CHI)
    z = np.concatenate([np.log(CHI), np.zeros(20)])
    for _ in range(8):
        start = mean + modes @ z[number:]
        misfit = (predicted(np.exp(z[:number]), start) - readings).ravel() / STDEV
        columns = []
        for step in 1e-4 * np.eye(number):
            ends = [predicted(np.exp(z[:number] + sign * step), start) for sign in (1, -1)]
            columns.append((ends[0] - ends[1]).ravel() / (2e-4 * STDEV))
        silent = predicted(np.exp(z[:number]), mean)
        for mode in modes.T:
            columns.append((predicted(np.exp(z[:number]), mean + mode) - silent).ravel() / STDEV)
        slope = np.stack(columns, axis=1)
        covariance = np.linalg.inv(np.eye(len(z)) + slope.T @ slope)
        z = z - covariance @ (z + slope.T @ misfit)
    return z[:number], covariance[:number, :number], (misfit @ misfit + z @ z) / 2


def observations(readings: np.ndarray) -> xr.Dataset:
    """The point table that assim reads."""
    what = {"long_name": "electron temperature", "units": "keV", "coordinates": "time r"}
    places = np.tile(CHANNELS, len(TIMES))
    return xr.Dataset(
        {
            "T": ("obs", readings.ravel(), what),
            "time": ("obs", np.repeat(TIMES, len(CHANNELS)), TIME),
            "r": ("obs", places, {"long_name": "minor radius of the channel", "units": "m"}),
        },
        attrs={"featureType": "point", "title": "Heat pulses in eight channels", **ABOUT},
    )


def power() -> xr.Dataset:
    """The power, constant between its times."""
    bounds = np.stack([POWER_TIMES[:-1], POWER_TIMES[1:]], axis=1)
    return xr.Dataset(
        {
            "heating": ("time", POWER, {"long_name": "absorbed power", "units": "MW"}),
            "time_bnds": (("time", "nv"), bounds),
        },
        {"time": ("time", bounds.mean(axis=1), {**TIME, "bounds": "time_bnds"})},
        {"title": "Modulated heating", **ABOUT},
    )


TIME = {
    "standard_name": "time",
    "units": "seconds since 2000-01-01",
    "calendar": "proleptic_gregorian",
    "units_metadata": "leap_seconds: none",
    "axis": "T",
}
ABOUT = {
    "Conventions": "CF-1.11",
    "history": "made by make_data.py",
    "comment": "A simulation; the epoch 2000-01-01 is arbitrary.",
}


def write(table: xr.Dataset, name: str) -> None:
    """The tables are small; compression keeps them so."""
    packed = {"zlib": True, "complevel": 1, "shuffle": True, "_FillValue": None}
    table.to_netcdf(HERE / name, encoding={variable: packed for variable in table.variables})


if __name__ == "__main__":
    exact = predicted(np.array(CHI))
    noise = STDEV * np.random.default_rng(SEED).standard_normal(exact.shape)
    write(observations(exact + noise), "observations.nc")
    write(power(), "power.nc")
    logs, covariance, cost = posterior(exact + noise)
    spread = np.sqrt(np.diag(covariance))
    print(f"J {cost:.3f}; the pulses are {np.round(np.ptp(exact, axis=0), 3)} keV high")
    for j, (log, sd) in enumerate(zip(logs, spread, strict=True)):
        mean, relative = np.exp(log + sd**2 / 2), np.sqrt(np.expm1(sd**2))
        print(f"chi_{j}: {mean:.5g} ± {mean * relative:.4g}, truth {CHI[j]:g}")
    precision, directions = np.linalg.eigh(np.linalg.inv(covariance) - np.eye(len(CHI)))
    for value, vector in zip(precision[::-1], directions.T[::-1], strict=True):
        print(f"{value:.4g}: {np.round(vector, 2)}")
