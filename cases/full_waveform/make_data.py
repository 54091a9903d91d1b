"""Make observations.nc, low.nc, start.nc and truth.nc of this twin: python make_data.py.

The truth is not made by the model of the case. ∂²p/∂t² = c² ∇²p + ∂S/∂t is stepped on a grid, a
step and a domain of its own, with derivatives by Fourier series, and with a wave speed that is
not a combination of the eigenvectors that the case estimates.
"""

from pathlib import Path

import numpy as np
import xarray as xr

HERE = Path(__file__).resolve().parent
NX, NY, DX = 66, 60, 12.5  # cells of the case, and their width in m
SHOTS = np.array([[243.75, y] for y in (256.25, 375.0, 493.75)])  # x, y in m
FIRED = 0.13 + 0.3 * np.arange(3)  # s
RECEIVERS = np.array([[581.25, 12.5 * (j + 0.5)] for j in range(19, 41, 3)])
READ = 0.01 * np.arange(1, 111)  # s
AMPLITUDE, FREQUENCY = 1e6, 15.0  # Pa m2 s-1, s-1
SPEED, SPREAD, LENGTH = 2000.0, 120.0, 60.0  # mean and sd in m s-1, length in m, of the rock
STDEV, SEED = 0.1, 0  # of the noise, Pa
LOW = 7.5  # s-1, of the wavelets of low.nc
SLOW = 1600.0  # m s-1, a first guess that is wrong
N, FINE, STEP = 192, 10.0, 5e-4  # points of the truth along each axis, their spacing in m, and s
SPONGE = 300.0  # m, at the ends of the domain of the truth


def rock(x: np.ndarray, y: np.ndarray, seed: int = SEED, number: int = 400) -> np.ndarray:
    """Wave speed at places: a draw of the prior, as a sum of waves of random directions."""
    rng = np.random.default_rng([seed, 1])
    waves = rng.standard_normal((number, 2)) / LENGTH
    phases = rng.uniform(0, 2 * np.pi, number)
    speed = np.full(np.broadcast(x, y).shape, SPEED)
    for (k, m), phase in zip(waves, phases, strict=True):
        speed += SPREAD * np.sqrt(2 / number) * np.cos(k * x + m * y + phase)
    return speed


def wavelet_slope(t: np.ndarray) -> np.ndarray:
    """dw/dt of Ricker's wavelet w = (1 - 2 a) e^(-a), a = (π f t)²."""
    a = (np.pi * FREQUENCY * t) ** 2
    return 2 * (np.pi * FREQUENCY) ** 2 * t * (2 * a - 3) * np.exp(-a)


def recorded(seed: int = SEED) -> np.ndarray:
    """Pressure at the receivers without noise, shape (times, receivers)."""
    middle = np.array([NX, NY]) * DX / 2
    along = FINE * (np.arange(N) - N // 2)
    x, y = np.meshgrid(along + middle[0], along + middle[1])
    square = rock(x, y, seed) ** 2
    k, m = 2 * np.pi * np.fft.rfftfreq(N, FINE), 2 * np.pi * np.fft.fftfreq(N, FINE)
    laplacian = -(k[None] ** 2 + m[:, None] ** 2)
    depth = np.maximum(SPONGE - N / 2 * FINE + np.abs(along), 0) / SPONGE
    fade = np.exp(-0.02 * depth**2)
    fade = fade[:, None] * fade[None]
    sources = [
        np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * DX**2)) / (2 * np.pi * DX**2) for a, b in SHOTS
    ]
    rows = [_rows(k, m, *(place - middle)) for place in RECEIVERS]
    before, now, readings = np.zeros((N, N)), np.zeros((N, N)), []
    every = round(READ[0] / STEP)
    for step in range(round(READ[-1] / STEP)):
        forcing = sum(
            AMPLITUDE * wavelet_slope(step * STEP - t) * source
            for t, source in zip(FIRED, sources, strict=True)
            if abs(step * STEP - t) < 0.2
        )
        waves = np.fft.irfft2(laplacian * np.fft.rfft2(now), (N, N))
        after = fade * (2 * now - fade * before + STEP**2 * (square * waves + forcing))
        before, now = now, after
        if (step + 1) % every == 0:
            modes = np.fft.rfft2(now)
            readings.append([np.real(left @ modes @ right) for left, right in rows])
    return np.array(readings)


def _rows(k: np.ndarray, m: np.ndarray, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    """What reads a Fourier series at a place, counted from the middle point."""
    twice = np.where((k > 0) & (k < np.pi / FINE), 2, 1)
    at = (x + N // 2 * FINE, y + N // 2 * FINE)
    return np.exp(1j * m * at[1]) / N, twice * np.exp(1j * k * at[0]) / N


def smoothed(readings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Readings as with wavelets of `LOW`, and which are far enough from the ends of the record.

    The spectrum of w is as f⁻³ ν² exp(-ν²/f²): a Gaussian of variance (LOW⁻² - FREQUENCY⁻²)/(2π²)
    makes one wavelet of the other, times (LOW/FREQUENCY)³.
    """
    width = np.sqrt((LOW**-2 - FREQUENCY**-2) / (2 * np.pi**2))
    apart = np.subtract.outer(READ, READ)
    kernel = np.exp(-((apart / width) ** 2) / 2) * READ[0] / (np.sqrt(2 * np.pi) * width)
    return kernel @ readings, READ[-1] - READ > 3 * width


def table(times: np.ndarray, readings: np.ndarray, title: str) -> xr.Dataset:
    """The point table that assim reads."""
    what = {"long_name": "pressure at a receiver", "units": "Pa", "coordinates": "time y x"}
    places = np.tile(RECEIVERS, (len(times), 1))
    return xr.Dataset(
        {
            "p": ("obs", readings.ravel().astype("f4"), what),
            "time": ("obs", np.repeat(times, len(RECEIVERS)), TIME),
            "y": ("obs", places[:, 1], {"long_name": "y of the receiver", "units": "m"}),
            "x": ("obs", places[:, 0], {"long_name": "x of the receiver", "units": "m"}),
        },
        attrs={"featureType": "point", "title": title, **ABOUT},
    )


def state(speed: np.ndarray, title: str) -> xr.Dataset:
    """The wave speed in the cells of the case, and silence."""
    along = {"y": DX * (np.arange(NY) + 0.5), "x": DX * (np.arange(NX) + 0.5)}
    along |= {"y_face": DX * np.arange(NY), "x_face": DX * np.arange(NX)}
    fields = {
        "p": (("y", "x"), "Pa", "acoustic pressure"),
        "u": (("y", "x_face"), "m s-1", "velocity along x"),
        "v": (("y_face", "x"), "m s-1", "velocity along y"),
    }
    silent = {
        name: (dims, np.zeros((NY, NX), "f4"), {"units": units, "long_name": words})
        for name, (dims, units, words) in fields.items()
    }
    what = {"units": "m s-1", "long_name": "wave speed"}
    return xr.Dataset(
        {**silent, "speed": (("y", "x"), speed.astype("f4"), what)},
        {
            "time": ((), 0.0, TIME),
            **{n: (n, at, {"units": "m", "long_name": n}) for n, at in along.items()},
        },
        {"title": title, **ABOUT},
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


def write(dataset: xr.Dataset, name: str) -> None:
    """The files are small; compression keeps them so."""
    packed = {"zlib": True, "complevel": 4, "shuffle": True, "_FillValue": None}
    dataset.to_netcdf(HERE / name, encoding={variable: packed for variable in dataset.variables})


if __name__ == "__main__":
    exact = recorded()
    readings = exact + STDEV * np.random.default_rng(SEED).standard_normal(exact.shape)
    low, far = smoothed(readings)
    x, y = np.meshgrid(DX * (np.arange(NX) + 0.5), DX * (np.arange(NY) + 0.5))
    write(table(READ, readings, "Pressure in the second well"), "observations.nc")
    write(table(READ[far], low[far], "The same, smoothed in time"), "low.nc")
    write(state(np.full((NY, NX), SLOW), "A first guess that is wrong"), "start.nc")
    write(state(rock(x, y), "The true wave speed"), "truth.nc")
    quiet = smoothed(readings - exact)[0][far]
    print(f"largest reading {np.abs(exact).max():.3g} Pa, rms {exact.std():.3g}")
    print(f"smoothed: {np.abs(low[far]).max():.3g} Pa, of which noise {quiet.std():.3g}")
