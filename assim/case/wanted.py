"""What a case asks for beyond the analysis: where to start, derived quantities, a forecast."""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.case.case import Case
from assim.case.failure import CaseError, Fault
from assim.case.parts import AUTO, NONE
from assim.case.schema import NAME
from assim.case.slots import Clock
from assim.files.errors import DataError
from assim.files.read.states import read_arrays, read_state
from assim.files.sources import opened
from assim.problem.arrays import Array
from assim.problem.departure import Problem
from assim.problem.prior import AbstractPrior
from assim.problem.scalars import Derived, ForecastError, check_derived
from assim.problem.window import Window


class ForecastMeasure(NamedTuple):
    """The squared error of a forecast from the window's end, and the window of that forecast."""

    measure: ForecastError
    window: Window


def first_guess(case: Case, problem: Problem, start: str | float) -> Array | None:
    """χ of the state and parameters in the file that the case names, or None.

    Parameters that the file does not have start from their prior median, as error scales and bias
    coefficients do; model errors start from zero.

    Raises:
        CaseError: a covariance of the case that cannot be inverted.
        DataError: the file cannot be used, or a prior excludes what it holds.
    """
    named = case.checked.minimiser.first_guess
    if named is None:
        return None
    path, control = case.input_path(named), problem.control
    state = read_state(path, problem.model, time=start)
    with opened(path) as dataset:
        present = [name for name in control.parameters if name in dataset.variables]
    parameters = read_arrays(path, problem.model.labels(), present)
    _check_within(path, {name: state[name] for name in control.fields}, control.fields)
    _check_within(path, parameters, control.parameters)
    try:
        return eqx.filter_jit(problem.guess)(state, parameters)
    except ValueError as error:
        raise CaseError([Fault("minimiser.first_guess", str(error))]) from error


def _check_within(
    path: Path, values: Mapping[str, Array], priors: Mapping[str, AbstractPrior]
) -> None:
    """Raise DataError where a prior excludes a value."""
    for name, value in values.items():
        inside = np.isfinite(np.asarray(priors[name].inverse(value)))
        if not inside.all():
            first = np.asarray(value)[~inside].ravel()[0]
            raise DataError(
                f"{path}: {name}: expected values that its prior, {type(priors[name]).__name__}, "
                f"allows, got {first:g}; start from another state, or widen the prior"
            )


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
    if case.checked.posterior[0].use == NONE:
        what = 'needs a posterior, for which the case has use = "none"; give one, or drop the table'
        raise CaseError([Fault("forecast_impact", what)])
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


_CHAINS = ("NUTS", "HMC", "MCLMC", "Tempering")  # which need blackjax


def cannot_run(use: str) -> str | None:
    """What a method needs that is not installed, and how to get it; None where all is there."""
    if use not in _CHAINS or importlib.util.find_spec("blackjax") is not None:
        return None
    return f"{use} needs blackjax, which is not installed: pip install 'assim[mcmc]'"


def methods_of(case: Case, parts: dict[str, Any]) -> Any:
    """Methods by their names in results, "auto", or None for none."""
    alone = parts.get("posterior", parts.get("posterior.0"))
    if alone is None or alone == AUTO:
        return alone
    return dict(_named(case, parts).values())


def posterior_faults(case: Case, parts: dict[str, Any]) -> list[Fault]:
    """What is wrong with the posteriors of a case, beyond each of them."""
    if case.table is None:
        return []
    faults = []
    tables, several = case.checked.posterior, isinstance(case.tree.get("posterior"), list)
    if len(tables) > 1:
        faults += [
            Fault(f"posterior.{i}", f"{table.use!r} stands alone, not in a list")
            for i, table in enumerate(tables)
            if table.use in (AUTO, NONE)
        ]
    for i, table in enumerate(tables):
        path = f"posterior.{i}" if several else "posterior"
        missing = cannot_run(table.use)
        faults += [] if missing is None else [Fault(path, missing)]
        if table.use in (AUTO, NONE):
            faults += [
                Fault(f"{path}.{key}", f"no such key: {table.use!r} takes no settings")
                for key in (
                    *(["name"] if table.name is not None else []),
                    *(table.model_extra or ()),
                )
            ]
    seen: dict[str, str] = {}
    for path, (name, _) in _named(case, parts).items():
        if re.fullmatch(NAME, name) is None:
            what = f"its name, {name!r}, does for no file; give it a name of small letters"
            faults.append(Fault(path, what))
        if name in seen:
            what = f"{seen[name]} is called {name!r} too; give one of them another name"
            faults.append(Fault(path, what))
        seen.setdefault(name, path)
    return faults


def _named(case: Case, parts: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Name and settings of every method that could be made, by its path."""
    found, several = {}, isinstance(case.tree.get("posterior"), list)
    for number, table in enumerate(case.checked.posterior):
        path = f"posterior.{number}" if several else "posterior"
        method = parts.get(path)
        if method is not None and method != AUTO:
            found[path] = (table.name or method.name(), method)
    return found
