"""Make the NetCDF files of this case: python make_data.py.

From the record in source/: from 66.5 s on, friction is recorded every 0.01 s. Errors of neighbours
are correlated (0.72, 0.37, 0.18, 0.11, 0.09 at lags of 0.01 to 0.05 s), those of every fifth
reading are nearly not. Readings are taken, not averaged, as a mean over 0.05 s would blunt the
rise to the peak. As many, half-way between those, are held back to test predictions.

For several_steps.toml: a simulated record, integrated by scipy's DOP853 in θ, not by the model
that the case uses.
"""

from pathlib import Path

import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "source" / "velstep4_BRAVA_expb819_basalt.txt"
OF_RECORD = {
    "source": f"{SOURCE.name} of pgiacomel/steadystate (MIT)",
    "references": "Giacomel et al. (2024), Geosphere, doi:10.1130/GES02739.1",
}
FIRST, LAST = 66.5, 86.5  # s since the record began
EVERY, HELD_BACK = 5, 2  # every fifth reading, and the second after each
BEFORE, AFTER = (34.0, 66.0), (76.0, 118.0)  # s: steady sliding, clear of slips of the encoder

VELOCITIES = (3e-6, 1e-5, 3e-5, 1e-5, 3e-6)  # m/s
STEP_TIMES = (5.0, 15.0, 22.0, 30.0)  # s
SIMULATED_TIMES = np.arange(451) / 10  # s
A, B, D_C, K, MU_0, V_0 = 0.0088, 0.0091, 6.6e-6, 7e3, 0.608, 3e-6  # D_c m, k 1/m, v_0 m/s
DRIFT, STDEV, SEED = -3e-3, 8e-4, 0  # 1/mm


def read_record() -> dict[str, np.ndarray]:
    """Time since the record began (s), displacement (mm) and friction."""
    columns = np.loadtxt(SOURCE, skiprows=1).T
    return {"time": columns[0] - columns[0, 0], "displacement": columns[1] / 1e3} | {
        "friction": columns[2]
    }


def slopes(record: dict[str, np.ndarray]) -> list[float]:
    """Velocities before and after the step (µm/s), from displacement."""
    found = []
    for lower, upper in (BEFORE, AFTER):
        inside = (record["time"] > lower) & (record["time"] < upper)
        slope = np.polyfit(record["time"][inside], record["displacement"][inside], 1)[0]
        found.append(float(1e3 * slope))
    return found


def simulated() -> dict[str, np.ndarray]:
    """A record of four sudden steps, with drift and errors."""
    ends = [*STEP_TIMES, SIMULATED_TIMES[-1]]
    load, state, friction = 0.0, [MU_0, D_C / VELOCITIES[0]], [MU_0]
    displacement, start = [0.0], 0.0
    for velocity, end in zip(VELOCITIES, ends, strict=True):
        first, last = np.searchsorted(SIMULATED_TIMES, [start, end], side="right")
        times = SIMULATED_TIMES[first:last]
        method = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-14, "args": (velocity,)}
        found = solve_ivp(tendency, (start, end), state, t_eval=times, **method)
        friction += list(found.y[0])
        displacement += list(load + 1e3 * velocity * (times - start))
        load, state, start = displacement[-1], found.y[:, -1], end
    errors = STDEV * np.random.default_rng(SEED).standard_normal(SIMULATED_TIMES.size)
    along = np.array(displacement)
    readings = np.array(friction) + DRIFT * along + errors
    return {"time": SIMULATED_TIMES, "displacement": along, "friction": readings}


def tendency(t: float, x: np.ndarray, load_velocity: float) -> list[float]:
    """dμ/dt and dθ/dt under the ageing law."""
    del t
    mu, theta = x
    velocity = V_0 * np.exp((mu - MU_0 - B * np.log(theta * V_0 / D_C)) / A)
    return [K * (load_velocity - velocity), 1 - velocity * theta / D_C]


def observations(record: dict[str, np.ndarray], title: str, **origin: str) -> xr.Dataset:
    """The point table that assim reads; time and displacement are counted from `start`."""
    time = {
        "standard_name": "time",
        "long_name": "time since the first reading used",
        "units": "seconds since 2000-01-01",
        "calendar": "proleptic_gregorian",
        "units_metadata": "leap_seconds: none",
        "axis": "T",
    }
    of_reading = {"coordinates": "time"}
    friction = {"long_name": "shear over normal stress", "units": "1", **of_reading}
    along = {"long_name": "displacement since the first reading used", "units": "mm", **of_reading}
    return xr.Dataset(
        {
            "friction": ("obs", record["friction"], friction),
            "displacement": ("obs", record["displacement"], along),
            "time": ("obs", np.round(record["time"], 6), time),
        },
        attrs={
            "Conventions": "CF-1.11",
            "featureType": "point",
            "title": title,
            **origin,
            "history": "made by make_data.py",
            "comment": "The epoch 2000-01-01 is arbitrary: the record counts seconds.",
        },
    )


def rows(record: dict[str, np.ndarray], offset: int) -> dict[str, np.ndarray]:
    """Every fifth reading of the part used, `offset` readings after its first."""
    part = np.flatnonzero((record["time"] >= FIRST - 1e-6) & (record["time"] <= LAST + 1e-6))
    taken = {name: column[part[offset::EVERY]] for name, column in record.items()}
    for name in ("time", "displacement"):
        taken[name] = taken[name] - record[name][part[0]]
    return taken


def write(table: xr.Dataset, name: str) -> None:
    """Write a file of this case."""
    packed = {"zlib": True, "complevel": 1, "shuffle": True, "_FillValue": None}
    table.to_netcdf(HERE / name, encoding={name: packed for name in table.variables})


if __name__ == "__main__":
    record = read_record()
    print("velocities from displacement, µm/s:", slopes(record))
    step = "Velocity step from 3 to 10 µm/s on basalt"
    write(observations(rows(record, 0), step, **OF_RECORD), "observations.nc")
    held_back = observations(rows(record, HELD_BACK), f"{step}, held back", **OF_RECORD)
    write(held_back, "observations_held_back.nc")
    write(observations(simulated(), "Simulated velocity steps"), "several_steps.nc")
