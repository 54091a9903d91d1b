"""Predictors of a bias from the file of the observations."""

import numpy as np
import xarray as xr

from assim.files.errors import DataError
from assim.files.read.dimensions import Select, averaged, selected
from assim.files.read.flags import Accepted, flag_variable, flags_of
from assim.files.read.places import check_beside, column
from assim.files.sources import Source, names_near, numbers, opened_file
from assim.problem.arrays import Labels


def read_predictor(
    source: Source,
    variable: str,
    observed: str,
    labels: Labels,
    select: Select | None = None,
    accept: Accepted = None,
) -> np.ndarray:
    """One number for every value of an observed variable, in the order of its rows, shape (n,).

    The variable may lie on some of the dimensions of the values, in any order, or be one number
    for all. NaN where it is missing, or its own quality flag is not one to use.

    Args:
        source: path of a NetCDF file, or a Dataset.
        variable: name of the predictor, and `observed` that of the observed variable.
        labels: the model's.
        select: what is taken along dimensions that the model does not know, as of the values.
        accept: flags with which values are used; those of the predictor where it shares them.

    Raises:
        DataError: no such variable, or one that is not on the dimensions of the values.
    """
    with opened_file(source, labels) as file:
        where = file.where(variable)
        dataset, means = selected(file.dataset, select, file.where(observed))
        file = file._replace(dataset=dataset)
        if not file.has(variable):
            near = names_near(dataset, variable)
            raise DataError(f"{file.called}: there is no variable {variable!r}; {near}")
        array, values = dataset[variable], dataset[observed]
        check_beside(values, file, variable)
        flagged_by, observed_by = (flag_variable(file, each, accept) for each in (array, values))
        shared = flagged_by is not None and flagged_by == observed_by
        flags = flags_of(file, array, accept if shared else None).codes.reshape(array.shape)
        good = np.where(flags == 0, numbers(np.asarray(array.values), where), np.nan)
        like = values.isel(dict.fromkeys((dim for dim in means if dim in values.dims), 0))
        return column(averaged(xr.DataArray(good, dims=array.dims), means), like, where)
