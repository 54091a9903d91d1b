"""The instruments of a case: observations, their errors, bias correction and quality control."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.case.case import Case
from assim.case.failure import CaseError, Fault
from assim.case.schema import ObservationTable
from assim.case.setting import Setting
from assim.case.slots import Clock
from assim.files.errors import DataError
from assim.files.read.observations import Instrument, to_instrument
from assim.files.read.quality import QualityControl
from assim.files.read.tables import ObservationTable as Rows
from assim.files.read.tables import open_observations
from assim.files.read.windows import window_of
from assim.files.sources import Source
from assim.findings.impact import innovation_stdev
from assim.problem.arrays import Array
from assim.problem.bias import BiasCorrection
from assim.problem.departure import Problem
from assim.problem.model import AbstractDynamics
from assim.problem.observation import ErrorScale
from assim.problem.operator import PointSample
from assim.problem.predictive import observing
from assim.problem.window import Window


def instrument_names(tables: Sequence[ObservationTable]) -> list[str]:
    """Names in results: as given, else the variable's, with a number where one is taken."""
    taken = [table.name or table.variable for table in tables if table.name or not table.held_back]
    found = []
    for table in tables:
        name = table.name or table.variable
        if table.held_back and table.name is None:
            first, number = f"{name}_held_back", 1
            name = first
            while name in taken:
                number += 1
                name = f"{first}_{number}"
            taken.append(name)
        found.append(name)
    return found


def table_faults(case: Case) -> list[Fault]:
    """What can be seen of instruments held back without their data."""
    if case.table is None:
        return []
    tables, faults = case.checked.observations, []
    names = instrument_names(tables)
    for number, (table, name) in enumerate(zip(tables, names, strict=True)):
        path = f"observations.{number}"
        others = [n for n, other in enumerate(names) if other == name and n != number]
        if table.held_back and any(n < number or not tables[n].held_back for n in others):
            what = f"observations.{others[0]} is called {name!r} too; give one of them another name"
            faults.append(Fault(f"{path}.name", what))
        if table.held_back and table.quality is not None and table.quality.threshold is not None:
            what = "readings that are held back have no background check; leave it out"
            faults.append(Fault(f"{path}.quality.threshold", what))
    return faults


def slot_faults(
    case: Case, model: AbstractDynamics, clock: Clock, rows: Sequence[Rows]
) -> list[Fault]:
    """Instruments held back that would change the slots, and with them the model errors."""
    table, tables = case.checked.window, case.checked.observations
    apart = [number for number, one in enumerate(tables) if one.held_back]
    if case.checked.model_error is None or table.times != "observations" or not apart:
        return []
    ends = clock.text(table.start), clock.text(table.end)
    assimilated = [one for number, one in enumerate(rows) if number not in apart]
    without = np.asarray(window_of(assimilated, model, *ends).edges)
    what = (
        'held back at times that no assimilated instrument has, which times = "observations" '
        "would give slots, and model errors, of their own; give window.slots or times of your own"
    )
    return [
        Fault(f"observations.{number}", what)
        for number in apart
        if not np.array_equal(
            np.asarray(window_of([*assimilated, rows[number]], model, *ends).edges), without
        )
    ]


def problem_faults(problem: Problem, held_back: Mapping[int, Instrument]) -> list[Fault]:
    """Error scales and biases that are not estimated, by the number of the instrument's table."""
    faults = []
    for number, one in held_back.items():
        try:
            observing(problem, one.observations)
        except ValueError as error:
            what = str(error).removeprefix("predictive: ")
            way = "name one of an assimilated instrument, or leave it out"
            faults.append(Fault(f"observations.{number}", f"{what}; {way}"))
    return faults


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


def operator_of(setting: Setting, number: int) -> Any:
    """What an instrument reads of the trajectory.

    Raises:
        CaseError: it asks for a field that the model lacks.
    """
    found = setting.parts.get(f"observations.{number}.operator")
    if found is None:
        found = PointSample(setting.case.checked.observations[number].variable)
    try:
        found.units(setting.model.labels())
    except KeyError as error:
        what = f"its operator asks for the field {error.args[0]!r}, which the model lacks"
        raise CaseError([Fault(f"observations.{number}", what)]) from None
    return found
