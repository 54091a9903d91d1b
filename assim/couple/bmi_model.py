"""A model behind the Basic Model Interface, as a model of the engine."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.arguments import hint
from assim.couple.code import ADJOINT, STEP, TANGENT, Code
from assim.couple.foreign import DIFFERENCES, AbstractForeignModel
from assim.couple.python_model import python_code
from assim.files.units import same_units
from assim.problem.arrays import Label, Labels, Params

Fields = Mapping[str, np.ndarray]


@runtime_checkable
class SetsState(Protocol):
    """A model whose whole state is got and set: what BMI 2.0 lacks."""

    def get_state(self) -> Fields:
        """Every field of the state, by the names of the labels."""

    def set_state(self, state: Fields, time: float) -> None:
        """Put the model into a state at a time, whatever it did before."""


@runtime_checkable
class SavesState(Protocol):
    """A model that keeps more than its fields, and can be put back to where it was."""

    def save_state(self) -> Any:
        """All that the model keeps, as it is now, in any form."""

    def restore_state(self, saved: Any) -> None:
        """Be as when `saved` was saved; it may be restored several times."""


@runtime_checkable
class HasAdjoint(Protocol):
    """A model that has the adjoint of a step."""

    def vector_jacobian_product(
        self, state: Fields, parameters: Fields, time: float, by: Fields
    ) -> tuple[Fields, Fields]:
        """(bx, btheta), the adjoint of one step from this state, as `PythonModel` has it."""


class BMIModel(AbstractForeignModel):
    """x(t + dt) by `update` of an object with the Basic Model Interface 2.0.

    The interface has values of variables, and neither a state nor a way back. A step of the engine
    starts from any state, so before each of them the model is put back to how it was when this was
    made, if it can be (`SavesState`: `save_state`, `restore_state`), its parameters are set, and
    its state is (`SetsState`: `get_state`, `set_state`), or else the variable of every field by
    `set_value`. After `update` the fields are read in the same way. A model that keeps more than
    these fields, and cannot be put back, is found by `assim check` (no memory). The adjoint is
    `vector_jacobian_product`, where there is one (`HasAdjoint`); the tangent, differences of steps.

    Hutton, Piper & Tucker (2020), J. Open Source Softw. 5(51), 2317.

    Args:
        bmi: the object, initialised: `bmi.initialize(file)` has been called.
        labels: dimensions, units and long names of fields and parameters.
        parameters: defaults; what the object says of their variables where not given.
        variables: names of the object's variables by name of fields and parameters; those that are
            not here have their own name.
        dt: length of a step in the labels' unit of time, by `update_until`; where not given, that
            of the object, by `update`.
        tangent: "differences" for differences of steps; None for none.

    Raises:
        ValueError: variables that it does not have, or of other sizes or units than the labels say,
            or another unit of time.
    """

    code: Code = eqx.field(static=True)
    dt: float = eqx.field(static=True)
    parameters: Params

    def __init__(
        self,
        bmi: Any,
        labels: Labels,
        parameters: Params | None = None,
        *,
        variables: Mapping[str, str] | None = None,
        dt: float | None = None,
        tangent: str | None = None,
    ) -> None:
        if tangent not in (None, DIFFERENCES):
            raise ValueError(f'BMIModel: tangent must be "{DIFFERENCES}" or None, got {tangent!r}')
        stepper = _Stepper(bmi, labels, variables or {}, dt)
        name = f"BMIModel({bmi.get_component_name()})"
        adjoint = bmi.vector_jacobian_product if isinstance(bmi, HasAdjoint) else None
        functions = {STEP: stepper.step, TANGENT: None, ADJOINT: adjoint}
        self.code = python_code(name, labels, functions, tangent == DIFFERENCES)
        self.dt = float(bmi.get_time_step()) if dt is None else dt
        given = parameters or {}
        defaults = {n: given[n] if n in given else stepper.value(n) for n in labels.parameters}
        self.parameters = {n: jnp.asarray(v, float) for n, v in defaults.items()}


class _Stepper:
    """Steps of the object, from any state."""

    def __init__(
        self, bmi: Any, labels: Labels, variables: Mapping[str, str], dt: float | None
    ) -> None:
        self.bmi, self.labels, self.dt = bmi, labels, dt
        known = [*labels.state, *labels.parameters]
        for name in variables:
            if name not in known:
                raise ValueError(f"BMIModel: variables: no {name!r}; {hint(name, known)}")
        self.variables = {name: variables.get(name, name) for name in known}
        self.whole = isinstance(bmi, SetsState)
        if dt is not None and not dt > 0:
            raise ValueError(f"BMIModel: dt must be positive, got {dt}")
        _check_time(bmi, labels)
        set_by_name = labels.parameters if self.whole else {**labels.state, **labels.parameters}
        for name, label in set_by_name.items():
            _check_variable(bmi, self.variables[name], labels.shape(name), label)
        self.saved = bmi.save_state() if isinstance(bmi, SavesState) else None

    def value(self, name: str) -> np.ndarray:
        """Of a field or parameter, as the object has it."""
        shape, variable = self.labels.shape(name), self.variables[name]
        kept = np.empty(int(np.prod(shape, dtype=int)), self.bmi.get_var_type(variable))
        return np.asarray(self.bmi.get_value(variable, kept), float).reshape(shape)

    def step(self, x: Fields, theta: Fields, t: float) -> Fields:
        """The state a step later."""
        bmi = self.bmi
        if self.saved is not None:
            bmi.restore_state(self.saved)
        for name, value in theta.items():
            self._set(name, value)
        if self.whole:
            bmi.set_state({name: value.copy() for name, value in x.items()}, t)
        else:
            for name, value in x.items():
                self._set(name, value)
        if self.dt is None:
            bmi.update()
        else:
            bmi.update_until(bmi.get_current_time() + self.dt)
        if self.whole:
            return {n: np.array(v, float) for n, v in bmi.get_state().items()}
        return {name: self.value(name) for name in x}

    def _set(self, name: str, value: np.ndarray) -> None:
        variable = self.variables[name]
        flat = np.asarray(value).ravel().astype(self.bmi.get_var_type(variable))
        self.bmi.set_value(variable, flat)


def _check_time(bmi: Any, labels: Labels) -> None:
    """The object counts time in the labels' unit."""
    theirs, ours = str(bmi.get_time_units()), labels.time_unit.removesuffix("s")
    if labels.time_unit != "1" and not (
        same_units(theirs, ours) or same_units(theirs, labels.time_unit)
    ):
        raise ValueError(
            f"BMIModel: the model counts time in {theirs!r}, its labels in {labels.time_unit!r}; "
            "give labels its unit"
        )


def _check_variable(bmi: Any, variable: str, shape: tuple[int, ...], label: Label) -> None:
    """The object has a variable as the label says, which can be set."""
    inputs = list(bmi.get_input_var_names())
    if variable not in inputs:
        raise ValueError(
            f"BMIModel: the model has no input variable {variable!r}; {hint(variable, inputs)}. "
            "A state that is no input can be set by get_state and set_state"
        )
    size = int(bmi.get_var_nbytes(variable)) // int(bmi.get_var_itemsize(variable))
    if size != np.prod(shape, dtype=int):
        raise ValueError(
            f"BMIModel: {variable!r} has {size} values, and its label the shape {shape}"
        )
    units = str(bmi.get_var_units(variable))
    if units not in ("", "-") and not same_units(units, label.units):
        raise ValueError(
            f"BMIModel: {variable!r} is in {units!r}, its label says {label.units!r}; give the "
            "label its unit"
        )
