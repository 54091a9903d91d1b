"""The time at which a forecast is valid, where a file has only its beginning and its lead time."""

import numpy as np
import xarray as xr

from assim.files.errors import DataError
from assim.files.times import decode

VALID_TIME = "valid_time"  # what it is called where it has no standard name
_NAMES = ("time", VALID_TIME)
_ANY = "1970-01-01"  # from which lead times are counted, to convert their unit


def with_valid_time(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset and, if it has no time, forecast_reference_time + forecast_period as one.

    These are known by their standard names, and the sum, of the standard name `time`, is called by
    both names, as "time + step". It is left out where one of them is not there, is there twice, or
    cannot be read.
    """
    by_name = {name: variable.attrs.get("standard_name") for name, variable in _variables(dataset)}
    if "time" in by_name.values() or any(by_name.get(name, "") is None for name in _NAMES):
        return dataset
    begins = [name for name, standard in by_name.items() if standard == "forecast_reference_time"]
    leads = [name for name, standard in by_name.items() if standard == "forecast_period"]
    if len(begins) != 1 or len(leads) != 1:
        return dataset
    try:
        valid = _sum(dataset[begins[0]], dataset[leads[0]])
    except DataError:
        return dataset
    return dataset.assign_coords({f"{begins[0]} + {leads[0]}": valid})


def _variables(dataset: xr.Dataset) -> list[tuple[str, xr.Variable]]:
    return [(str(name), variable) for name, variable in dataset.variables.items()]


def _sum(begin: xr.DataArray, lead: xr.DataArray) -> xr.Variable:
    """Dates, in the calendar of those at which the forecasts begin.

    Raises:
        DataError: these are no dates, or the lead times no lengths of time.
    """
    values, units = np.asarray(lead.values), str(lead.attrs.get("units", ""))
    if values.dtype.kind == "m":
        values, units = values / np.timedelta64(1, "s"), "seconds"
    length = xr.Variable(lead.dims, values, {"units": f"{units} since {_ANY}"})
    start = decode(begin, str(begin.name))
    if start.epoch is None:
        raise DataError(f"{begin.name}: expected dates, got numbers")
    passed = decode(length, str(lead.name)).to_model(start.unit, _ANY)
    valid = xr.Variable(begin.dims, start.numbers) + xr.Variable(lead.dims, passed)
    since = f"{start.unit} since {start.epoch.isoformat(' ')}"
    calendar = start.epoch.calendar
    valid.attrs = {"units": since, "calendar": calendar, "standard_name": "time"}
    return valid
