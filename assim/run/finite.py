"""Where a model, or what an instrument reads of it, is not finite."""

from collections.abc import Mapping, Sequence

import numpy as np

from assim.analysis.analyse import Analysis
from assim.case.failure import NonFiniteError
from assim.files.read.observations import Instrument
from assim.files.times import date_text
from assim.problem.arrays import Array, Trajectory
from assim.problem.departure import Problem, Simulation
from assim.problem.observation import Observations
from assim.solve.cost import cost
from assim.solve.minimise.status import Status

_WAYS = (
    "begin the window after such readings (window.start), choose a likelihood that allows what is "
    "predicted, or look at the background and the priors"
)


def non_finite(
    problem: Problem, simulation: Simulation, instruments: Sequence[Instrument] = ()
) -> str | None:
    """What is not finite, since when, and with which parameters; None where everything is.

    Args:
        problem: the question.
        simulation: at some χ.
        instruments: with the files of the problem's observations, where they have any.
    """
    labels, window = problem.model.labels(), problem.window
    field = first_field(simulation.trajectory)
    if field is not None:
        name, edge = field
        when = float(window.edges[edge])
        clock = "t = " if labels.time_unit == "1" else ""
        at = f"{clock}{date_text(when, labels.time_unit, window.reference)}"
        what = f"the model is not finite within the window: field {name!r} first at {at}"
        reason = problem.model.may_end_early()  # what else ends an integration of adaptive steps
        return f"{what} ({_parameters(simulation)}){f'. {reason}' if reason else ''}"
    if (instrument := _first(simulation.predictions)) is not None:
        what = f"the model is finite, but not what the observations of {instrument!r} read of it"
    elif (excluded := _excluded(problem, simulation, instruments)) is not None:
        what = excluded
    else:
        return None
    return f"{what} ({_parameters(simulation)})"


def require_finite(analysis: Analysis, instruments: Sequence[Instrument] = ()) -> None:
    """Raise NonFiniteError where the minimisation met no finite cost and gradient."""
    solution, problem = analysis.solution, analysis.problem
    if solution.status is not Status.NON_FINITE:
        return
    what = non_finite(problem, analysis.analysis, instruments)
    if what is not None and _WAYS in what:
        raise NonFiniteError(f"{what}.")
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


def _excluded(
    problem: Problem, simulation: Simulation, instruments: Sequence[Instrument]
) -> str | None:
    """The first reading at which a likelihood excludes what is predicted, and ways out."""
    for o in problem.observations:
        predicted = np.asarray(simulation.predictions[o.name])
        d = np.asarray(o.normalised(simulation.predictions[o.name], simulation.control.scales))
        bad = np.flatnonzero(~np.isfinite(d))
        if not bad.size:
            continue
        kind, first = type(o.likelihood).__name__, int(bad[0])
        when = date_text(
            float(np.asarray(o.points.ends)[first]),
            problem.model.labels().time_unit,
            problem.window.reference,
        )
        more = f" and {bad.size - 1} more of {d.size} readings" if bad.size > 1 else ""
        needs = f", but {kind} errors need predictions above 0" if o.likelihood.positive else ""
        return (
            f"the likelihood ({kind}) of the observations of {o.name!r} excludes what is "
            f"predicted: {predicted[first]:.6g} at {when}{_row(o, instruments, first)}{more}"
            f"{needs}; {_WAYS}"
        )
    return None


def _row(o: Observations, instruments: Sequence[Instrument], number: int) -> str:
    """File and row of the reading of this number, where they are known."""
    for instrument in instruments:
        if instrument.observations.name == o.name:
            row = np.flatnonzero(instrument.used)[number]
            return f" ({instrument.table.where}, row {row})"
    return ""


def _parameters(simulation: Simulation) -> str:
    parameters = simulation.control.parameters.items()
    values = ", ".join(f"{name} = {_value(value)}" for name, value in parameters)
    return f"parameters: {values or 'none'}"


def _value(value: object) -> str:
    array = np.asarray(value)
    return f"{array:.6g}" if array.ndim == 0 else f"array of mean {array.mean():.6g}"
