"""Make the NetCDF files of this case from the tables in source/: python make_data.py.

Error covariance of the temperatures. The 200 members of the ensemble show how errors go together
in time, but a sample covariance of 200 members in 174 years has an inverse that is far too large.
Factor analysis with six factors keeps every variance, and the correlations that members share over
decades (ship buckets, changes of instruments); what is left of each year is independent. With 160
members for the fit and 40 held out, whitened members have a mean square of 1.04, against 1.64 of
the sample covariance itself. The uncertainty of incomplete coverage is added as independent.

Error covariance of ocean heat. Errors of the three layers are independent of each other. Those of
the upper two are correlated over ten years, as the spread between mappings and instrument
corrections is; that of the abyss is the uncertainty of one trend, and so the same in all years.
"""

import csv
from pathlib import Path

import numpy as np
import xarray as xr

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "source"
FIRST, LAST = 1750, 2023
FACTORS = 6
LEAST_OWN = 0.02  # share of a year's variance that is its own, at least
CORRELATION_YEARS = 10.0
LAYERS = {"ocean_0-700m": True, "ocean_700-2000m": True, "ocean_2000-6000m": False}
AEROSOL = ("aerosol-radiation_interactions", "aerosol-cloud_interactions")
DATES = {
    "units": "days since 1750-01-01",
    "calendar": "proleptic_gregorian",
    "units_metadata": "leap_seconds: none",
}
TIME = {"standard_name": "time", "axis": "T", **DATES}


def read_table(name: str) -> list[dict[str, str]]:
    """Rows of a table in source/."""
    with open(SOURCE / name, newline="") as file:
        return list(csv.DictReader(file))


def days(years: np.ndarray) -> np.ndarray:
    """Days from 1750-01-01 to the first of January of each year."""
    dates = years.astype(int).astype(str).astype("datetime64[Y]").astype("datetime64[D]")
    return (dates - np.datetime64("1750-01-01")).astype(float)


def year_bounds(years: np.ndarray) -> np.ndarray:
    """First and last moment of every year, in days."""
    return np.stack([days(years), days(years + 1)], axis=1)


def factor_covariance(members: np.ndarray, factors: int) -> np.ndarray:
    """Covariance of few common factors and independent rests, with the sample's variances.

    Principal-factor iteration: Jöreskog (1967), Psychometrika 32, 443-482.

    Args:
        members: ensemble, shape (n, members).
        factors: number of common factors.
    """
    anomalies = members - members.mean(axis=1, keepdims=True)
    stdev = anomalies.std(axis=1, ddof=1)
    correlation = np.corrcoef(anomalies)
    own = np.full(len(stdev), 0.5)
    for _ in range(500):
        scaled = correlation / np.sqrt(np.outer(own, own))
        values, vectors = np.linalg.eigh(scaled)
        weights = np.sqrt(np.maximum(values[-factors:] - 1, 0))
        common = np.sqrt(own)[:, None] * vectors[:, -factors:] * weights
        own = np.maximum(1 - np.sum(common**2, axis=1), LEAST_OWN)
    shared = common @ common.T
    np.fill_diagonal(shared, 1.0)
    return shared * np.outer(stdev, stdev)


def temperature() -> xr.Dataset:
    """Annual global means with the covariance of their errors."""
    rows = [row for row in read_table("HadCRUT.5.0.2.0.ensemble_annual.csv")]
    rows = [row for row in rows if int(row["Time"]) <= LAST]
    years = np.array([int(row["Time"]) for row in rows])
    members = np.array(
        [[float(v) for key, v in row.items() if key.startswith("Realization")] for row in rows]
    )
    coverage = np.array([float(row["Coverage uncertainty (1 sigma)"]) for row in rows])
    covariance = factor_covariance(members, FACTORS) + np.diag(coverage**2)
    about = {
        "title": "Annual global mean temperature against 1961-1990, 1850-2023",
        "source": "HadCRUT.5.0.2.0, 200-member ensemble (Met Office, Open Government Licence v3)",
        "references": "Morice et al. (2021), J. Geophys. Res. Atmos. 126, e2019JD032361",
        "comment": "Mean of the ensemble. Covariance: six factors of the ensemble, and coverage.",
    }
    words = "global mean surface temperature against 1961-1990"
    return observed("temperature", members.mean(axis=1), covariance, years, "K", words, about)


def ocean_heat() -> xr.Dataset:
    """Heat content of the ocean against 1971 with the covariance of its errors."""
    rows = read_table("IGCC_energy_1971_2023.csv")
    years = np.array([int(float(row["yrs"])) for row in rows])
    heat = np.array([float(row["ocean_full-depth"]) for row in rows])
    decay = np.exp(-np.abs(years[:, None] - years) / CORRELATION_YEARS)
    covariance = np.zeros((years.size, years.size))
    for layer, by_mapping in LAYERS.items():
        stdev = np.array([float(row[f"{layer}_error"]) for row in rows])
        covariance += np.outer(stdev, stdev) * (decay if by_mapping else 1.0)
    about = {
        "title": "Heat content of the ocean against 1971, 1971-2023",
        "source": "Earth energy inventory of the Indicators of Global Climate Change (MIT licence)",
        "references": "Forster et al. (2024), Earth Syst. Sci. Data 16, 2625-2658",
        "comment": "Errors of the upper layers are correlated over ten years, of the abyss fully.",
    }
    words = "heat content of the ocean against the middle of 1971"
    return observed("ocean_heat", heat, covariance, years, "ZJ", words, about)


def observed(
    name: str,
    values: np.ndarray,
    covariance: np.ndarray,
    years: np.ndarray,
    units: str,
    long_name: str,
    about: dict[str, str],
) -> xr.Dataset:
    """The point table of one value a year, at the middle of its interval."""
    bounds = year_bounds(years)
    given = {"units": units, "long_name": long_name, "coordinates": "time"}
    given["ancillary_variables"] = f"{name}_stddev {name}_covariance"
    error = f"of the error of the {long_name}"
    time = {"long_name": "middle of the year", "bounds": "time_bnds", **TIME}
    time.pop("axis")  # the times of a point table are no axis
    stdev = np.sqrt(np.diag(covariance))
    return xr.Dataset(
        {
            name: ("obs", values, given),
            f"{name}_stddev": (
                "obs",
                stdev,
                {"units": units, "long_name": f"standard deviation {error}"},
            ),
            f"{name}_covariance": (
                ("obs", "obs_other"),
                covariance,
                {"units": f"{units}2", "long_name": f"covariance {error}"},
            ),
            "time": ("obs", bounds.mean(axis=1), time),
            "time_bnds": (("obs", "nv"), bounds),
        },
        attrs={"Conventions": "CF-1.11", "featureType": "point", "history": HISTORY, **about},
    )


def forcing() -> xr.Dataset:
    """Annual means of effective radiative forcing: aerosol, and the sum of everything else."""
    rows = [row for row in read_table("ERF_best.csv") if FIRST <= int(row[""]) <= LAST]
    years = np.array([int(row[""]) for row in rows])
    aerosol = np.array([sum(float(row[agent]) for agent in AEROSOL) for row in rows])
    others = [agent for agent in rows[0] if agent and agent not in AEROSOL]
    other = np.array([sum(float(row[agent]) for agent in others) for row in rows])
    bounds = year_bounds(years)
    time = {"long_name": "middle of the year", "bounds": "time_bnds", **TIME}
    words = "effective radiative forcing"
    return xr.Dataset(
        {
            "aerosol": ("time", aerosol, {"units": "W m-2", "long_name": f"{words} of aerosol"}),
            "other": ("time", other, {"units": "W m-2", "long_name": f"{words} of other agents"}),
            "time_bnds": (("time", "nv"), bounds),
        },
        {"time": ("time", bounds.mean(axis=1), time)},
        attrs={
            "Conventions": "CF-1.11",
            "title": "Effective radiative forcing, annual means 1750-2023",
            "source": "Best estimates of the Indicators of Global Climate Change (MIT licence)",
            "references": "Forster et al. (2024), Earth Syst. Sci. Data 16, 2625-2658",
            "history": HISTORY,
            "comment": "Volcanic forcing is against its mean before 1750, so 1750 has some.",
        },
    )


HISTORY = "made by make_data.py"
FILES = {"forcing": forcing, "temperature": temperature, "ocean_heat": ocean_heat}

if __name__ == "__main__":
    packed = {"zlib": True, "complevel": 1, "shuffle": True, "_FillValue": None}
    for name, make in FILES.items():
        table = make()
        encoding = {variable: packed for variable in table.variables}
        table.to_netcdf(HERE / f"{name}.nc", encoding=encoding)
