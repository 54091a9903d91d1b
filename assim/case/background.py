"""The background of a case: values, priors and covariances of every field, from case and file."""

from typing import Any

import jax.numpy as jnp

from assim.case.case import Case
from assim.case.failure import CaseError, Fault
from assim.case.schema import BackgroundTable, FieldTable
from assim.files.read.covariances import read_covariance
from assim.files.read.states import read_state, read_stdev
from assim.problem.arrays import Array, Labels, State
from assim.problem.covariance import AbstractCovariance, AbstractStateCovariance, Diagonal
from assim.problem.covariance.state import StateCovariance
from assim.problem.model import AbstractDynamics
from assim.problem.prior import AbstractPrior

Background = tuple[dict[str, Array | AbstractPrior], StateCovariance]


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
    for name in table.fields:
        if name in labels.state:
            try:
                _given(case, model, name, parts, fields, covariances)
            except CaseError as error:
                faults += error.faults
    if faults:
        raise CaseError(faults)
    wanted = [name for name in labels.state if name not in fields]
    if wanted:
        read, spread = _from_file(case, model, wanted, start)
        fields |= read
        joint = parts.get("background.covariance")
        if isinstance(joint, AbstractStateCovariance):
            return fields, _alone(joint, covariances, table)
        covariances |= _covariances_of(case, model, wanted, spread, parts)
    return fields, covariances


def _alone(
    joint: AbstractStateCovariance, others: dict[str, AbstractCovariance], table: BackgroundTable
) -> AbstractStateCovariance:
    """A covariance of several fields, beside which no field may have one of its own."""
    own = [n for n, f in table.fields.items() if f.stdev is not None or f.covariance is not None]
    for name in [*others, *own]:
        what = "background.covariance is of several fields together: give none to single fields"
        raise CaseError([Fault(f"background.fields.{name}", what)])
    return joint


def covariance_of(
    case: Case, model: AbstractDynamics, table: Any, path: str, parts: dict[str, Any], name: str
) -> AbstractCovariance | None:
    """The covariance of a field that a table gives, by plug-in, file or stdev; else None.

    Args:
        case: the case.
        model: whose labels a file must match.
        table: with the keys `covariance` and, where it is of one field, `stdev`.
        path: dotted path of the table.
        parts: plug-ins by path.
        name: the field.

    Raises:
        DataError: the file cannot be used.
    """
    if getattr(table, "stdev", None) is not None:
        return Diagonal(jnp.asarray(table.stdev))
    if table.covariance is None:
        return None
    if table.covariance.file is not None:
        return read_covariance(case.input_path(table.covariance.file), model, [name])[name]
    return parts[f"{path}.covariance"]


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
    case: Case,
    model: AbstractDynamics,
    name: str,
    parts: dict[str, Any],
    fields: dict[str, Array | AbstractPrior],
    covariances: dict[str, AbstractCovariance],
) -> None:
    """Take a field from its table in the case, where that provides it."""
    field = case.checked.background.fields[name]
    if not _is_given(field):
        return
    path = f"background.fields.{name}"
    if field.prior is not None:
        fields[name] = parts[f"{path}.prior"]
        return
    value, key = (field.value, "value") if field.mean is None else (field.mean, "mean")
    fields[name] = constant(value, model.labels().shape(name), f"{path}.{key}")
    if field.mean is not None:
        own = covariance_of(case, model, field, path, parts, name)
        covariances |= {} if own is None else {name: own}


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
    case: Case,
    model: AbstractDynamics,
    wanted: list[str],
    spread: State,
    parts: dict[str, Any],
) -> dict[str, AbstractCovariance]:
    """Covariances of the fields from the file: their own, the common one, or the file's stdev."""
    table = case.checked.background
    covariances: dict[str, AbstractCovariance] = {}
    faults = []
    for name in wanted:
        field, path = table.fields.get(name), f"background.fields.{name}"
        if field is not None and (field.covariance is not None or field.stdev is not None):
            found = covariance_of(case, model, field, path, parts, name)
        elif table.covariance is not None:
            found = covariance_of(case, model, table, "background", parts, name)
        elif name in spread:
            found = Diagonal(spread[name])
        else:
            faults.append(
                Fault(
                    path,
                    "no covariance: give stdev or "
                    f"covariance, or {name}_stddev in {table.file}, or covariance = "
                    '{ use = "none" } to keep the field fixed',
                )
            )
            continue
        covariances |= {} if found is None else {name: found}
    if faults:
        raise CaseError(faults)
    return covariances
