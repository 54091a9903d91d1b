"""What a case asks for beyond the analysis: where to start, derived quantities, a forecast."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from assim.files.errors import DataError
from assim.files.states import read_arrays, read_state
from assim.problem.arrays import Array, Params
from assim.problem.departure import Problem
from assim.problem.scalars import Derived, ForecastError, check_derived
from assim.problem.window import Window
from assim.run.case import Case
from assim.run.failure import CaseError, Fault
from assim.run.slots import Clock


class ForecastMeasure(NamedTuple):
    """The squared error of a forecast from the window's end, and the window of that forecast."""

    measure: ForecastError
    window: Window


def first_guess(case: Case, problem: Problem, start: str | float) -> Array | None:
    """χ of the state and parameters in the file that the case names, or None.

    Parameters that the file does not have start from their prior median, as error scales, bias
    coefficients and model errors do.

    Raises:
        CaseError: a covariance of the case that cannot be inverted.
        DataError: the file cannot be used.
    """
    named = case.checked.minimiser.first_guess
    if named is None:
        return None
    path, control = case.input_path(named), problem.control
    state = read_state(path, problem.model, time=start)
    parameters: Params = {}
    for name in control.parameters:
        try:
            parameters |= read_arrays(path, problem.model.labels(), [name])
        except DataError as error:
            if f"{name!r}, there is none" not in str(error):
                raise
    try:
        return control.whiten(state, parameters)
    except ValueError as error:
        raise CaseError([Fault("minimiser.first_guess", str(error))]) from error


def quantities_of(case: Case, problem: Problem, parts: dict[str, Any]) -> dict[str, Derived]:
    """Derived quantities by name.

    Raises:
        CaseError: one has the name of something else.
    """
    wanted = {
        name: Derived(parts[f"quantities.{name}"], table.units, table.long_name)
        for name, table in case.checked.quantities.items()
    }
    try:
        check_derived(problem, wanted)
    except ValueError as error:
        raise CaseError([Fault("quantities", str(error))]) from None
    return wanted


def impact_of(case: Case, problem: Problem, clock: Clock) -> ForecastMeasure | None:
    """The forecast on which the impact of observations is asked.

    Raises:
        CaseError: a time that is not after the window, or that the model does not reach.
        DataError: the verifying file cannot be used.
    """
    table = case.checked.forecast_impact
    if table is None:
        return None
    model, end = problem.model, float(np.asarray(problem.window.edges)[-1])
    text, time = clock.text(table.time), clock.time(table.time, "forecast_impact.time")
    if not time > end:
        what = f"must lie after the window's end, got {table.time}"
        raise CaseError([Fault("forecast_impact.time", what)])
    try:
        window = Window.at(model, [end, time], problem.window.reference)
        path = case.input_path(table.file)
        verifying = read_state(path, model, table.weights or None, time=text)
        weights = {name: jnp.asarray(weight) for name, weight in table.weights.items()}
        return ForecastMeasure(ForecastError(verifying, weights), window)
    except DataError:
        raise
    except ValueError as error:
        raise CaseError([Fault("forecast_impact", str(error))]) from error
