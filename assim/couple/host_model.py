"""The model of a program that holds the engine: described by a case, stepped by the program."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.arguments import nearest
from assim.couple.code import ADJOINT, SIGNATURES, STEP, TANGENT, Code
from assim.couple.foreign import AbstractForeignModel
from assim.problem.arrays import Coordinate, Label, Labels, Params

Function = Callable[..., Any] | int | None  # in Python, or the address of a C function


class HostModel(AbstractForeignModel):
    """x(t + dt) = step(x(t), θ, t) by functions of the program that holds the engine.

    A case describes it; the program gives the functions (`Engine.register_model`, in C and Fortran
    `assim_register_model`), of C as `CModel` has them, or in Python, of dictionaries of arrays:

        step(x, theta, t) → y
        tangent(x, theta, t, dx, dtheta) → dy
        adjoint(x, theta, t, by) → (bx, btheta)

    Args:
        dt: time step, in `time_unit`.
        fields: by name the table of each, { dims = ["y", "x"], units = "m", long_name = "..." },
            in the order in which the functions have them.
        coordinates: by dimension its positions, { values = [...] } or { size = 40 } for 0 … 39,
            with `units`, `long_name` and `period` where it has them.
        parameters: by name the table of each, { value = 8.0 }, with what a field has.
        time_unit: as `assim.Labels` has it.
        step: the step; the program gives it.
        tangent: its tangent linear, if any; "differences" for differences of steps.
        adjoint: its adjoint, if any.
        context: address that C functions are handed.
        thread_safe: whether several threads may be in the functions at once.

    Raises:
        ValueError: no step, or labels that do not go together.
    """

    code: Code = eqx.field(static=True)
    dt: float = eqx.field(static=True)
    parameters: Params

    def __init__(
        self,
        dt: float,
        fields: Mapping[str, Mapping[str, Any]],
        coordinates: Mapping[str, Mapping[str, Any]] | None = None,
        parameters: Mapping[str, Mapping[str, Any]] | None = None,
        time_unit: str = "1",
        *,
        step: Function = None,
        tangent: Function | str = None,
        adjoint: Function = None,
        context: int = 0,
        thread_safe: bool = False,
    ) -> None:
        if step is None:
            raise ValueError(
                "HostModel: the step is that of a program that holds the engine, and gives it by "
                "assim_register_model (Engine.register_model in Python); run that program"
            )
        if not dt > 0:
            raise ValueError(f"HostModel: dt must be positive, got {dt}")
        labels = _labels(fields, coordinates or {}, parameters or {}, time_unit)
        differences = tangent == "differences"
        given = {STEP: step, TANGENT: None if differences else tangent, ADJOINT: adjoint}
        called = {
            name: _Called(name, function, labels)
            for name, function in given.items()
            if callable(function)
        }
        addresses = {name: f for name, f in given.items() if isinstance(f, int)}
        addresses |= {name: function.address for name, function in called.items()}
        words = (context, thread_safe and not called, differences, called)
        self.code, self.dt = Code("HostModel", labels, addresses, *words), dt
        for function in called.values():
            function.code = self.code
        self.parameters = {
            name: jnp.broadcast_to(jnp.asarray(table["value"], float), labels.shape(name))
            for name, table in (parameters or {}).items()
        }


class _Called:
    """A function in Python as one of C: what it raises stops the analysis."""

    def __init__(self, operation: str, function: Any, labels: Labels) -> None:
        self.operation, self.function, self.labels = operation, function, labels
        self.code: Code | None = None
        self.pointer = SIGNATURES[operation](self._answer)
        self.address = ctypes.cast(self.pointer, ctypes.c_void_p).value or 0

    def _answer(self, x: Any, theta: Any, t: float, *lists: Any) -> int:
        try:
            fields, parameters = (
                self._of(x, self.labels.state),
                self._of(theta, self.labels.parameters),
            )
            more, out = self._rest(lists)
            values = self.function(fields, parameters, t, *more)
            several = values if self.operation == ADJOINT else (values,)
            for arrays, group in zip(out, several, strict=True):
                for name, array in arrays.items():
                    array[...] = group[name]
            return 0
        except BaseException as error:
            if self.code is not None:
                self.code.stop(error)
            return -1

    def _rest(self, lists: Sequence[Any]) -> tuple[list[dict[str, np.ndarray]], list[Any]]:
        """What the operation is given besides, and where its results go."""
        state, parameters = self.labels.state, self.labels.parameters
        if self.operation == STEP:
            return [], [self._of(lists[0], state)]
        if self.operation == TANGENT:
            dx, dtheta = self._of(lists[0], state), self._of(lists[1], parameters)
            return [dx, dtheta], [self._of(lists[2], state)]
        return [self._of(lists[0], state)], [
            self._of(lists[1], state),
            self._of(lists[2], parameters),
        ]

    def _of(self, addresses: Any, labels: Mapping[str, Label]) -> dict[str, np.ndarray]:
        """The arrays that a list of pointers leads to, by name."""
        arrays = {}
        for number, name in enumerate(labels):
            shape = self.labels.shape(name)
            kind = ctypes.c_double * int(np.prod(shape))
            arrays[name] = np.ctypeslib.as_array(kind.from_address(addresses[number])).reshape(
                shape
            )
        return arrays


def _labels(
    fields: Mapping[str, Mapping[str, Any]],
    coordinates: Mapping[str, Mapping[str, Any]],
    parameters: Mapping[str, Mapping[str, Any]],
    time_unit: str,
) -> Labels:
    """The labels that tables of a case describe."""
    kinds = {
        "fields": (fields, ("dims", "units", "long_name")),
        "coordinates": (coordinates, ("values", "size", "units", "long_name", "period")),
        "parameters": (parameters, ("value", "dims", "units", "long_name")),
    }
    for kind, (tables, known) in kinds.items():
        for name, table in tables.items():
            for key in table:
                if key not in known:
                    near = nearest(key, known)
                    raise ValueError(f"HostModel: {kind}.{name} takes no key {key!r}; {near}")
            if kind == "parameters" and "value" not in table:
                raise ValueError(f"HostModel: parameters.{name} needs its default, as `value`")
    return Labels(
        {name: _label(table) for name, table in fields.items()},
        {name: _label(table) for name, table in parameters.items()},
        {name: _coordinate(name, table) for name, table in coordinates.items()},
        time_unit,
    )


def _label(table: Mapping[str, Any]) -> Label:
    return Label(tuple(table.get("dims", ())), table.get("units", "1"), table.get("long_name", ""))


def _coordinate(name: str, table: Mapping[str, Any]) -> Coordinate:
    if ("values" in table) == ("size" in table):
        raise ValueError(f"HostModel: coordinates.{name} needs either `values` or `size`")
    values = table.get("values", np.arange(float(table.get("size", 0))))
    words = (table.get("units", "1"), table.get("long_name", ""), table.get("period"))
    return Coordinate(np.asarray(values, float), *words)
