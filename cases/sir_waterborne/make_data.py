"""Make observations.nc from Stan's data in source/: python make_data.py."""

import json
from pathlib import Path

import numpy as np
import xarray as xr

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "source" / "sir.data.json"


def observations() -> xr.Dataset:
    """The point table that assim reads; counts cover the week that ends at their time."""
    data = json.loads(SOURCE.read_text())
    ends = np.array(data["t"], float)
    weeks = np.stack([np.concatenate([[0.0], ends[:-1]]), ends], axis=1)
    time = {
        "standard_name": "time",
        "long_name": "end of the week",
        "units": "days since 2000-01-01",
        "calendar": "proleptic_gregorian",
        "units_metadata": "leap_seconds: none",
        "axis": "T",
        "bounds": "time_bnds",
    }
    infections = {
        "long_name": "new infections in the week",
        "units": "1",
        "cell_methods": "time: sum",
        "coordinates": "time",
    }
    bacteria = {
        "long_name": "concentration of bacteria in the water",
        "units": "ml-1",
        "cell_methods": "time: point",
        "coordinates": "time",
    }
    return xr.Dataset(
        {
            "new_infections": ("obs", np.array(data["stoi_hat"], float), infections),
            "B": ("obs", np.array(data["B_hat"], float), bacteria),
            "time": ("obs", ends, time),
            "time_bnds": (("obs", "bnds"), weeks),
        },
        attrs={
            "Conventions": "CF-1.11",
            "featureType": "point",
            "title": "Simulated water-borne epidemic: new infections and bacteria, 20 weeks",
            "source": "sir.data.json of stan-dev/stat_comp_benchmarks (BSD-3-Clause)",
            "history": "made by make_data.py",
            "comment": "The epoch 2000-01-01 is arbitrary: the data count days from the outbreak.",
        },
    )


if __name__ == "__main__":
    table = observations()
    packed = {"zlib": True, "complevel": 1, "shuffle": True, "_FillValue": None}
    encoding = {name: packed for name in table.variables}
    table.to_netcdf(HERE / "observations.nc", encoding=encoding)
