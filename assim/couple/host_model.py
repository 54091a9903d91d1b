"""The model of a program that holds the engine: described by a case, stepped by the program."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from assim.arguments import nearest
from assim.couple.c_model import CModel
from assim.couple.foreign import AbstractForeignModel
from assim.couple.python_model import PythonModel
from assim.problem.arrays import Coordinate, Label, Labels, Params

Function = Callable[..., Any] | int | None  # in Python, or the address of a C function


def host_model(
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
    before: Callable[[str, list[np.ndarray]], None] | None = None,
) -> AbstractForeignModel:
    """x(t + dt) = step(x(t), θ, t) by functions of the program that holds the engine.

    A case describes it, `use = "HostModel"`; the program gives the functions, by
    `Engine.register_model` or, in C and Fortran, `assim_register_model`: all by address, as
    `CModel` calls them, or all in Python, as `PythonModel` does.

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
        thread_safe: whether several threads may be in C functions at once.
        before: told of every call before it is made, with its arguments: by the first process of a
            parallel program, in which all make it.

    Raises:
        ValueError: no step, or labels that do not go together.
    """
    if step is None:
        raise ValueError(
            "HostModel: the step is that of a program that holds the engine, and gives it by "
            "assim_register_model (Engine.register_model in Python) before it starts the engine"
        )
    tables = (fields, coordinates or {}, parameters or {}, time_unit)
    labels, defaults = described("HostModel", *tables)
    own: dict[str, Any] = {"tangent": tangent, "adjoint": adjoint}
    model: AbstractForeignModel
    if callable(step):
        model = PythonModel(step, labels, dt, defaults, **own)
    else:
        own |= {"context": context, "thread_safe": thread_safe}
        model = CModel(None, labels, dt, defaults, step=step, **own)
    if before is not None:
        model.code.announce(before)
    return model


def described(
    model: str,
    fields: Mapping[str, Mapping[str, Any]],
    coordinates: Mapping[str, Mapping[str, Any]],
    parameters: Mapping[str, Mapping[str, Any]],
    time_unit: str,
) -> tuple[Labels, Params]:
    """The labels that tables of a case describe, and the parameters' defaults.

    Args:
        model: what the case calls it, to begin messages with.
        fields: by name the table of each, and so the others.
        coordinates: of dimensions.
        parameters: with `value`.
        time_unit: of the labels.

    Raises:
        ValueError: tables that do not go together.
    """
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
                    raise ValueError(f"{model}: {kind}.{name} takes no key {key!r}; {near}")
            if kind == "parameters" and "value" not in table:
                raise ValueError(f"{model}: parameters.{name} needs its default, as `value`")
    labels = Labels(
        {name: _label(table) for name, table in fields.items()},
        {name: _label(table) for name, table in parameters.items()},
        {name: _coordinate(model, name, table) for name, table in coordinates.items()},
        time_unit,
    )
    defaults = {
        name: jnp.broadcast_to(jnp.asarray(table["value"], float), labels.shape(name))
        for name, table in parameters.items()
    }
    return labels, defaults


def _label(table: Mapping[str, Any]) -> Label:
    return Label(tuple(table.get("dims", ())), table.get("units", "1"), table.get("long_name", ""))


def _coordinate(model: str, name: str, table: Mapping[str, Any]) -> Coordinate:
    if ("values" in table) == ("size" in table):
        raise ValueError(f"{model}: coordinates.{name} needs either `values` or `size`")
    values = table.get("values", np.arange(float(table.get("size", 0))))
    words = (table.get("units", "1"), table.get("long_name", ""), table.get("period"))
    return Coordinate(np.asarray(values, float), *words)
