"""Where a model, or what an instrument reads of it, is not finite."""

import numpy as np

from assim.analysis.analyse import Analysis
from assim.case.failure import NonFiniteError
from assim.files.times import date_text
from assim.problem.arrays import Array, Trajectory
from assim.problem.departure import Problem, Simulation
from assim.solve.cost import cost
from assim.solve.minimise.status import Status


def non_finite(problem: Problem, simulation: Simulation) -> str | None:
    """What is not finite, since when, and with which parameters; None where everything is."""
    labels, window = problem.model.labels(), problem.window
    field = first_field(simulation.trajectory)
    if field is not None:
        name, edge = field
        when = float(window.edges[edge])
        clock = "t = " if labels.time_unit == "1" else ""
        at = f"{clock}{date_text(when, labels.time_unit, window.reference)}"
        what = f"the model is not finite within the window: field {name!r} first at {at}"
    elif (instrument := _first_instrument(simulation)) is not None:
        what = f"the model is finite, but not what the observations of {instrument!r} read of it"
    elif (instrument := _first_departure(problem, simulation)) is not None:
        what = f"the likelihood of the observations of {instrument!r} excludes what is predicted"
    else:
        return None
    values = ", ".join(
        f"{name} = {_value(value)}" for name, value in simulation.control.parameters.items()
    )
    return f"{what} (parameters: {values or 'none'}){_budget(problem)}"


def require_finite(analysis: Analysis) -> None:
    """Raise NonFiniteError where the minimisation met no finite cost and gradient."""
    solution = analysis.solution
    if solution.status is Status.NON_FINITE:
        trouble = _trouble(analysis.problem, analysis.analysis, solution.chi)
        raise NonFiniteError(f"{trouble}. {solution.status.advice}")


def _trouble(problem: Problem, simulation: Simulation, chi: Array) -> str:
    """Why a minimisation could not start or go on at χ."""
    what = non_finite(problem, simulation)
    if what is not None:
        return what
    if np.isfinite(float(cost(problem, chi))):
        return (
            "the cost is finite, but not its gradient: the model, an operator or a likelihood has "
            "no finite derivative there (a square root or a power at zero, or a `jnp.where` "
            "around a value that is not finite)"
        )
    return "the cost is not finite"


def _budget(problem: Problem) -> str:
    """What else makes an integration of adaptive steps end early."""
    reason = problem.model.may_end_early()
    return f". {reason}" if reason else ""


def first_field(trajectory: Trajectory) -> tuple[str, int] | None:
    """Field and slot edge at which a trajectory first leaves the finite numbers."""
    first: tuple[str, int] | None = None
    for name, values in trajectory.states.items():
        finite = np.isfinite(np.asarray(values)).reshape(values.shape[0], -1).all(axis=1)
        edge = int(np.argmin(finite))
        if not finite.all() and (first is None or edge < first[1]):
            first = name, edge
    return first


def _first_instrument(simulation: Simulation) -> str | None:
    for name, values in simulation.predictions.items():
        if not np.isfinite(np.asarray(values)).all():
            return name
    return None


def _first_departure(problem: Problem, simulation: Simulation) -> str | None:
    """Instrument whose likelihood excludes what is predicted."""
    for o in problem.observations:
        control = simulation.control
        departures = o.departures(simulation.trajectory, control.scales, control.biases)
        if not np.isfinite(np.asarray(departures)).all():
            return o.name
    return None


def _value(value: object) -> str:
    array = np.asarray(value)
    return f"{array:.6g}" if array.ndim == 0 else f"array of mean {array.mean():.6g}"
