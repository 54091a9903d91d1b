"""Make observations.nc and wind.nc of this twin, and a posterior to compare with.

python make_data.py. Puffs of all ages are added up in closed form: nothing here knows the model
that the case uses. The posterior is that of this closed form, linearised at its maximum.
"""

from pathlib import Path

import numpy as np
import xarray as xr

HERE = Path(__file__).resolve().parent
RATE_TIMES = 600.0 * np.arange(6)  # s; the rate is linear between them, then constant
RATES = [0.2, 0.4, 1.0, 0.6, 0.3, 0.2]  # kg s-1
TRUTH = {f"release_rate_{j}": rate for j, rate in enumerate(RATES)} | {
    "release_x": 820.0,
    "release_y": 1270.0,
    "diffusivity": 22.0,
    "wind_x": 0.2,
    "wind_y": -0.15,
}
LOGNORMAL = {name: (0.3, 1.0) for name in TRUTH if name.startswith("release_rate")}
LOGNORMAL |= {"diffusivity": (15.0, 0.5)}  # median, log-sd
NORMAL = {  # mean, sd
    "release_x": (1500.0, 700.0),
    "release_y": (1500.0, 700.0),
    "wind_x": (0.0, 0.3),
    "wind_y": (0.0, 0.3),
}
WIDTH, DEPTH = 200.0, 200.0  # m, of the footprint and of the layer
MASTS = np.array(  # x, y, in the middle of cells, where the model has its values
    [[1650, 850], [1650, 1650], [2350, 1250], [2950, 750], [2950, 1950], [3350, 1350]], float
)
TIMES = 150.0 * np.arange(1, 25)  # s
STDEV, SEED = 1e-7, 0  # kg m-3
WIND_TIMES = 600.0 * np.arange(7)
WIND = np.array(
    [[3.0, -0.9], [3.1, -0.5], [2.8, -0.1], [2.6, 0.3], [2.9, 0.6], [3.2, 1.0], [3.0, 1.2]]
)


def blown(times: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """∫ (u, v) dt from the start, exact for a wind that is linear between its times."""
    steps = np.diff(WIND_TIMES)[:, None] * (WIND[1:] + WIND[:-1]) / 2
    passed = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    i = np.clip(np.searchsorted(WIND_TIMES, times, side="right") - 1, 0, len(WIND) - 2)
    since = (times - WIND_TIMES[i])[:, None]
    slope = (WIND[i + 1] - WIND[i]) / 600.0
    return passed[i] + since * WIND[i] + slope * since**2 / 2 + bias * times[:, None]


def predicted(theta: dict[str, float]) -> np.ndarray:
    """Readings without errors, shape (times, masts): ∫ Q(s) N(x; x_s + X(t) - X(s), ...) ds."""
    bias = np.array([theta["wind_x"], theta["wind_y"]])
    source = np.array([theta["release_x"], theta["release_y"]])
    rates = [theta[f"release_rate_{j}"] for j in range(len(RATES))]
    readings = []
    for t in TIMES:
        born = np.linspace(0.0, t, 1 + round(t / 2))
        centres = source + blown(np.array([t]), bias) - blown(born, bias)
        variance = WIDTH**2 + 2 * theta["diffusivity"] * (t - born)[:, None]
        square = ((MASTS[None] - centres[:, None]) ** 2).sum(axis=2)
        puffs = np.exp(-square / (2 * variance)) / (2 * np.pi * variance * DEPTH)
        rate = np.interp(born, RATE_TIMES, rates)[:, None]
        readings.append(np.trapezoid(rate * puffs, born, axis=0))
    return np.array(readings)


def released(theta: dict[str, float]) -> float:
    """Mass released within the hour, kg."""
    rates = [theta[f"release_rate_{j}"] for j in range(len(RATES))]
    return float(np.trapezoid([*rates, rates[-1]], [*RATE_TIMES, TIMES[-1]]))


def parameters(chi: np.ndarray) -> dict[str, float]:
    """Values of whitened ones, in the order of TRUTH."""
    white = dict(zip(TRUTH, chi, strict=True))
    logs = {n: median * np.exp(sd * white[n]) for n, (median, sd) in LOGNORMAL.items()}
    return logs | {n: mean + sd * white[n] for n, (mean, sd) in NORMAL.items()}


def whitened(theta: dict[str, float]) -> np.ndarray:
    """The reverse."""
    logs = {n: np.log(theta[n] / median) / sd for n, (median, sd) in LOGNORMAL.items()}
    normal = {n: (theta[n] - mean) / sd for n, (mean, sd) in NORMAL.items()}
    return np.array([(logs | normal)[name] for name in TRUTH])


def slopes(chi: np.ndarray) -> np.ndarray:
    """Derivatives of the readings, in standard deviations, shape (readings, len(χ))."""
    steps = 1e-4 * np.eye(len(chi))
    ends = [[predicted(parameters(chi + s * step)) for s in (1, -1)] for step in steps]
    return np.stack([(a - b).ravel() / (2e-4 * STDEV) for a, b in ends], axis=1)


def posterior(readings: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """χ at the maximum, its covariance, and J there, by Gauss-Newton steps from the truth."""
    chi = whitened(TRUTH)
    for _ in range(8):
        misfit = (predicted(parameters(chi)) - readings).ravel() / STDEV
        slope = slopes(chi)
        covariance = np.linalg.inv(np.eye(len(chi)) + slope.T @ slope)
        chi = chi - covariance @ (chi + slope.T @ misfit)
    return chi, covariance, (misfit @ misfit + chi @ chi) / 2


def observations(readings: np.ndarray) -> xr.Dataset:
    """The point table that assim reads."""
    times, masts = np.repeat(TIMES, len(MASTS)), np.tile(MASTS, (len(TIMES), 1))
    what = {"long_name": "concentration at a mast", "units": "kg m-3", "coordinates": "time y x"}
    return xr.Dataset(
        {
            "concentration": ("obs", readings.ravel(), what),
            "time": ("obs", times, TIME),
            "y": ("obs", masts[:, 1], {"long_name": "y of the mast", "units": "m"}),
            "x": ("obs", masts[:, 0], {"long_name": "x of the mast", "units": "m"}),
        },
        attrs={"featureType": "point", "title": "Readings of six masts", **ABOUT},
    )


def wind() -> xr.Dataset:
    """The series that the case gives to the model: the wind without its bias."""
    names = {"wind_x": "wind along x", "wind_y": "wind along y"}
    return xr.Dataset(
        {
            name: ("time", WIND[:, i], {"long_name": what, "units": "m s-1"})
            for i, (name, what) in enumerate(names.items())
        },
        {"time": ("time", WIND_TIMES, TIME)},
        {"title": "Wind of an hour", **ABOUT},
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
    exact = predicted(TRUTH)
    noise = STDEV * np.random.default_rng(SEED).standard_normal(exact.shape)
    write(observations(exact + noise), "observations.nc")
    write(wind(), "wind.nc")
    chi, covariance, cost = posterior(exact + noise)
    print(f"largest reading {exact.max():.3g} kg m-3, J {cost:.3f}")
    draws = np.random.default_rng(SEED).multivariate_normal(chi, covariance, 4000)
    several = [parameters(draw) for draw in draws]
    for name, true in (TRUTH | {"released": released(TRUTH)}).items():
        values = [released(each) if name == "released" else each[name] for each in several]
        print(f"{name}: {np.mean(values):.6g} ± {np.std(values):.4g}, truth {true:g}")
