"""The model error of a case, from its table [model_error]."""

from typing import Any

from assim.case.background import covariance_of
from assim.case.case import Case
from assim.case.failure import CaseError, Fault
from assim.problem.covariance import AbstractCovariance
from assim.problem.covariance.state import StateCovariance
from assim.problem.model import AbstractDynamics
from assim.problem.model_error import ModelError
from assim.problem.observation import ErrorScale


def make_model_error(
    case: Case, model: AbstractDynamics, parts: dict[str, Any]
) -> ModelError | None:
    """The model error of a case; None under strong constraint.

    Raises:
        CaseError: it says nothing of any field, or does not fit together.
        DataError: a file of its covariance cannot be used.
    """
    table = case.checked.model_error
    if table is None:
        return None
    scale = None
    if table.amplitude is not None:
        scale = ErrorScale(table.amplitude.name, parts["model_error.amplitude.prior"])
    try:
        return ModelError(
            _covariance(case, model, parts),
            parts.get("model_error.in_time"),
            table.every,
            table.acts,
            scale,
        )
    except ValueError as error:
        raise CaseError([Fault("model_error", str(error))]) from error


def _covariance(case: Case, model: AbstractDynamics, parts: dict[str, Any]) -> StateCovariance:
    table = case.checked.model_error
    assert table is not None
    if table.covariance is not None and table.covariance.file is None:
        return parts["model_error.covariance"]
    given: dict[str, AbstractCovariance | None] = {}
    if table.covariance is not None:
        given = {
            name: covariance_of(case, model, table, "model_error", parts, name)
            for name in model.labels().state
        }
    for name, field in table.fields.items():
        path = f"model_error.fields.{name}"
        given[name] = covariance_of(case, model, field, path, parts, name)
    return {name: covariance for name, covariance in given.items() if covariance is not None}
