"""The vocabulary of the problem: fields, their labels, and trajectories."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import equinox as eqx
import jax
import numpy as np

from assim.arguments import hint
from assim.problem.curvilinear import Curvilinear

TIME_UNITS = ("seconds", "minutes", "hours", "days", "weeks", "years", "1")

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
        if self.period is not None and not np.ptp(values) < self.period:
            raise ValueError(
                f"Coordinate: values span {np.ptp(values):g}, which must be less than the period "
                f"{self.period:g}; leave out the point that repeats the first"
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
