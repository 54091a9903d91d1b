"""The observations of a twin experiment: where the case's instruments look at the truth."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from assim.analysis.cycle.batches import Grouped, batch_numbers
from assim.case.cycle_table import TwinTable, by_window
from assim.case.failure import CaseError, Fault
from assim.case.observations import operator_of
from assim.case.schema import ObservationTable
from assim.case.setting import Setting
from assim.case.slots import plan_of
from assim.files.names import time_name
from assim.files.netcdf import axis_attributes, time_variable
from assim.files.read.uncertainty import error_attributes, stdev_units
from assim.files.times import decode
from assim.problem.arrays import Array, Labels, Trajectory
from assim.problem.covariance import Diagonal
from assim.problem.likelihood import Gaussian
from assim.problem.operator import Points


def observe(
    setting: Setting, table: TwinTable, trajectory: Trajectory, key: Array
) -> dict[str, xr.Dataset]:
    """One dataset for each observation file that the case names.

    Values lie at every `every`-th slot edge after the first and at every `stride`-th grid point;
    a value of an interval covers the time since the edge observed before.

    Raises:
        CaseError: an instrument whose errors the case does not give, or files that cannot hold
            their instruments together.
    """
    files: dict[str, list[int]] = {}
    instruments = setting.case.checked.observations
    for number, instrument in enumerate(instruments):
        files.setdefault(instrument.file, []).append(number)
    keys = jax.random.split(key, len(instruments))
    return {
        name: _file(setting, table, trajectory, numbers, keys) for name, numbers in files.items()
    }


def in_files(
    files: dict[str, xr.Dataset], setting: Setting, edges: np.ndarray
) -> dict[str, xr.Dataset]:
    """Files whose names hold {window} cut into one for each window of the cycle.

    Args:
        files: observations of the whole cycle, by the names that the case has for them.
        setting: the case's model and clock.
        edges: slot edges of the whole cycle.
    """
    plan, found = plan_of(setting.case.checked), {}
    cycle = setting.case.checked.cycle
    assert cycle is not None
    clock = time_name(setting.model.labels().time_unit)
    for name, dataset in files.items():
        if not by_window(name):
            found[name] = dataset
            continue
        stamps = decode(dataset[clock], f"{name}: {clock}")
        times = stamps.to_model(setting.model.labels().time_unit, setting.clock.reference)
        batches = Grouped.by(batch_numbers(times, edges, plan.shift))
        for window in range(cycle.windows):
            found[name.format(window=window)] = dataset.isel(obs=batches.of(window))
    return found


def _file(
    setting: Setting, table: TwinTable, trajectory: Trajectory, numbers: list[int], keys: Array
) -> xr.Dataset:
    """The instruments of one file, which share their rows."""
    labels = setting.model.labels()
    wanted = [operator_of(setting, number).dims(labels) for number in numbers]
    dims = tuple(dict.fromkeys(dim for some in wanted for dim in some))
    points = _points(labels, trajectory, dims, table)
    content: dict[str, Any] = {}
    for number in numbers:
        content |= _instrument(setting, number, trajectory, points, keys[number])
    clock, reference = time_name(labels.time_unit), setting.clock.reference
    stamps = time_variable(np.asarray(points.times), labels.time_unit, reference, "obs")
    coordinates: dict[str, Any] = {clock: stamps}
    for dim in dims:
        words = axis_attributes(labels.coordinates[dim], dim)
        coordinates[dim] = ("obs", np.asarray(points.coordinates[dim]), words)
    if any(operator_of(setting, number).needs_intervals() for number in numbers):
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
        raise CaseError([Fault("twin.every", what)])
    starts = edges[: -table.every : table.every][: ends.size]
    axes = [np.asarray(labels.coordinates[dim].values)[:: table.stride] for dim in dims]
    index, *places = np.meshgrid(np.arange(ends.size), *axes, indexing="ij")
    rows = index.ravel().astype(int)
    found = {dim: jnp.asarray(place.ravel()) for dim, place in zip(dims, places, strict=True)}
    return Points(
        jnp.asarray(ends[rows]), jnp.asarray(starts[rows]), jnp.asarray(ends[rows]), found
    )


def _instrument(
    setting: Setting, number: int, trajectory: Trajectory, points: Points, key: Array
) -> dict[str, Any]:
    """Values of one instrument with errors drawn from its likelihood, and their stdev."""
    member = setting.case.checked.observations[number]
    operator = operator_of(setting, number)
    likelihood = setting.parts.get(f"observations.{number}.likelihood") or Gaussian()
    stdev, scale = _error(setting, number, member, not likelihood.uses_covariance)
    exact = jax.jit(operator)(trajectory, points)
    error = Diagonal(jnp.asarray(stdev)).on(exact.shape)
    values = np.asarray(likelihood.sample(key, exact, error, jnp.asarray(scale)))
    units = operator.units(setting.model.labels()) or "1"
    words = {"units": units, "long_name": f"observed {member.variable}"}
    words |= error_attributes(likelihood)
    content: dict[str, Any] = {member.variable: ("obs", values, words)}
    if scale == 1 and likelihood.uses_covariance:
        spread = f"standard deviation of the errors of observed {member.variable}"
        column = (
            "obs",
            np.full(values.shape, stdev),
            {"units": stdev_units(units, likelihood), "long_name": spread},
        )
        content[f"{member.variable}_stddev"] = column
    return content


def _error(
    setting: Setting, number: int, member: ObservationTable, needless: bool
) -> tuple[float, float]:
    """Standard deviation of the errors, and the factor on it that the assimilation is to find."""
    stdev = None if member.error is None else member.error.stdev
    prior = setting.parts.get(f"observations.{number}.error.prior")
    scale = 1.0 if prior is None else float(prior(jnp.zeros(())))
    if stdev is None and prior is None and not needless:
        what = "this key is missing: a twin experiment draws the errors from it"
        raise CaseError([Fault(f"observations.{number}.error.stdev", what)])
    return stdev or 1.0, scale
