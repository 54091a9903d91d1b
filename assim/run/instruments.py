"""The instruments of a case: observations, their errors, bias correction and quality control."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.analysis.impact import innovation_stdev
from assim.files.errors import DataError
from assim.files.observations import Instrument, to_instrument
from assim.files.quality import QualityControl
from assim.files.sources import Source
from assim.files.tables import ObservationTable as Rows
from assim.files.tables import open_observations
from assim.problem.arrays import Array
from assim.problem.bias import BiasCorrection
from assim.problem.departure import Problem
from assim.problem.model import AbstractDynamics
from assim.problem.observation import ErrorScale
from assim.problem.window import Window
from assim.run.case import Case
from assim.run.failure import CaseError, Fault
from assim.run.held_back import instrument_names


def make_instrument(
    case: Case,
    model: AbstractDynamics,
    parts: dict[str, Any],
    number: int,
    rows: Rows,
    window: Window,
    *,
    source: Source | None = None,
    kept: np.ndarray | None = None,
) -> Instrument:
    """The instrument of the case's table `number`, from the rows of its file.

    Args:
        case: the case.
        model: whose fields are observed.
        parts: plug-ins by path.
        number: of the table.
        rows: those of its file, or some of them.
        window: the window.
        source: the file, where it is not the one that the case names.
        kept: numbers of the file's rows that these are, where they are not all.

    Raises:
        CaseError: bias correction or quality control that does not fit together.
        DataError: rows that do not fit the model.
    """
    table, path = case.checked.observations[number], f"observations.{number}"
    error = table.error
    scale = None
    if error is not None and error.name is not None:
        scale = ErrorScale(error.name, parts[f"{path}.error.prior"])
    given = "operator" in case.tree["observations"][number]
    try:
        quality = QualityControl(**({} if table.quality is None else table.quality.model_dump()))
    except ValueError as problem:
        raise CaseError([Fault(f"{path}.quality", str(problem))]) from None
    return to_instrument(
        rows,
        model,
        window,
        parts[f"{path}.operator"] if given else None,
        None if error is None else error.stdev,
        parts.get(f"{path}.likelihood"),
        scale,
        instrument_names(case.checked.observations)[number],
        covariance=parts.get(f"{path}.covariance"),
        correlated=table.correlated,
        bias=_bias(case, model, parts, number, rows, source, kept),
        quality=quality,
    )


def _bias(
    case: Case,
    model: AbstractDynamics,
    parts: dict[str, Any],
    number: int,
    rows: Rows,
    source: Source | None,
    kept: np.ndarray | None,
) -> BiasCorrection | None:
    """The bias correction of an instrument, its predictors by operator or from the file."""
    table, priors, predictors = case.checked.observations[number], {}, {}
    for index, term in enumerate(table.bias):
        path = f"observations.{number}.bias.{index}"
        if term.name in priors:
            raise CaseError([Fault(f"{path}.name", f"{term.name!r} stands here twice")])
        priors[term.name] = parts[f"{path}.prior"]
        if term.predictor is not None:
            predictors[term.name] = parts[f"{path}.predictor"]
        if term.variable is not None:
            file = case.input_path(table.file) if source is None else source
            column = open_observations(file, term.variable, model.labels()).values
            if kept is not None and kept.size and kept.max() >= column.size:
                raise DataError(
                    f"{rows.source}: {term.variable}: expected one predictor for every value of "
                    f"{rows.variable}, got {column.size} for {kept.max() + 1} or more"
                )
            predictors[term.name] = column if kept is None else column[kept]
    return BiasCorrection(priors, predictors) if priors else None


def blank_bias(case: Case, parts: dict[str, Any], number: int) -> BiasCorrection | None:
    """The bias correction of an instrument of one value, with 1 for what a file would give."""
    terms = [
        (term, f"observations.{number}.bias.{index}")
        for index, term in enumerate(case.checked.observations[number].bias)
    ]
    if not terms:
        return None
    predictors: dict[str, Any] = {
        term.name: parts[f"{path}.predictor"] if term.predictor is not None else np.ones(1)
        for term, path in terms
        if term.predictor is not None or term.variable is not None
    }
    return BiasCorrection({term.name: parts[f"{path}.prior"] for term, path in terms}, predictors)


def background_checked(problem: Problem, instruments: Sequence[Instrument]) -> Sequence[Instrument]:
    """Instruments without the values that fail their background check; the same where none does.

    Raises:
        DataError: an instrument has no value left.
    """
    if all(one.quality.threshold is None for one in instruments):
        return instruments
    expected = innovation_stdev(problem)
    predicted = _at_background(problem)
    checked = []
    for one in instruments:
        name = one.observations.name
        innovation = np.asarray(one.observations.values - predicted[name])
        checked.append(one.check_background(innovation, np.asarray(expected[name])))
    same = all(new is old for new, old in zip(checked, instruments, strict=True))
    return instruments if same else checked


@eqx.filter_jit
def _at_background(problem: Problem) -> dict[str, Array]:
    return problem.simulate(jnp.zeros(problem.size())).predictions
