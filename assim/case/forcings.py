"""The time series that drive the model of a case."""

from assim.case import plugins
from assim.case.case import Case
from assim.case.failure import CaseError, Fault
from assim.case.slots import Clock
from assim.files.errors import DataError
from assim.files.read.forcings import read_forcing
from assim.problem.arrays import Labels
from assim.problem.forcing import Forcing
from assim.problem.model import AbstractDynamics


def with_inputs(model: AbstractDynamics, case: Case, clock: Clock) -> AbstractDynamics:
    """The model made again with the time series that the case names in files.

    Its labels, which say the units of the series and of time, come from a model with blank ones.

    Raises:
        CaseError: the model says no units for a series, or refuses one.
        DataError: every file that cannot be used.
    """
    tables = case.series()
    if not tables:
        return model
    labels = model.labels()
    if unsaid := [name for name in tables if name not in labels.inputs]:
        what = f"labels().inputs of the model must give the units of {unsaid[0]!r}"
        raise CaseError([Fault(f"model.{unsaid[0]}", what)])
    series, trouble = {}, []
    for name, table in tables.items():
        try:
            series[name] = _read(case, table, labels, clock, labels.inputs[name].units)
        except DataError as error:
            trouble.append(str(error))
    if trouble:
        raise DataError("\n".join(trouble))
    try:
        return plugins.build("model", {**case.tree["model"], **series}, "model", case.folder)
    except plugins.PluginError as error:
        raise CaseError(error.faults) from error


def _read(case: Case, table: dict[str, str], labels: Labels, clock: Clock, units: str) -> Forcing:
    return read_forcing(
        case.input_path(table["file"]),
        table["variable"],
        labels.time_unit,
        clock.reference,
        units,
        table.get("interpolation", "linear"),
    )
