"""Observation operators: what an instrument would read of a trajectory."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx

from assim.problem.arrays import Array, Labels, Trajectory
from assim.problem.interpolation import at_times, in_space, in_time, integral
from assim.problem.points import Points


class ShapeError(ValueError):
    """What a part of an instrument gives is not one number for each of its values."""


def one_each(given: Any, shape: tuple[int, ...], whose: str) -> Array:
    """What a part of an instrument gives for values of this shape, (m,).

    Arrays of shape (m, 1) or () would otherwise be paired with all values.

    Raises:
        ShapeError: it is of another shape, or no array.
    """
    got = getattr(given, "shape", None)
    if got != shape:
        what = type(given).__name__ if got is None else f"shape {got}"
        raise ShapeError(f"{whose} must give one number for each value, shape {shape}, got {what}")
    return given


class AbstractOperator(eqx.Module):
    """Observation operator H: predicted values of one instrument from a trajectory.

    Called inside jit and differentiated: pure JAX, no Python branching on values.

    Attributes:
        predicts: CF's word for what a value is in time, as in `cell_methods`; "" where it may be
            anything.
    """

    predicts: ClassVar[str] = ""

    @abc.abstractmethod
    def __call__(self, trajectory: Trajectory, points: Points) -> Array:
        """Predicted values, shape (m,)."""

    @abc.abstractmethod
    def units(self, labels: Labels) -> str | None:
        """Unit of the predicted values, None where it is not known.

        Raises:
            KeyError: the operator asks for a field that the model lacks.
        """

    @abc.abstractmethod
    def dims(self, labels: Labels) -> tuple[str, ...]:
        """Dimensions along which it needs the position of every value."""

    def needs_intervals(self) -> bool:
        """Whether every value must have an interval of time, longer than nothing."""
        return False

    def reads_intervals(self) -> bool:
        """Whether it may look at the intervals that values have, and not at their times alone.

        Then an interval must lie in the window for its value to be used.
        """
        return True


class _AbstractOfField(AbstractOperator):
    """Operators that read one field at the places of the observations."""

    variable: eqx.AbstractVar[str]

    def dims(self, labels: Labels) -> tuple[str, ...]:
        """Those of the field."""
        return labels.state[self.variable].dims


class _AbstractOverIntervals(_AbstractOfField):
    """Operators that read one field over each value's interval."""

    def needs_intervals(self) -> bool:
        """It does."""
        return True


class PointSample(_AbstractOfField):
    """The field `variable` at a time and place, linear in time between slot edges and in space."""

    variable: str = eqx.field(static=True)

    def __call__(self, trajectory: Trajectory, points: Points) -> Array:
        """Interpolated values."""
        return at_times(trajectory, self.variable, points)

    def units(self, labels: Labels) -> str | None:
        """That of the field."""
        return labels.state[self.variable].units

    def reads_intervals(self) -> bool:
        """No: it reads at `points.times`."""
        return False


class TimeIntegral(_AbstractOverIntervals):
    """∫ of the field `variable` over a value's interval, exact if linear between slot edges."""

    predicts: ClassVar[str] = "sum"

    variable: str = eqx.field(static=True)

    def __call__(self, trajectory: Trajectory, points: Points) -> Array:
        """Integrals from `points.starts` to `points.ends`."""
        return integral(trajectory, self.variable, points)

    def units(self, labels: Labels) -> str | None:
        """Field unit times time unit."""
        field, time = labels.state[self.variable].units, labels.time_unit
        return field if time == "1" else (time if field == "1" else f"{field} {time}")


class TimeMean(_AbstractOverIntervals):
    """Mean of the field `variable` over each value's interval."""

    predicts: ClassVar[str] = "mean"

    variable: str = eqx.field(static=True)

    def __call__(self, trajectory: Trajectory, points: Points) -> Array:
        """Integral over the interval, divided by its length."""
        return integral(trajectory, self.variable, points) / (points.ends - points.starts)

    def units(self, labels: Labels) -> str | None:
        """That of the field."""
        return labels.state[self.variable].units


class TimeDifference(_AbstractOverIntervals):
    """factor·(x(end) - x(start)) of the field `variable` over each value's interval.

    The factor is -1 for what has left a reservoir, 1 for what has entered it.
    """

    variable: str = eqx.field(static=True)
    factor: float = eqx.field(default=1.0, static=True)

    def __call__(self, trajectory: Trajectory, points: Points) -> Array:
        """Differences between the ends of the intervals."""
        sample = in_space(trajectory, self.variable, points)
        end = in_time(trajectory, points, "ends", sample)
        return self.factor * (end - in_time(trajectory, points, "starts", sample))

    def units(self, labels: Labels) -> str | None:
        """That of the field."""
        return labels.state[self.variable].units


class Function(AbstractOperator):
    """Any function of the trajectory, f(trajectory, points) -> values of shape (m,).

    Args:
        function: written in JAX; it may use `assim.operator.sample` to interpolate a field.
        unit: unit of its values, None to leave it unchecked.
        needs: dimensions along which it needs positions.
    """

    function: Callable[[Trajectory, Points], Array] = eqx.field(static=True)
    unit: str | None = eqx.field(default=None, static=True)
    needs: tuple[str, ...] = eqx.field(default=(), converter=tuple, static=True)

    def __call__(self, trajectory: Trajectory, points: Points) -> Array:
        """The function's values."""
        return self.function(trajectory, points)

    def units(self, labels: Labels) -> str | None:
        """As given."""
        del labels
        return self.unit

    def dims(self, labels: Labels) -> tuple[str, ...]:
        """As given."""
        del labels
        return self.needs


def sample(trajectory: Trajectory, variable: str, points: Points) -> Array:
    """A field at the times and places of `points`, linear in time and space, shape (m,)."""
    return at_times(trajectory, variable, points)
