"""Covariances in files: written, and read as what the problem knows them by."""

from collections.abc import Iterable, Mapping
from os import PathLike

import numpy as np
import xarray as xr

from assim.files.errors import DataError, naming
from assim.files.names import COVARIANCE, STDEV
from assim.files.netcdf import write_dataset
from assim.files.read.axes import in_order
from assim.files.read.states import arrays_of
from assim.files.sources import File, Source, finite_numbers, opened_file
from assim.files.units import squared, with_units
from assim.problem.covariance import (
    AbstractCovariance,
    Dense,
    Diagonal,
    Diffusion,
    Ensemble,
    GaspariCohn,
)
from assim.problem.model import AbstractDynamics

PERTURBATION, LENGTH, LOCALISATION = "_perturbation", "_length", "_localisation_length"
OTHER = "_other"  # of the second of two dimensions that are alike


def write_covariance(
    dataset: xr.Dataset, path: str | PathLike[str], title: str = "Error covariance"
) -> None:
    """Write a covariance file, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    write_dataset(dataset, path, title=title)


def read_covariance(
    source: Source,
    model: AbstractDynamics,
    fields: Iterable[str] | None = None,
    *,
    units: Mapping[str, str] | None = None,
) -> dict[str, AbstractCovariance]:
    """Covariance of each field v, by the variables that the file has.

        v_covariance(dims, dims_other)              Dense, in the field's unit squared
        v_perturbation(realization, dims)           Ensemble, with v_localisation_length if given
        v_stddev(dims) and v_length                 Diffusion of Daley length v_length
        v_stddev(dims)                              Diagonal

    A length is one number or a field, in the unit of its axis; `v_length_x` is that along x.

    Args:
        source: path of a NetCDF file, or a Dataset.
        model: whose labels the fields must match.
        fields: names that must have one; those that do have one where not given.
        units: by field, where they are not the field's own: of model errors that act as
            tendencies they are those per unit of time, within bounds "1".

    Raises:
        DataError: no covariance of a field, or one that does not fit.
    """
    suffixes = COVARIANCE, PERTURBATION, STDEV
    with opened_file(source, with_units(model.labels(), units or {})) as file:
        kinds = {
            name: next((s for s in suffixes if file.has(f"{name}{s}")), "")
            for name in file.labels.state
        }
        chosen = [n for n, kind in kinds.items() if kind] if fields is None else list(fields)
        for name in chosen:
            if not kinds.get(name):
                raise DataError(
                    f"{file.called}: expected a covariance of {name!r}, as {name}{COVARIANCE}, "
                    f"{name}{PERTURBATION} or {name}{STDEV}; it has "
                    f"{', '.join(map(str, file.dataset.data_vars))}"
                )
        return {name: _read(file, name, kinds[name]) for name in chosen}


def _read(file: File, name: str, kind: str) -> AbstractCovariance:
    with naming(file.where(f"{name}{kind}")):
        if kind == COVARIANCE:
            return _dense(file, name)
        if kind == PERTURBATION:
            states = members(file, [name], "realization", PERTURBATION)[name]
            reach = _lengths(file, name, LOCALISATION)
            for along in reach or ():
                if along.ndim:
                    raise DataError(
                        f"{file.where(name)}{LOCALISATION}: expected one number a dimension, got "
                        f"the shape {along.shape}"
                    )
            rho = None if reach is None else GaspariCohn([float(along) for along in reach])
            return Ensemble(states, rho)
        stdev = arrays_of(file, [name], STDEV)[name]
        length = _lengths(file, name, LENGTH)
        return Diagonal(stdev) if length is None else Diffusion(stdev, length)


def _dense(file: File, name: str) -> Dense:
    label, shape = file.labels.state[name], file.labels.shape(name)
    variable, where = file.dataset[f"{name}{COVARIANCE}"], file.where(f"{name}{COVARIANCE}")
    dims = (*label.dims, *(f"{dim}{OTHER}" for dim in label.dims))
    if set(variable.dims) != set(dims):
        raise DataError(f"{where}: expected the dimensions {dims}, got {variable.dims}")
    units = file.conversion(f"{name}{COVARIANCE}", squared(label.units), of_differences=True)
    variable = in_order(file, variable, label.dims, OTHER)
    n = int(np.prod(shape))
    values = finite_numbers(variable.transpose(*dims), where)
    if values.size != n * n:
        raise DataError(
            f"{where}: expected {n} values squared, as the model's grid has, got the shape "
            f"{values.shape}; estimate it again on this grid"
        )
    return Dense(units.values(values).reshape(n, n), shape)


def _lengths(file: File, name: str, suffix: str) -> list[np.ndarray] | None:
    """One length for each dimension; None where the file has none at all."""
    dims = file.labels.state[name].dims
    lengths = []
    for dim in dims:
        variable = next(filter(file.has, (f"{name}{suffix}_{dim}", f"{name}{suffix}")), None)
        if variable is None:
            continue
        axis = file.labels.coordinates[dim]
        units = file.conversion(variable, axis.units, of_differences=True)
        values = file.dataset[variable]
        values = in_order(file, values, dims).transpose(*dims) if values.ndim else values
        lengths.append(units.values(finite_numbers(values, file.where(variable))))
    if lengths and len(lengths) != len(dims):
        raise DataError(
            f"{file.called}: {name}{suffix}: expected a length along each of {dims}, got "
            f"{len(lengths)}; 0 is for a dimension without correlations"
        )
    return lengths or None


def members(file: File, names: Iterable[str], dim: str, suffix: str = "") -> dict[str, np.ndarray]:
    """Every field `<name><suffix>` at every index of the members' `dim`, checked as states are.

    Raises:
        DataError: fewer than two members, or one that does not fit.
    """
    count = file.dataset.sizes.get(dim, 0)
    if count < 2:
        raise DataError(
            f"{file.called}: expected at least 2 states along {dim!r}, got {count}; a covariance "
            f"needs some tens"
        )
    files = (file._replace(dataset=file.dataset.isel({dim: i})) for i in range(count))
    read = [arrays_of(member, names, suffix) for member in files]
    return {name: np.stack([np.asarray(state[name]) for state in read]) for name in names}
