"""Make observations.nc from the pelt counts in source/: python make_data.py."""

import csv
from pathlib import Path

import numpy as np
import xarray as xr

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "source" / "hudson-bay-lynx-hare.csv"


def read_counts() -> dict[str, np.ndarray]:
    """Years, and thousands of pelts of lynx and hare."""
    lines = [line for line in SOURCE.read_text().splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(lines, skipinitialspace=True))
    return {name: np.array([float(row[name]) for row in rows]) for name in ("Year", "Lynx", "Hare")}


def days_since_1900(years: np.ndarray) -> np.ndarray:
    """Days from 1900-01-01 to the first of January of each year."""
    dates = years.astype(int).astype(str).astype("datetime64[Y]").astype("datetime64[D]")
    return (dates - np.datetime64("1900-01-01")).astype("int32")


def observations() -> xr.Dataset:
    """The point table that assim reads."""
    counts = read_counts()
    pelts = {"units": "1000", "coordinates": "time"}
    time = {
        "standard_name": "time",
        "long_name": "year of the count, as its first day",
        "units": "days since 1900-01-01",
        "calendar": "proleptic_gregorian",
        "units_metadata": "leap_seconds: none",
        "axis": "T",
    }
    return xr.Dataset(
        {
            "hare": ("obs", counts["Hare"], {"long_name": "hare pelts", **pelts}),
            "lynx": ("obs", counts["Lynx"], {"long_name": "lynx pelts", **pelts}),
            "time": ("obs", days_since_1900(counts["Year"]), time),
        },
        attrs={
            "Conventions": "CF-1.11",
            "featureType": "point",
            "title": "Lynx and hare pelts of the Hudson's Bay Company, 1900-1920",
            "source": "hudson-bay-lynx-hare.csv of stan-dev/example-models (BSD-3-Clause)",
            "references": "Hewitt (1921), The Conservation of the Wild Life of Canada",
            "history": "made by make_data.py",
            "comment": "Thousands of pelts. A count belongs to a year; its time is 1 January.",
        },
    )


if __name__ == "__main__":
    table = observations()
    packed = {"zlib": True, "complevel": 1, "shuffle": True, "_FillValue": None}
    encoding = {name: packed for name in table.variables}
    table.to_netcdf(HERE / "observations.nc", encoding=encoding)
