"""Whether observations fit the model and the window they are used with."""

import numpy as np

from assim.arguments import hint
from assim.problem.arrays import Array, Labels
from assim.problem.interpolation import reach
from assim.problem.observation import Observations
from assim.problem.window import Window


def check_fit(o: Observations, labels: Labels, window: Window) -> None:
    """Raise ValueError unless one instrument's places and times are those of the problem.

    Checked: the field it reads, the positions it needs and that they lie on the grid, the number
    of times, their reference and that they lie in the window, and intervals that are not empty.
    """
    where, operator = f"observations {o.name!r}", type(o.operator).__name__
    try:
        dims = o.operator.dims(labels)
    except KeyError as error:
        near = hint(str(error.args[0]), labels.state, "it has")
        raise ValueError(f"{where}: the model has no field {error}; {near}") from None
    _check_times(o, where, window)
    for dim in dims:
        if dim not in o.points.coordinates:
            raise ValueError(f"{where}: {operator} needs the coordinate {dim!r} of every value")
        limits = reach({d: labels.coordinates[d] for d in dims}, dim)
        _check_positions(o.points.coordinates[dim], limits, f"{where}: {dim}", o)
    empty = ~(np.asarray(o.points.starts) < np.asarray(o.points.ends))
    if o.operator.needs_intervals() and empty.any():
        raise ValueError(f"{where}: {operator} needs intervals of time; use Points.over")


def _check_times(o: Observations, where: str, window: Window) -> None:
    reference = o.points.reference
    if reference is not None and reference != window.reference:
        raise ValueError(
            f"{where}: times count from {reference}, those of the window from {window.reference}; "
            "read the observations with this window"
        )
    edges = np.asarray(window.edges)
    slack = 1e-6 * float(edges[-1] - edges[0])
    for times in (o.points.times, o.points.starts, o.points.ends):
        if times.shape != o.values.shape:
            raise ValueError(
                f"{where}: {o.values.size} values need as many times, got {times.size}"
            )
        outside = (np.asarray(times) < edges[0] - slack) | (np.asarray(times) > edges[-1] + slack)
        if outside.any():
            raise ValueError(
                f"{where}: {outside.sum()} of {times.size} times lie outside the window, "
                f"{edges[0]:g} to {edges[-1]:g}; the first is {np.asarray(times)[outside][0]:g}"
            )


def _check_positions(
    positions: Array, limits: tuple[float, float] | None, where: str, o: Observations
) -> None:
    if positions.shape != o.values.shape:
        raise ValueError(f"{where}: {o.values.size} values need as many positions")
    here = np.asarray(positions)
    if not np.isfinite(here).all():
        raise ValueError(f"{where}: {(~np.isfinite(here)).sum()} positions are not finite")
    if limits is None:
        return
    lower, upper = limits
    slack = 1e-9 * max(1.0, abs(lower), abs(upper))
    outside = (here < lower - slack) | (here > upper + slack)
    if outside.any():
        raise ValueError(
            f"{where}: {outside.sum()} positions lie off the grid, {lower:g} to {upper:g}; "
            f"the first is {here[outside][0]:g}"
        )
