"""The observations of a twin experiment: where the case's instruments look at the truth."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from assim.analysis.cycle.batches import Grouped, batch_numbers
from assim.case.cycle import TwinTable, by_window
from assim.case.observations import ObservationTable
from assim.case.setting import Setting
from assim.devices import program
from assim.files.names import STDEV, time_name
from assim.files.netcdf import axis_attributes, time_variable
from assim.files.read.quality import error_attributes, stdev_units
from assim.files.times import decode
from assim.problem.arrays import Array, Labels, Trajectory
from assim.problem.covariance import AbstractCovariance
from assim.problem.observation import fitted
from assim.problem.points import Points


def draw_coefficients(tables: Sequence[ObservationTable], key: Array) -> dict[str, Array]:
    """True coefficients of all bias corrections, drawn from their priors, by name."""
    priors = {term.name: term.prior.build() for table in tables for term in table.bias}
    keys = jax.random.split(_apart(tables, key), max(len(priors), 1))
    drawn = zip(priors.items(), keys, strict=False)
    return {name: prior(jax.random.normal(own)) for (name, prior), own in drawn}


def observe(
    setting: Setting, trajectory: Trajectory, coefficients: Mapping[str, Array], key: Array
) -> dict[str, xr.Dataset]:
    """One dataset for each observation file that the case names.

    Values lie at every `every`-th slot edge after the first and at every `stride`-th grid point;
    a value of an interval covers the time since the edge observed before. Predictors of biases
    that a case reads from its file are standard normal.
    """
    files: dict[str, list[tuple[ObservationTable, Array]]] = {}
    instruments = setting.tables.observations
    for table, own in zip(instruments, jax.random.split(key, len(instruments)), strict=True):
        files.setdefault(table.file, []).append((table, own))
    apart = jax.random.fold_in(_apart(instruments, key), 1)
    keys = jax.random.split(apart, len(files))
    return {
        name: _file(setting, trajectory, tables, coefficients, own)
        for (name, tables), own in zip(files.items(), keys, strict=True)
    }


def _apart(tables: Sequence[ObservationTable], key: Array) -> Array:
    """A key that no instrument has."""
    return jax.random.fold_in(key, len(tables))


def check_keys(tables: Sequence[ObservationTable]) -> None:
    """Raise CaseError for keys of instruments that no file of a twin experiment has a use for."""
    makes = {
        "accept": "values without quality flags",
        "select": "values along no dimension that the model does not know",
        "time": "files with one time, of a name of its own",
    }
    for table in tables:
        for key, what in makes.items():
            if getattr(table, key):
                raise table.fault(key, f"a twin experiment makes {what}; leave this key out")


def in_files(
    files: dict[str, xr.Dataset], setting: Setting, edges: np.ndarray
) -> dict[str, xr.Dataset]:
    """Files whose names hold {window} cut into one for each window of the cycle."""
    plan, by_name = setting.tables.plan(), {}
    clock = time_name(setting.labels.time_unit)
    for name, dataset in files.items():
        if not by_window(name):
            by_name[name] = dataset
            continue
        stamps = decode(dataset[clock], f"{name}: {clock}")
        times = stamps.to_model(setting.labels.time_unit, setting.clock.reference)
        batches = Grouped.by(batch_numbers(times, edges, plan.shift))
        for window in range(setting.tables.cycled().windows):
            by_name[name.format(window=window)] = dataset.isel(obs=batches.of(window))
    return by_name


def _file(
    setting: Setting,
    trajectory: Trajectory,
    tables: list[tuple[ObservationTable, Array]],
    coefficients: Mapping[str, Array],
    for_predictors: Array,
) -> xr.Dataset:
    """The instruments of one file, each with its key, which share their rows."""
    labels = setting.labels
    operators = [table.reads(setting.model) for table, _ in tables]
    dims = tuple(dict.fromkeys(dim for operator in operators for dim in operator.dims(labels)))
    points = _points(labels, trajectory, dims, setting.tables.experiment())
    clock, reference = time_name(labels.time_unit), setting.clock.reference
    taken = {clock, f"{clock}_bnds", *dims}
    predictors = _predictors([table for table, _ in tables], points, taken, for_predictors)
    content: dict[str, Any] = {
        name: ("obs", column, {"units": "1", "long_name": "predictor of a bias"})
        for name, column in predictors.items()
    }
    for table, key in tables:
        bias = _bias(table, trajectory, points, predictors, coefficients)
        content |= _instrument(setting, table, trajectory, points, bias, key)
    stamps = time_variable(np.asarray(points.times), labels.time_unit, reference, "obs")
    coordinates: dict[str, Any] = {clock: stamps}
    for dim in dims:
        words = axis_attributes(labels.coordinates[dim], dim)
        coordinates[dim] = ("obs", np.asarray(points.coordinates[dim]), words)
    if any(operator.needs_intervals() for operator in operators):
        coordinates[clock][2]["bounds"] = f"{clock}_bnds"
        sides = [
            time_variable(np.asarray(side), labels.time_unit, reference, "obs")[1]
            for side in (points.starts, points.ends)
        ]
        content[f"{clock}_bnds"] = (("obs", "nv"), np.stack(sides, axis=1))
    return xr.Dataset(content, coordinates, {"featureType": "point"})


def _points(
    labels: Labels, trajectory: Trajectory, dims: tuple[str, ...], table: TwinTable
) -> Points:
    """Every time with every place."""
    edges = np.asarray(trajectory.times)
    ends = edges[table.every :: table.every]
    if ends.size == 0:
        what = f"must be at most the number of slots, {edges.size - 1}, got {table.every}"
        raise table.fault("every", what)
    starts = edges[: -table.every : table.every][: ends.size]
    axes = [np.asarray(labels.coordinates[dim].values)[:: table.stride] for dim in dims]
    index, *places = np.meshgrid(np.arange(ends.size), *axes, indexing="ij")
    rows = index.ravel().astype(int)
    times = (jnp.asarray(ends[rows]), jnp.asarray(starts[rows]), jnp.asarray(ends[rows]))
    return Points(*times, {d: jnp.asarray(p.ravel()) for d, p in zip(dims, places, strict=True)})


def _predictors(
    tables: Sequence[ObservationTable], points: Points, taken: set[str], key: Array
) -> dict[str, np.ndarray]:
    """Predictors that the case reads from the file, a standard normal number a row, by variable."""
    taken |= {f"{table.variable}{suffix}" for table in tables for suffix in ("", STDEV)}
    terms = [term for table in tables for term in table.bias if term.variable is not None]
    for term in terms:
        if term.variable in taken:
            what = f"a twin experiment draws predictors, and {term.variable!r} is none to be drawn"
            raise term.fault("variable", f"{what}; give it a variable of its own")
    names = sorted({str(term.variable) for term in terms})
    drawn = jax.random.normal(key, (len(names), points.times.size))
    return dict(zip(names, np.asarray(drawn), strict=True))


def _bias(
    table: ObservationTable,
    trajectory: Trajectory,
    points: Points,
    predictors: Mapping[str, np.ndarray],
    coefficients: Mapping[str, Array],
) -> Array:
    """b(β) of one instrument; zero where it has no correction."""
    terms = [term for term in table.bias if term.variable is not None]
    bias = table.correction({term.name: predictors[str(term.variable)] for term in terms})
    if bias is None:
        return jnp.zeros(points.times.shape)
    return program(bias)(trajectory, points, coefficients)


def _instrument(
    setting: Setting,
    table: ObservationTable,
    trajectory: Trajectory,
    points: Points,
    bias: Array,
    key: Array,
) -> dict[str, Any]:
    """Values of one instrument with errors drawn from its likelihood, and their stdev."""
    operator, likelihood = table.reads(setting.model), table.likelihood.build()
    exact = jax.jit(operator)(trajectory, points) + bias
    error, scale = _error(table, not likelihood.uses_covariance, points)
    values = np.asarray(likelihood.sample(key, exact, error, jnp.asarray(scale)))
    units = operator.units(setting.labels) or "1"
    words: dict[str, Any] = {"units": units, "long_name": f"observed {table.variable}"}
    words |= error_attributes(likelihood)
    content: dict[str, Any] = {table.variable: ("obs", values, words)}
    if scale == 1 and likelihood.uses_covariance:
        spread = f"standard deviation of the errors of observed {table.variable}"
        column = (
            "obs",
            np.asarray(jnp.sqrt(error.variance())),
            {"units": stdev_units(units, likelihood), "long_name": spread},
        )
        content[f"{table.variable}{STDEV}"] = column
    return content


def _error(
    table: ObservationTable, needless: bool, points: Points
) -> tuple[AbstractCovariance, float]:
    """R of the errors, and the factor on them that the assimilation is to find."""
    scale, stdev = table.error.build(), table.error.stdev
    covariance = None if table.covariance is None else table.covariance.build()
    if stdev is None and covariance is None and scale is None and not needless:
        what = "this key is missing: a twin experiment draws the errors from it"
        raise table.fault("error.stdev", f"{what}, or from a covariance")
    with table.blamed("error.stdev" if covariance is None else "covariance"):
        error = fitted(table.called, stdev, covariance, points.times.shape, points)
    return error, 1.0 if scale is None else float(scale.prior(jnp.zeros(())))
