"""Covariances in files: written, and read as what the problem knows them by."""

from collections.abc import Iterable
from os import PathLike

import numpy as np
import xarray as xr

from assim.files.errors import DataError, naming
from assim.files.names import COVARIANCE, STDEV
from assim.files.netcdf import write_dataset
from assim.files.read.states import check_axis, read_arrays
from assim.files.sources import Source, name_of, opened
from assim.files.units import check_units, squared
from assim.problem.arrays import Labels
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
    source: Source, model: AbstractDynamics, fields: Iterable[str] | None = None
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

    Raises:
        DataError: no covariance of a field, or one that does not fit.
    """
    labels, called = model.labels(), name_of(source)
    suffixes = COVARIANCE, PERTURBATION, STDEV
    with opened(source) as dataset:
        kinds = {
            name: next((s for s in suffixes if f"{name}{s}" in dataset.variables), "")
            for name in labels.state
        }
        chosen = [n for n, kind in kinds.items() if kind] if fields is None else list(fields)
        for name in chosen:
            if not kinds.get(name):
                raise DataError(
                    f"{called}: expected a covariance of {name!r}, as {name}{COVARIANCE}, "
                    f"{name}{PERTURBATION} or {name}{STDEV}; it has "
                    f"{', '.join(map(str, dataset.data_vars))}"
                )
        return {name: _read(dataset, labels, name, kinds[name], called) for name in chosen}


def _read(
    dataset: xr.Dataset, labels: Labels, name: str, kind: str, called: str
) -> AbstractCovariance:
    with naming(f"{called}: {name}{kind}"):
        if kind == COVARIANCE:
            return _dense(dataset, labels, name, called)
        if kind == PERTURBATION:
            states = members(dataset, labels, [name], "realization", called, PERTURBATION)[name]
            reach = _lengths(dataset, labels, name, LOCALISATION, called)
            for along in reach or ():
                if along.ndim:
                    raise DataError(
                        f"{called}: {name}{LOCALISATION}: expected one number a dimension, got the "
                        f"shape {along.shape}"
                    )
            rho = None if reach is None else GaspariCohn([float(along) for along in reach])
            return Ensemble(states, rho)
        stdev = read_arrays(dataset, labels, [name], STDEV, called=called)[name]
        length = _lengths(dataset, labels, name, LENGTH, called)
        return Diagonal(stdev) if length is None else Diffusion(stdev, length)


def _dense(dataset: xr.Dataset, labels: Labels, name: str, called: str) -> Dense:
    label, variable = labels.state[name], dataset[f"{name}{COVARIANCE}"]
    where = f"{called}: {name}{COVARIANCE}"
    dims = (*label.dims, *(f"{dim}{OTHER}" for dim in label.dims))
    if set(variable.dims) != set(dims):
        raise DataError(f"{where}: expected the dimensions {dims}, got {variable.dims}")
    check_units(where, variable.attrs.get("units"), squared(label.units))
    for dim in label.dims:
        check_axis(dataset, labels, dim, called)
    n = int(np.prod(labels.shape(name)))
    values = np.asarray(variable.transpose(*dims).values, float)
    if values.size != n * n:
        raise DataError(
            f"{where}: expected {n} values squared, as the model's grid has, got the shape "
            f"{values.shape}; estimate it again on this grid"
        )
    return Dense(values.reshape(n, n), labels.shape(name))


def _lengths(
    dataset: xr.Dataset, labels: Labels, name: str, suffix: str, called: str
) -> list[np.ndarray] | None:
    """One length for each dimension; None where the file has none at all."""
    dims = labels.state[name].dims
    lengths = []
    for dim in dims:
        names = (f"{name}{suffix}_{dim}", f"{name}{suffix}")
        variable = next((v for v in names if v in dataset.variables), None)
        if variable is None:
            continue
        values, units = dataset[variable], labels.coordinates[dim].units
        check_units(f"{called}: {variable}", values.attrs.get("units"), units)
        lengths.append(np.asarray(values.transpose(*dims) if values.ndim else values, float))
    if lengths and len(lengths) != len(dims):
        raise DataError(
            f"{called}: {name}{suffix}: expected a length along each of {dims}, got "
            f"{len(lengths)}; 0 is for a dimension without correlations"
        )
    return lengths or None


def members(
    dataset: xr.Dataset,
    labels: Labels,
    names: Iterable[str],
    dim: str,
    called: str,
    suffix: str = "",
) -> dict[str, np.ndarray]:
    """Every field `<name><suffix>` at every index of the members' `dim`, checked as states are.

    Raises:
        DataError: fewer than two members, or one that does not fit.
    """
    count = dataset.sizes.get(dim, 0)
    if count < 2:
        raise DataError(
            f"{called}: expected at least 2 states along {dim!r}, got {count}; a covariance needs "
            f"some tens"
        )
    read = [
        read_arrays(dataset.isel({dim: i}), labels, names, suffix, called=called)
        for i in range(count)
    ]
    return {name: np.stack([np.asarray(state[name]) for state in read]) for name in names}
