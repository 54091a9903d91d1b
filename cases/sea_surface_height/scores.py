"""How well a height of the sea surface is mapped, as the SSH mapping challenge 2020a scores it.

    µ = mean over time of 1 - RMSE_t/RMS_t

λ_x and λ_t are the shortest wavelength and the shortest period on the line where the spectral power
of the error, over wavenumbers along x and frequencies, is half that of the truth. Source:
github.com/ocean-data-challenges/2020a_SSH_mapping_NATL60.

python scores.py DIRECTORY ... prints them for the trajectory.nc in each.
"""

import sys
from pathlib import Path

import numpy as np
import xarray as xr

HERE = Path(__file__).resolve().parent
DEGREE = np.radians(1.0) * 6371e3  # m
DAY = 86400.0


def mean_score(error: np.ndarray, truth: np.ndarray) -> float:
    """µ of fields of shape (times, y, x)."""
    rms = lambda field: np.sqrt(np.mean(field**2, axis=(1, 2)))  # noqa: E731
    return float(np.mean(1 - rms(error) / rms(truth)))


def power(field: np.ndarray) -> np.ndarray:
    """Power over frequencies and wavenumbers along x, both above 0, the mean over y.

    The plane is periodic along x. In time the linear trend of every point is taken out, and Hann's
    window taken; waves to the east and to the west count alike.
    """
    times, _, nx = field.shape
    line = np.stack([np.ones(times), np.arange(times) - (times - 1) / 2])
    slopes = np.tensordot(line / np.sum(line**2, axis=1, keepdims=True), field, 1)
    tapered = (field - np.tensordot(line.T, slopes, 1)) * np.hanning(times)[:, None, None]
    square = np.mean(np.abs(np.fft.fft2(tapered, axes=(0, 2))) ** 2, axis=1)
    number = (times - 1) // 2
    east, west = square[1 : 1 + number], square[-1 : -1 - number : -1]
    return (east + west)[:, 1 : 1 + (nx - 1) // 2]


def resolved(error: np.ndarray, truth: np.ndarray, dx: float, dt: float) -> tuple[float, float]:
    """λ_x and λ_t in the units of dx and dt; infinite where nothing is resolved."""
    share = power(error) / power(truth)
    frequencies = (1 + np.arange(share.shape[0])) / (dt * truth.shape[0])
    wavenumbers = (1 + np.arange(share.shape[1])) / (dx * truth.shape[2])
    points = [(0.0, 0.0)]
    for row, frequency in zip(share, frequencies, strict=True):
        points += [(at, frequency) for at in _crossings(row, wavenumbers)]
    for column, wavenumber in zip(share.T, wavenumbers, strict=True):
        points += [(wavenumber, at) for at in _crossings(column, frequencies)]
    wavenumber, frequency = np.max(points, axis=0).tolist()
    return 1 / wavenumber if wavenumber else np.inf, 1 / frequency if frequency else np.inf


def _crossings(share: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Where a share that is linear between these places is a half."""
    above = share > 0.5
    first = np.flatnonzero(above[1:] != above[:-1])
    part = (0.5 - share[first]) / (share[first + 1] - share[first])
    return at[first] + part * (at[first + 1] - at[first])


def scores(directory: Path, truth: Path = HERE / "truth.nc") -> dict[str, float]:
    """RMSE and spread in m, µ, λ_x in degrees and λ_t in days of the results in a directory."""
    with xr.open_dataset(truth) as true, xr.open_dataset(directory / "trajectory.nc") as mapped:
        height, dx = true["ssh"].values.astype(float), float(np.diff(true["x"].values).mean())
        at = mapped.sel(time=true["time"]).load()
    error = at["ssh"].values - height
    along_x, in_time = resolved(error, height, dx, DAY)
    result = {
        "mu": mean_score(error, height),
        "lambda_x": along_x / DEGREE,
        "lambda_t": in_time / DAY,
        "rmse": float(np.sqrt(np.mean(error**2))),
    }
    if "ssh_stddev" in at:
        result["spread"] = float(np.sqrt(np.mean(at["ssh_stddev"].values ** 2)))
    return result


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, {key: round(value, 4) for key, value in scores(Path(name)).items()})
