"""Make observations.nc of this twin: python make_data.py.

The truth is integrated by scipy's DOP853, in θ and the classical form of the strength, not by the
model that the case uses. Readings have independent errors of standard deviation 10⁻³.
"""

from pathlib import Path

import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp

HERE = Path(__file__).resolve().parent
A, B, D_C, K = 0.01, 0.009, 1e-5, 1e3  # D_c in m, k in 1/m
V_0, V_LOAD, MU_0 = 1e-6, 1e-5, 0.6  # m/s
THETA = 10.0  # s, at the start
STDEV, SEED = 1e-3, 0
TIMES = np.linspace(0.0, 15.0, 1000)  # s


def tendency(t: float, x: np.ndarray) -> list[float]:
    """dμ/dt and dθ/dt under the ageing law."""
    del t
    mu, theta = x
    velocity = V_0 * np.exp((mu - MU_0 - B * np.log(theta * V_0 / D_C)) / A)
    return [K * (V_LOAD - velocity), 1 - velocity * theta / D_C]


def truth() -> np.ndarray:
    """Friction without errors at the times of the readings."""
    found = solve_ivp(tendency, (0.0, 15.0), [MU_0, THETA], "DOP853", TIMES, rtol=1e-12, atol=1e-14)
    return found.y[0]


def observations() -> xr.Dataset:
    """The point table that assim reads."""
    errors = STDEV * np.random.default_rng(SEED).standard_normal(TIMES.size)
    time = {
        "standard_name": "time",
        "units": "seconds since 2000-01-01",
        "calendar": "proleptic_gregorian",
        "units_metadata": "leap_seconds: none",
        "axis": "T",
    }
    friction = {"long_name": "friction", "units": "1", "coordinates": "time"}
    return xr.Dataset(
        {"friction": ("obs", truth() + errors, friction), "time": ("obs", TIMES, time)},
        attrs={
            "Conventions": "CF-1.11",
            "featureType": "point",
            "title": "Simulated velocity step from 1 to 10 µm/s",
            "history": "made by make_data.py",
            "comment": "The epoch 2000-01-01 is arbitrary: the step is at time 0.",
        },
    )


if __name__ == "__main__":
    exact = truth()
    print(f"peak {exact.max():.6f}, at 15 s {exact[-1]:.6f}")
    table = observations()
    packed = {"zlib": True, "complevel": 1, "shuffle": True, "_FillValue": None}
    encoding = {name: packed for name in table.variables}
    table.to_netcdf(HERE / "observations.nc", encoding=encoding)
