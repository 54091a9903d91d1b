"""Make truth.nc and the observations of four altimeters, a file each: python make_data.py.

The truth is a run of QuasiGeostrophic on a grid twice as fine as that of the case, in a stronger
mean flow and with less hyperviscosity, so that the model of the case is wrong as models are.

Orbits are circles that repeat: after `days` the satellite has gone round `revolutions` times while
the Earth turned `turns` times under the plane of the orbit. With u the angle from the ascending
node:

    sin φ = sin i sin u,    λ = λ_0 + atan2(cos i sin u, cos u) - 2π turns t/days
"""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from assim.models import QuasiGeostrophic

HERE = Path(__file__).resolve().parent
RADIUS = 6371e3  # m, of the Earth
SOUTH, NORTH = 33.0, 43.0  # degrees of latitude, between which the square lies
SIDE = 1112e3  # m: ten degrees of latitude, and as much along x
BETWEEN = 5.0  # s from one value to the next, over which an altimeter averages
NOISE = 0.03  # m
SPIN_UP = 800  # days
TRUE = {
    "coriolis": 9e-5,
    "beta": 1.8e-11,
    "reduced_gravity": 0.03,
    "upper_thickness": 500.0,
    "lower_thickness": 2000.0,
    "upper_flow": 0.18,
    "lower_flow": 0.0,
    "drag": 1e-6,
    "hyperviscosity": 2e10,
}
PER_DAY = 12  # steps of the truth


# ---- orbits ------------------------------------------------------------------------------------


class Orbit(NamedTuple):
    """One that repeats, with the inclination in degrees and the phase in turns, which is free."""

    days: float
    revolutions: int
    turns: int
    inclination: float
    phase: float


ORBITS = {
    "jason": Orbit(9.9156, 127, 10, 66.04, 0.10),
    "saral": Orbit(35.0, 501, 35, 98.55, 0.35),
    "sentinel3": Orbit(27.0, 385, 27, 98.65, 0.60),
    "cryosat": Orbit(368.24, 5344, 369, 92.03, 0.85),
}


def ground_track(orbit: Orbit, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latitude and longitude in degrees below the satellite; longitudes from 0 to 360."""
    angle = 2 * np.pi * (orbit.revolutions * days / orbit.days + orbit.phase)
    tilt = np.radians(orbit.inclination)
    latitude = np.arcsin(np.sin(tilt) * np.sin(angle))
    along = np.arctan2(np.cos(tilt) * np.sin(angle), np.cos(angle))
    longitude = along - 2 * np.pi * (orbit.turns * days / orbit.days + orbit.phase)
    return np.degrees(latitude), np.degrees(longitude) % 360


def crossings(orbit: Orbit, days: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times in days, and x and y in m, of every value on the square from time 0 on.

    y counts from its southern edge; x is along the parallel in its middle.
    """
    times = np.arange(BETWEEN / 86400 / 2, days, BETWEEN / 86400)
    latitude, longitude = ground_track(orbit, times)
    middle = np.radians((SOUTH + NORTH) / 2)
    x = np.radians(longitude) * RADIUS * np.cos(middle)
    y = np.radians(latitude - SOUTH) * RADIUS
    inside = (x < SIDE) & (y >= 0) & (y < SIDE)
    return times[inside], x[inside], y[inside]


# ---- truth -------------------------------------------------------------------------------------


def true_model(n: int) -> QuasiGeostrophic:
    """The truth's, on a grid twice as fine as n × n."""
    parameters = {name: jnp.asarray(value) for name, value in TRUE.items()}
    return QuasiGeostrophic(2 * n, 2 * n, SIDE / (2 * n), 86400 / PER_DAY, parameters)


def run(model: QuasiGeostrophic, start: dict, days: float) -> dict[str, np.ndarray]:
    """Both fields after every step, the start first."""

    def advance(x: dict, _: None) -> tuple[dict, dict]:
        after = model.step(x, model.parameters, 0.0)
        return after, after

    steps = round(days * 86400 / model.dt)
    after = jax.jit(lambda x: jax.lax.scan(advance, x, None, length=steps)[1])(start)
    return {n: np.concatenate([np.asarray(start[n])[None], np.asarray(after[n])]) for n in start}


def spun_up(model: QuasiGeostrophic, seed: int, days: float = SPIN_UP) -> dict:
    """A state of the statistical equilibrium, from eddies of random phases."""
    waves = np.hypot(*np.meshgrid(np.fft.rfftfreq(model.nx), np.fft.fftfreq(model.ny))) * model.nx
    noise = np.random.default_rng(seed).standard_normal((2, model.ny, model.nx))
    modes = np.fft.rfft2(noise) * np.exp(-((waves / 6) ** 2)) * (waves > 0)
    upper, lower = 0.2 * np.fft.irfft2(modes, noise.shape[1:])
    state = {"ssh": jnp.asarray(upper), "lower": jnp.asarray(lower)}
    steps = round(days * PER_DAY)
    march = jax.jit(
        lambda x: jax.lax.fori_loop(0, steps, lambda _, s: model.step(s, model.parameters, 0.0), x)
    )
    return march(state)


def read(ssh: np.ndarray, days: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The height at times and places: linear between steps, by its Fourier series in space."""
    _, ny, nx = ssh.shape
    modes = np.fft.fft2(ssh) / (ny * nx)
    k, m = (2j * np.pi / SIDE * np.fft.fftfreq(size, 1 / size) for size in (nx, ny))
    values = []
    for time, *place in zip(days * PER_DAY, x, y, strict=True):
        before, part = int(time), time % 1
        now = (1 - part) * modes[before] + part * modes[before + 1]
        values.append((np.exp(m * place[1]) @ now @ np.exp(k * place[0])).real)
    return np.array(values)


def altimeter(name: str, ssh: np.ndarray, days: int, rng: np.random.Generator) -> xr.Dataset:
    """The point table of one of them."""
    times, x, y = crossings(ORBITS[name], days)
    values = read(ssh, times, x, y) + NOISE * rng.standard_normal(times.size)
    what = {**HEIGHTS["ssh"], "coordinates": "time y x"}
    return xr.Dataset(
        {
            "ssh": ("obs", values.astype("f4"), what),
            "time": ("obs", np.round(times * 86400), TIME),
            "y": ("obs", y.astype("f4"), {"long_name": "distance along y", "units": "m"}),
            "x": ("obs", x.astype("f4"), {"long_name": "distance along x", "units": "m"}),
        },
        attrs={"featureType": "point", "title": f"Heights on the track of {name}", **ABOUT},
    )


def truth(ssh: np.ndarray, days: int) -> xr.Dataset:
    """The height once a day at the points of the case."""
    daily = ssh[::PER_DAY, ::2, ::2].astype("f4")
    times = ("time", 86400.0 * np.arange(days + 1), TIME)
    return xr.Dataset(
        {"ssh": (("time", "y", "x"), daily, HEIGHTS["ssh"])},
        {"time": times, **grid(daily.shape[1])},
        {"title": "The true height of the sea surface", **ABOUT},
    )


def background(n: int) -> xr.Dataset:
    """Both heights before anything is known of them: 0."""
    flat = {name: (("y", "x"), np.zeros((n, n), "f4"), words) for name, words in HEIGHTS.items()}
    about = {"title": "The mean of both heights", **ABOUT}
    return xr.Dataset(flat, {"time": ((), 0.0, TIME), **grid(n)}, about)


def grid(n: int) -> dict:
    """Coordinates of the points of the case."""
    points = SIDE * np.arange(n) / n
    return {
        dim: (dim, points, {"long_name": f"distance along {dim}", "units": "m"}) for dim in "yx"
    }


def make(folder: Path, n: int, days: int, seed: int) -> None:
    """Write the files of a case on n × n points to a folder."""
    model = true_model(n)
    ssh = run(model, spun_up(model, seed), days)["ssh"]
    rng = np.random.default_rng([seed, 1])
    tables = {f"{name}.nc": altimeter(name, ssh, days, rng) for name in ORBITS}
    fields = {"truth.nc": truth(ssh, days), "background.nc": background(n)}
    for name, table in (tables | fields).items():
        packed = {"zlib": True, "complevel": 4, "shuffle": True, "_FillValue": None}
        table.to_netcdf(folder / name, encoding={each: packed for each in table.variables})
    sizes = {name: table.sizes["obs"] for name, table in tables.items()}
    print(f"{sum(sizes.values())} values: {sizes}; true height {ssh.std():.3f} m")


HEIGHTS = {
    "ssh": {"long_name": "height of the sea surface", "units": "m"},
    "lower": {"long_name": "pressure of the lower layer as height of water", "units": "m"},
}
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

if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    make(HERE, n=32, days=30, seed=0)
