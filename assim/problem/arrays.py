"""The vocabulary of the problem: fields, their labels, and trajectories."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import equinox as eqx
import jax
import numpy as np

from assim.arguments import check_free, check_names, hint
from assim.problem.curvilinear import Curvilinear

TIME_UNITS = ("seconds", "minutes", "hours", "days", "weeks", "years", "1")

_EASTWARD = ("degrees_east", "degree_east", "degrees_E", "degree_E", "degreesE", "degreeE")
_REGULAR = 0.01  # of the spacing: how much it may vary along a regular axis

Array = jax.Array
State = dict[str, Array]
Params = dict[str, Array]


class Coordinate(eqx.Module):
    """One axis of a model grid.

    Args:
        values: positions of the grid points, shape (n,), strictly increasing.
        units: unit of the positions ("1" where there is none).
        long_name: words for people and plots.
        period: length after which the axis repeats, in `units`; None for a bounded axis.
    """

    values: Array | np.ndarray
    units: str = eqx.field(default="1", static=True)
    long_name: str = eqx.field(default="", static=True)
    period: float | None = eqx.field(default=None, static=True)

    def __check_init__(self) -> None:
        if np.ndim(self.values) != 1:
            raise ValueError(
                f"Coordinate: values must have one dimension, got {np.ndim(self.values)}"
            )
        if isinstance(self.values, jax.core.Tracer):
            return
        values = np.asarray(self.values)
        if np.any(np.diff(values) <= 0):
            raise ValueError("Coordinate: values must increase; reverse the axis and its fields")
        if self.period is not None:
            _check_period(values, self.period, self.eastward)

    @property
    def eastward(self) -> bool:
        """Whether positions are longitudes in degrees: angles, in any turn."""
        return self.units in _EASTWARD


def _check_period(values: np.ndarray, period: float, eastward: bool) -> None:
    """Raise ValueError unless the axis goes round once in its period."""
    span, steps = np.ptp(values), np.diff(values)
    if not span < period:
        raise ValueError(
            f"Coordinate: values span {span:g}, which must be less than the period {period:g}; "
            f"leave out the point that repeats the first"
        )
    turns = 360.0 / period
    if eastward and not np.isclose(turns, max(round(turns), 1), rtol=1e-6):
        raise ValueError(
            f"Coordinate: longitudes repeat after 360 degrees, or a whole part of it, not after "
            f"{period:g}; correct the period"
        )
    last = period - span
    regular = steps.size > 1 and np.ptp(steps) <= _REGULAR * steps.max()
    far = regular and abs(last - steps.mean()) > _REGULAR * steps.mean()
    if steps.size and (far or last > 2 * steps.max()):
        raise ValueError(
            f"Coordinate: an axis of period {period:g} goes round once, but from its last point, "
            f"{values[-1]:g}, to its first, {values[0]:g}, there are {last:g} and at most "
            f"{steps.max():g} between others; give points all round, correct the period, or leave "
            f"it out where the axis is bounded"
        )


@dataclass(frozen=True)
class Label:
    """What one variable is: its dimensions (names of coordinates), units and long name."""

    dims: tuple[str, ...] = ()
    units: str = "1"
    long_name: str = ""


@dataclass(frozen=True)
class Labels:
    """Labels of everything a model exchanges with the world.

    Args:
        state: label of each field of the state, by name (= NetCDF variable).
        parameters: label of each parameter, by name.
        coordinates: one `Coordinate` for each dimension named in the labels.
        time_unit: unit of the model's time: "seconds", "minutes", "hours", "days", "weeks",
            "years" (calendar years), or "1" for a model whose time is not physical.
        curvilinear: where the grid points lie if that takes two-dimensional arrays; its two
            axes of indices are among the coordinates.
        inputs: label of each `Forcing` of the model, by the name of its field.
    """

    state: Mapping[str, Label]
    parameters: Mapping[str, Label] = field(default_factory=dict)
    coordinates: Mapping[str, Coordinate] = field(default_factory=dict)
    time_unit: str = "1"
    curvilinear: Curvilinear | None = None
    inputs: Mapping[str, Label] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_names("Labels", "a field's name", *self.state)
        check_names("Labels", "a parameter's name", *self.parameters)
        check_names("Labels", "a dimension's name", *self.coordinates)
        check_free("Labels", (*self.state, *self.parameters))
        check_free("Labels", self.coordinates)
        if self.time_unit not in TIME_UNITS:
            near = hint(self.time_unit, TIME_UNITS, "one of")
            raise ValueError(f"Labels: no time_unit {self.time_unit!r}; {near}")

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the state field or parameter `name`."""
        label = self.state[name] if name in self.state else self.parameters[name]
        return tuple(len(self.coordinates[dim].values) for dim in label.dims)

    def axes(self, name: str) -> tuple[Coordinate, ...]:
        """Coordinates of the state field `name`."""
        return tuple(self.coordinates[dim] for dim in self.state[name].dims)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every field of the state."""
        return {name: self.shape(name) for name in self.state}


class Grid(eqx.Module):
    """The coordinates on which the fields of a trajectory live."""

    axes: dict[str, Coordinate]
    dims: tuple[tuple[str, tuple[str, ...]], ...] = eqx.field(static=True)

    @staticmethod
    def of(labels: Labels) -> "Grid":
        """Grid described by a model's labels."""
        return Grid(
            dict(labels.coordinates),
            tuple((name, label.dims) for name, label in labels.state.items()),
        )

    def dims_of(self, variable: str) -> tuple[str, ...]:
        """Dimensions of a field."""
        return dict(self.dims)[variable]


class Trajectory(eqx.Module):
    """A model trajectory held at the edges of the window's slots.

    Between edges a field is taken to be linear in time.

    Args:
        times: slot edges in the model's time unit, shape (slots + 1,).
        states: every field at every edge, shape (slots + 1, *field shape).
        parameters: the model parameters of this trajectory.
        grid: coordinates of the fields.
    """

    times: Array
    states: State
    parameters: Params
    grid: Grid

    def at_start(self) -> State:
        """The state at the first edge."""
        return {name: value[0] for name, value in self.states.items()}

    def at_end(self) -> State:
        """The state at the last edge."""
        return {name: value[-1] for name, value in self.states.items()}


TrajectoryFunction = Callable[[Trajectory], Array]  # whose value is a scalar
