"""Make observations.nc from the school's counts in source/: python make_data.py."""

import csv
from pathlib import Path

import numpy as np
import xarray as xr

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "source" / "influenza_england_1978_school.csv"


def observations() -> xr.Dataset:
    """The point table that assim reads."""
    rows = list(csv.DictReader(SOURCE.read_text().splitlines()))
    dates = np.array([row["date"] for row in rows], "datetime64[D]")
    days = (dates - np.datetime64("1978-01-22")).astype("int32")
    time = {
        "standard_name": "time",
        "long_name": "day of the count, as its beginning",
        "units": "days since 1978-01-22",
        "calendar": "proleptic_gregorian",
        "units_metadata": "leap_seconds: none",
        "axis": "T",
    }

    def count(name: str, long_name: str) -> tuple:
        attributes = {"long_name": long_name, "units": "1", "coordinates": "time"}
        return "obs", np.array([float(row[name]) for row in rows]), attributes

    return xr.Dataset(
        {
            "in_bed": count("in_bed", "boys in bed"),
            "convalescent": count("convalescent", "boys convalescent"),
            "time": ("obs", days, time),
        },
        attrs={
            "Conventions": "CF-1.11",
            "featureType": "point",
            "title": "Influenza in a boarding school in England, January and February 1978",
            "source": "influenza_england_1978_school of reconverse/outbreaks (MIT)",
            "references": "Influenza in a boarding school, British Medical Journal 1, 4 March 1978",
            "history": "made by make_data.py",
            "comment": "Counts read from a published figure. A day's time is its beginning.",
        },
    )


if __name__ == "__main__":
    table = observations()
    packed = {"zlib": True, "complevel": 1, "shuffle": True, "_FillValue": None}
    encoding = {name: packed for name in table.variables}
    table.to_netcdf(HERE / "observations.nc", encoding=encoding)
