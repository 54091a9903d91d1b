"""Where a model, or what an instrument reads of it, is not finite."""

from collections.abc import Mapping

import numpy as np

from assim.analysis.analyse import Analysis
from assim.case.failure import NonFiniteError
from assim.files.times import date_text
from assim.problem import assumed
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
    elif (instrument := _first(simulation.predictions)) is not None:
        what = f"the model is finite, but not what the observations of {instrument!r} read of it"
    elif (instrument := _first(_departures(problem, simulation))) is not None:
        what = f"the likelihood of the observations of {instrument!r} excludes what is predicted"
    else:
        return None
    values = ", ".join(
        f"{name} = {_value(value)}" for name, value in simulation.control.parameters.items()
    )
    reason = problem.model.may_end_early()  # what else ends an integration of adaptive steps
    return f"{what} (parameters: {values or 'none'}){f'. {reason}' if reason else ''}"


def require_finite(analysis: Analysis) -> None:
    """Raise NonFiniteError where the minimisation met no finite cost and gradient."""
    solution, problem = analysis.solution, analysis.problem
    if solution.status is not Status.NON_FINITE:
        return
    what = non_finite(problem, analysis.analysis)
    if what is None and not np.isfinite(float(cost(problem, solution.chi))):
        what = "the cost is not finite"
    elif what is None:
        what = (
            "the cost is finite, but not its gradient: the model, an operator or a likelihood has "
            "no finite derivative there (a square root or a power at zero, or a `jnp.where` "
            "around a value that is not finite)"
        )
    raise NonFiniteError(f"{what}. {solution.status.advice}")


def first_field(trajectory: Trajectory) -> tuple[str, int] | None:
    """Field and slot edge at which a trajectory first leaves the finite numbers."""
    first: tuple[str, int] | None = None
    for name, values in trajectory.states.items():
        finite = np.isfinite(np.asarray(values)).reshape(values.shape[0], -1).all(axis=1)
        edge = int(np.argmin(finite))
        if not finite.all() and (first is None or edge < first[1]):
            first = name, edge
    return first


def _first(values: Mapping[str, Array]) -> str | None:
    """The first instrument of which some value is not finite."""
    bad = (name for name, value in values.items() if not np.isfinite(np.asarray(value)).all())
    return next(bad, None)


def _departures(problem: Problem, simulation: Simulation) -> dict[str, Array]:
    """Of every instrument; not finite where its likelihood excludes what is predicted."""
    return assumed.departures(problem, simulation.control.scales, simulation.predictions)


def _value(value: object) -> str:
    array = np.asarray(value)
    return f"{array:.6g}" if array.ndim == 0 else f"array of mean {array.mean():.6g}"
