"""How well the wave speed is found, and how well that is known.

python scores.py DIRECTORY ... of results
"""

import sys
from pathlib import Path

import numpy as np
import xarray as xr

HERE = Path(__file__).resolve().parent
WEST, EAST, SOUTH, NORTH = 243.75, 581.25, 237.5, 512.5  # m: the wells, and what they span


def scores(directory: Path, truth: Path = HERE / "truth.nc") -> dict[str, float]:
    """RMSE of the wave speed and rms of its standard deviation in m s-1, where rays pass and not.

    Between the wells, and behind them; and how often the truth between the wells is within 90 %.
    """
    with xr.open_dataset(truth) as true, xr.open_dataset(directory / "analysis.nc") as found:
        found = found.squeeze()
        error = found["speed"].values - true["speed"].values
        spread = found["speed_stddev"].values if "speed_stddev" in found else None
        x, y = np.meshgrid(true["x"].values, true["y"].values)
    between = (x > WEST) & (x < EAST) & (y > SOUTH) & (y < NORTH)
    behind = (x < WEST - 60) | (x > EAST + 60)
    result = {}
    for name, where in (("between", between), ("behind", behind)):
        result[f"rmse_{name}"] = float(np.sqrt(np.mean(error[where] ** 2)))
        if spread is not None:
            result[f"spread_{name}"] = float(np.sqrt(np.mean(spread[where] ** 2)))
    if spread is not None:
        inside = np.abs(error) < 1.645 * spread
        result["within_90"] = float(np.mean(inside[between]))
    return result


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, {key: round(value, 3) for key, value in scores(Path(name)).items()})
