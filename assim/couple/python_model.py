"""A model in NumPy, or in anything that Python calls, as a model of the engine."""

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import numpy as np

from assim.couple.code import ADJOINT, SIGNATURES, STEP, TANGENT, Code
from assim.couple.foreign import DIFFERENCES, AbstractForeignModel, defaults
from assim.problem.arrays import Labels, Params

Fields = Mapping[str, np.ndarray]
FAILED, STOPPED = 1, -1  # what a function of C returns


class PythonModel(AbstractForeignModel):
    """x(t + dt) = step(x(t), θ, t) by a function of Python, with its tangent and adjoint by others.

        step(x, theta, t) -> y
        tangent(x, theta, t, dx, dtheta) -> dy
        adjoint(x, theta, t, by) -> (bx, btheta)

    All but t are dictionaries from name to NumPy array in double precision; those given are
    read-only. An ArithmeticError, as FloatingPointError is one, stands for a step that failed: its
    state is NaN, as of a model that blew up. Any other exception stops the program and is told.

    Args:
        step: the step.
        labels: dimensions, units and long names of fields and parameters.
        dt: time step, in the labels' unit of time.
        parameters: defaults; whatever is estimated overrides them by name.
        tangent: the tangent linear of the step; None for none, "differences" for differences of
            steps.
        adjoint: its adjoint; None for none.
        files: what decides what the functions compute and is not in Python, as libraries and tables
            that they read: inputs of a case, whose change is seen.

    Raises:
        ValueError: what is no function, a step in time that is not positive, or a file that is not
            there.
    """

    code: Code = eqx.field(static=True)
    dt: float = eqx.field(static=True)
    parameters: Params

    def __init__(
        self,
        step: Callable[..., Fields],
        labels: Labels,
        dt: float,
        parameters: Params | None = None,
        *,
        tangent: Callable[..., Fields] | str | None = None,
        adjoint: Callable[..., tuple[Fields, Fields]] | None = None,
        files: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        if not dt > 0:
            raise ValueError(f"PythonModel: dt must be positive, got {dt}")
        self.parameters = defaults("PythonModel", labels, parameters)
        differences = tangent == DIFFERENCES
        given: dict[str, Any] = {
            STEP: step,
            TANGENT: None if differences else tangent,
            ADJOINT: adjoint,
        }
        for operation, function in given.items():
            if function is not None and not callable(function):
                raise ValueError(f"PythonModel: {operation} must be a function, got {function!r}")
        name = f"PythonModel({getattr(step, '__name__', type(step).__name__)})"
        self.code = python_code(name, labels, given, differences, files)
        self.dt = dt


def python_code(
    name: str,
    labels: Labels,
    functions: Mapping[str, Callable[..., Any] | None],
    by_differences: bool = False,
    files: Sequence[str | os.PathLike[str]] = (),
) -> Code:
    """Functions of Python, by operation, as those of C that the engine calls.

    Args:
        name: of the model.
        labels: of its fields and parameters.
        functions: as `PythonModel` has them; None for those that there are not.
        by_differences: whether differences of steps stand for the tangent.
        files: that decide what the functions compute.
    """
    made: list[Code] = []
    stop = lambda why: made[0].stop(why)  # noqa: E731
    calls = {
        operation: SIGNATURES[operation](_Call(labels, operation, function, stop))
        for operation, function in functions.items()
        if function is not None
    }
    addresses = {
        operation: ctypes.cast(call, ctypes.c_void_p).value or 0
        for operation, call in calls.items()
    }
    kept: dict[str, Any] = {"keep": calls, "files": files}
    made.append(Code(name, labels, addresses, by_differences=by_differences, **kept))
    return made[0]


class _Call:
    """One of the functions as C calls it: pointers become dictionaries, and exceptions codes."""

    def __init__(
        self,
        labels: Labels,
        operation: str,
        function: Callable[..., Any],
        stop: Callable[[BaseException], None],
    ) -> None:
        self.operation, self.function, self.stop = operation, function, stop
        self.fields = {name: labels.shape(name) for name in labels.state}
        self.parameters = {name: labels.shape(name) for name in labels.parameters}

    def __call__(self, x: Any, theta: Any, t: float, *lists: Any) -> int:
        """The code that C has: what the function returns is written where C wants it."""
        try:
            given = _arrays(self.fields, x), _arrays(self.parameters, theta), t
            if self.operation == STEP:
                self._write(self.fields, lists[0], self.function(*given))
            elif self.operation == TANGENT:
                directions = _arrays(self.fields, lists[0]), _arrays(self.parameters, lists[1])
                self._write(self.fields, lists[2], self.function(*given, *directions))
            else:
                bx, btheta = self.function(*given, _arrays(self.fields, lists[0]))
                self._write(self.fields, lists[1], bx)
                self._write(self.parameters, lists[2], btheta)
        except ArithmeticError:
            return FAILED
        except BaseException as error:
            self.stop(error)
            return STOPPED
        return 0

    def _write(self, shapes: Mapping[str, Sequence[int]], pointers: Any, values: Fields) -> None:
        if set(values) != set(shapes):
            raise ValueError(
                f"the {self.operation} must return {sorted(shapes)}, it returned {sorted(values)}"
            )
        for number, (name, shape) in enumerate(shapes.items()):
            value = np.asarray(values[name], dtype=float)
            if value.shape != tuple(shape):
                raise ValueError(
                    f"the {self.operation} returned {name!r} of shape {value.shape}, and its "
                    f"labels say {tuple(shape)}"
                )
            _view(pointers[number], shape)[...] = value


def _arrays(shapes: Mapping[str, Sequence[int]], pointers: Any) -> dict[str, np.ndarray]:
    """Arrays on the memory that a list of pointers points to, for reading."""
    arrays = {}
    for number, (name, shape) in enumerate(shapes.items()):
        arrays[name] = _view(pointers[number], shape)
        arrays[name].flags.writeable = False
    return arrays


def _view(pointer: int, shape: Sequence[int]) -> np.ndarray:
    size = int(np.prod(shape, dtype=int))
    values = (ctypes.c_double * size).from_address(pointer)
    return np.ctypeslib.as_array(values).reshape(shape)
