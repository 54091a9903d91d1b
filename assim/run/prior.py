"""The background of a case: values, priors and covariances of every field, from case and file."""

from typing import Any

import jax.numpy as jnp

from assim.files.states import read_state, read_stdev
from assim.problem.arrays import Array, Labels, State
from assim.problem.covariance import AbstractCovariance, Diagonal
from assim.problem.model import AbstractDynamics
from assim.problem.prior import AbstractPrior
from assim.run.case import Case
from assim.run.failure import CaseError, Fault
from assim.run.schema import BackgroundTable, FieldTable

Background = tuple[dict[str, Array | AbstractPrior], dict[str, AbstractCovariance]]


def make_background(
    case: Case, model: AbstractDynamics, parts: dict[str, Any], start: str | float
) -> Background:
    """Background values or priors of all fields, and covariances of the Gaussian ones.

    Args:
        case: the case.
        model: whose fields are wanted.
        parts: plug-ins by path.
        start: start of the window, as files are asked for it.

    Raises:
        CaseError: a field that the case says nothing about.
        DataError: a background file that cannot be used.
    """
    table, labels = case.checked.background, model.labels()
    fields: dict[str, Array | AbstractPrior] = {}
    covariances: dict[str, AbstractCovariance] = {}
    faults = _unsaid(table, labels)
    for name, field in table.fields.items():
        if name in labels.state:
            try:
                _given(name, field, labels, parts, fields, covariances)
            except CaseError as error:
                faults += error.faults
    if faults:
        raise CaseError(faults)
    wanted = [name for name in labels.state if name not in fields]
    if wanted:
        read, spread = _from_file(case, model, wanted, start)
        fields |= read
        covariances |= _covariances_of(wanted, table, spread, parts)
    return fields, covariances


def _unsaid(table: BackgroundTable, labels: Labels) -> list[Fault]:
    """Fields of the model that neither a table nor a file provides."""
    return [
        Fault(
            f"background.fields.{name}",
            "the table is missing: give prior, value or mean, or a "
            "file for the whole background (background.file)",
        )
        for name in labels.state
        if table.file is None and not _is_given(table.fields.get(name))
    ]


def _is_given(field: FieldTable | None) -> bool:
    return field is not None and any(
        part is not None for part in (field.prior, field.value, field.mean)
    )


def _given(
    name: str,
    field: FieldTable,
    labels: Labels,
    parts: dict[str, Any],
    fields: dict[str, Array | AbstractPrior],
    covariances: dict[str, AbstractCovariance],
) -> None:
    """Take a field from its table in the case, where that provides it."""
    if not _is_given(field):
        return
    path = f"background.fields.{name}"
    if field.prior is not None:
        fields[name] = parts[f"{path}.prior"]
        return
    value, key = (field.value, "value") if field.mean is None else (field.mean, "mean")
    fields[name] = constant(value, labels.shape(name), f"{path}.{key}")
    if field.mean is not None:
        covariances |= _own_covariance(name, field, parts)


def constant(value: float | list[Any] | None, shape: tuple[int, ...], path: str) -> Array:
    """A number or list of the case as an array of this shape.

    Raises:
        CaseError: it does not fit.
    """
    try:
        return jnp.broadcast_to(jnp.asarray(value, dtype=float), shape)
    except (ValueError, TypeError):
        what = f"must be a number, or a list of shape {shape}" if shape else "must be a number"
        raise CaseError([Fault(path, f"{what}, got {value!r}")]) from None


def _own_covariance(
    name: str, field: FieldTable | None, parts: dict[str, Any]
) -> dict[str, AbstractCovariance]:
    """The covariance that a field's table gives, if it does."""
    if field is None:
        return {}
    if field.stdev is not None:
        return {name: Diagonal(jnp.asarray(field.stdev))}
    made = parts.get(f"background.fields.{name}.covariance")
    return {} if made is None else {name: made}


def _from_file(
    case: Case, model: AbstractDynamics, wanted: list[str], start: str | float
) -> tuple[State, State]:
    """Fields and those standard deviations that are needed and there."""
    table = case.checked.background
    assert table.file is not None
    path = case.input_path(table.file)
    without = [name for name in wanted if not _has_covariance(name, table)]
    return read_state(path, model, wanted, start), (
        {k: v for k, v in read_stdev(path, model, time=start).items() if k in without}
        if without
        else {}
    )


def _has_covariance(name: str, table: BackgroundTable) -> bool:
    field = table.fields.get(name)
    own = field is not None and (field.covariance is not None or field.stdev is not None)
    return own or table.covariance is not None


def _covariances_of(
    wanted: list[str], table: BackgroundTable, spread: State, parts: dict[str, Any]
) -> dict[str, AbstractCovariance]:
    """Covariances of the fields from the file: their own, the common one, or the file's stdev."""
    covariances: dict[str, AbstractCovariance] = {}
    faults = []
    for name in wanted:
        field = table.fields.get(name)
        own = f"background.fields.{name}.covariance"
        if own in parts or (field is not None and field.stdev is not None):
            covariances |= _own_covariance(name, field, parts)
        elif "background.covariance" in parts:
            common = parts["background.covariance"]
            covariances |= {} if common is None else {name: common}
        elif name in spread:
            covariances[name] = Diagonal(spread[name])
        else:
            faults.append(
                Fault(
                    f"background.fields.{name}",
                    "no covariance: give stdev or "
                    f"covariance, or {name}_stddev in {table.file}, or covariance = "
                    '{ use = "none" } to keep the field fixed',
                )
            )
    if faults:
        raise CaseError(faults)
    return covariances
