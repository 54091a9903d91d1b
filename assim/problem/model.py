"""What a model must offer: a time step or a tendency, and labels."""

import abc
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.devices import laid_out
from assim.problem.arrays import Array, Labels, Params, State
from assim.problem.grids import is_walled, walled

Tendency = Callable[[State, Params, Array], State]
THROUGH_STEPS = "both modes through the steps, some computed again"
KEPT_IN_STEPS = 2**21  # bytes of what all steps hold for their derivatives that a gradient keeps
KEPT_STATES = 2**26  # bytes of states between steps that it keeps
_HELD = 32  # states that a step holds for its derivatives, about


class ModelContractError(ValueError):
    """A model that breaks its contract: wrong keys, shapes, dtypes or labels."""


class Trial(NamedTuple):
    """One property of a model, found by calling it."""

    name: str
    passed: bool | None  # None: for information
    detail: str


class _AbstractTimeStepping(eqx.Module):
    """What is asked about the steps of a trajectory: of a model, and of an integrator for it."""

    @abc.abstractmethod
    def slot_steps(self, length: float) -> int:
        """Steps taken in a slot of this length; raises ValueError where they do not fit."""

    @abc.abstractmethod
    def derivatives(self, columns: int) -> str:
        """How a trajectory with `columns` inputs (field values, parameters) is differentiated."""

    def reverse_of_forward(self) -> bool:
        """Whether a forward derivative of the trajectory can be differentiated in reverse."""
        return True

    def may_end_early(self) -> str:
        """Why a trajectory may turn NaN though the model is finite, in a sentence, or empty."""
        return ""

    def absolute_tolerance(self) -> float | None:
        """An error of one step that counts as none in every field, in its unit; None for none."""
        return None

    def tolerance_sizes(self) -> State:
        """Sizes of the fields, in their units, that tolerances follow; empty where none do."""
        return {}


class AbstractDynamics(_AbstractTimeStepping):
    """Anything that carries a state through the slots of a window.

    Not subclassed directly: write an `AbstractModel` (a time step) or an `AbstractODE`
    (a tendency); `written` is the name of what the user writes.
    """

    written: eqx.AbstractClassVar[str]
    parameters: eqx.AbstractVar[Params]

    @abc.abstractmethod
    def labels(self) -> Labels:
        """Dimensions, units, long names and coordinates of every field and parameter."""

    @abc.abstractmethod
    def states(self, x: State, theta: Params, edges: Array, steps: int) -> State:
        """Every field at every slot edge, leading dimension slots + 1, from `x` at the first."""

    def of_size(self, sizes: State) -> Self:
        """This model where values of each field are of this size, if its accuracy asks for it."""
        del sizes
        return self

    def time_step(self) -> float | None:
        """The time of which every slot is a whole multiple; None where slots may end at any."""
        return None

    def lacks(self) -> tuple[str, ...]:
        """Which of "tangent" and "adjoint" cannot be had of it; JAX derives both of its own."""
        return ()

    def second_derivatives(self) -> str:
        """How second derivatives of the model are had, in words; empty where JAX derives them."""
        return ""

    def code_files(self) -> tuple[Path, ...]:
        """Files beside those of Python that decide what it computes; those of models in it."""
        is_model = lambda node: node is not self and isinstance(node, AbstractDynamics)  # noqa: E731
        models = filter(is_model, jax.tree.leaves(self, is_leaf=is_model))
        return tuple(dict.fromkeys(file for model in models for file in model.code_files()))

    def trials(self, x: State, theta: Params, t: float) -> Iterator[Trial]:
        """What calling it at this state shows, where JAX does not see what it computes."""
        del x, theta, t
        return iter(())


class AbstractModel(AbstractDynamics):
    """A model known by its time step, x(t + dt) = step(x(t), θ, t).

    Write `step` and `labels`, and declare the fields `dt` (a static float, in the unit that
    `labels` gives) and `parameters` (the defaults; the control overrides them by name).
    `step` must return the keys, shapes and dtypes that it was given.
    """

    written: ClassVar[str] = "step"
    dt: eqx.AbstractVar[float]

    @abc.abstractmethod
    def step(self, x: State, theta: Params, t: Array) -> State:
        """The state one time step `dt` after `x`, which is valid at time `t`."""

    def states(self, x: State, theta: Params, edges: Array, steps: int) -> State:
        """Compose `steps` steps a slot; that they reach the next edge is the window's promise."""

        def advance(ends: tuple[Array, Array], x: State, index: Array) -> tuple[State, None]:
            return self.step(x, theta, ends[0] + index * self.dt), None

        return scan_slots(advance, x, edges, steps)

    def time_step(self) -> float | None:
        """`dt`."""
        return self.dt

    def slot_steps(self, length: float) -> int:
        """Number of steps of `dt` in a slot: its length must be a multiple of `dt`."""
        return whole_steps(type(self).__name__, length, self.dt)

    def derivatives(self, columns: int) -> str:
        """Through the steps themselves."""
        del columns
        return THROUGH_STEPS


def whole_steps(called: str, length: float, dt: float) -> int:
    """Number of steps of `dt` in a slot of this length; ValueError where it is no whole one."""
    steps = round(length / dt)
    if steps < 1 or abs(steps * dt - length) > 1e-6 * dt * max(steps, 1):
        raise ValueError(
            f"{called}: a slot of length {length:g} is not a whole number of "
            f"steps dt = {dt:g}; put the slot edges on the model's steps"
        )
    return steps


class AbstractIntegrator(_AbstractTimeStepping):
    """How an ODE model is integrated through a window."""

    @abc.abstractmethod
    def states(
        self, ode: "AbstractODE", x: State, theta: Params, edges: Array, steps: int
    ) -> State:
        """Solution of dx/dt = tendency(x, θ, t) at every edge, from `x` at the first."""

    def of_size(self, sizes: State) -> "AbstractIntegrator":
        """This integrator where values of each field are of this size, a number each."""
        del sizes
        return self


class AbstractODE(AbstractDynamics):
    """A model known by its tendency, dx/dt = tendency(x, θ, t).

    Write `tendency` and `labels`, and declare the fields `integrator` (`Adaptive()` or
    `FixedStep(dt)`) and `parameters`. Slot edges may lie at any times.
    """

    written: ClassVar[str] = "tendency"
    integrator: eqx.AbstractVar[AbstractIntegrator]

    @abc.abstractmethod
    def tendency(self, x: State, theta: Params, t: Array) -> State:
        """Time derivative of every field."""

    def states(self, x: State, theta: Params, edges: Array, steps: int) -> State:
        """The integrator's solution at the slot edges."""
        return self.integrator.states(self, x, theta, edges, steps)

    def of_size(self, sizes: State) -> Self:
        """With its integrator as that has it for values of this size."""
        integrator = self.integrator.of_size(sizes)
        if integrator is self.integrator:
            return self
        whole = lambda node: node is self.integrator  # noqa: E731
        return eqx.tree_at(lambda model: model.integrator, self, integrator, is_leaf=whole)

    def slot_steps(self, length: float) -> int:
        """Steps that the integrator wants for a slot of this length."""
        return self.integrator.slot_steps(length)

    def derivatives(self, columns: int) -> str:
        """As the integrator has it."""
        return self.integrator.derivatives(columns)

    def reverse_of_forward(self) -> bool:
        """As the integrator has it."""
        return self.integrator.reverse_of_forward()

    def may_end_early(self) -> str:
        """As the integrator has it."""
        return self.integrator.may_end_early()

    def absolute_tolerance(self) -> float | None:
        """As the integrator has it."""
        return self.integrator.absolute_tolerance()

    def tolerance_sizes(self) -> State:
        """As the integrator has it."""
        return self.integrator.tolerance_sizes()


def scan_slots(
    step: Callable[[tuple[Array, Array], State, Array], tuple[State, None]],
    x: State,
    edges: Array,
    steps: int,
) -> State:
    """States at slot edges by `steps` calls of step((slot start, slot end), x, index) a slot.

    What a gradient keeps depends on the size S of a state in bytes, the N slots and their M steps:
    everything while N M steps hold little; else the state at every step, from which the step is
    computed again; where those are too many, too, at every slot edge, from which the slot is; and
    where the states of a slot are too many, at about √M of its steps. Memory is then
    (N + 2√M) S and what one step holds.
    """
    slots, size = edges.shape[0] - 1, sum(v.size * v.dtype.itemsize for v in x.values())
    every, each = slots * steps * size, steps * size
    again = partial(jax.checkpoint, prevent_cse=False)
    by_step = _HELD * every > KEPT_IN_STEPS

    def slot(x: State, ends: tuple[Array, Array]) -> tuple[State, State]:
        apart = walled(partial(step, ends), x)
        step_in_slot = again(laid_out(apart)) if by_step else laid_out(apart)
        if steps == 1:
            y, _ = step_in_slot(x, jnp.zeros(()))
        elif each <= KEPT_STATES:
            y, _ = jax.lax.scan(step_in_slot, x, jnp.arange(steps))
        else:
            y = _in_pieces(step_in_slot, x, steps)
        return y, y

    body = again(slot) if every > KEPT_STATES and steps > 1 and slots > 1 else slot
    _, later = jax.lax.scan(body, x, (edges[:-1], edges[1:]))
    return {name: jnp.concatenate([x[name][None], later[name]]) for name in x}


def _in_pieces(step: Callable[[State, Array], tuple[State, None]], x: State, steps: int) -> State:
    """x after all steps, in about √steps pieces of as many, which are computed again."""
    length = math.isqrt(steps)
    pieces, rest = divmod(steps, length)

    def run(x: State, first: Array | int, number: int = length) -> tuple[State, None]:
        return jax.lax.scan(step, x, first + jnp.arange(number))

    x, _ = jax.lax.scan(jax.checkpoint(run, prevent_cse=False), x, length * jnp.arange(pieces))
    return run(x, length * pieces, rest)[0] if rest else x


def rk4_step(tendency: Tendency, x: State, theta: Params, t: Array, dt: float) -> State:
    """x(t + dt) = x + dt (k1 + 2 k2 + 2 k3 + k4)/6, where dx/dt = tendency(x, θ, t).

    The classical fourth-order step (Kutta 1901). For a large state its four stages are turns of
    one loop, so that the tendency is compiled once.
    """

    def moved(x: State, k: State, by: float | Array) -> State:
        return jax.tree.map(lambda x, k: x + jnp.asarray(by, x.dtype) * k, x, k)

    if not is_walled(x):
        k1 = tendency(x, theta, t)
        k2 = tendency(moved(x, k1, dt / 2), theta, t + dt / 2)
        k3 = tendency(moved(x, k2, dt / 2), theta, t + dt / 2)
        k4 = tendency(moved(x, k3, dt), theta, t + dt)
        weighted = jax.tree.map(lambda a, b, c, d: (a + 2 * (b + c) + d) / 6, k1, k2, k3, k4)
        return moved(x, weighted, dt)
    apart = walled(tendency, x)

    def stage(carry: tuple[State, State], times: tuple[Array, Array]) -> tuple[Any, None]:
        (k, total), (later, weight) = carry, times
        k = apart(moved(x, k, later), theta, t + later)
        return (k, moved(total, k, weight)), None

    times = jnp.asarray([0.0, dt / 2, dt / 2, dt]), jnp.asarray([dt / 6, dt / 3, dt / 3, dt / 6])
    return jax.lax.scan(stage, (jax.tree.map(jnp.zeros_like, x), x), times)[0][1]


def check_model(model: AbstractDynamics, x: State, theta: Params) -> None:
    """Raise ModelContractError unless the step or tendency keeps keys, shapes and dtypes.

    Traces the model without running it.
    """
    name = type(model).__name__
    unlabelled = sorted(set(model.parameters) ^ set(model.labels().parameters))
    if unlabelled:
        raise ModelContractError(
            f"{name}: `parameters` and labels().parameters must name the same parameters; "
            f"only one of them has {', '.join(unlabelled)}"
        )
    what = model.written
    y = jax.eval_shape(lambda x, theta: getattr(model, what)(x, theta, jnp.zeros(())), x, theta)
    if not isinstance(y, dict) or set(y) != set(x):
        got = sorted(y) if isinstance(y, dict) else type(y).__name__
        raise ModelContractError(
            f"{name}: the {what} must return the fields {sorted(x)}, it returned {got}"
        )
    for field in x:
        given, returned = _form(x[field]), _form(y[field])
        if given != returned:
            raise ModelContractError(
                f"{name}: the {what} must keep the shape and dtype of field {field!r}: "
                f"it was given {given} and returned {returned}"
            )


def _form(value: Array) -> str:
    return f"{value.shape} {value.dtype}"
