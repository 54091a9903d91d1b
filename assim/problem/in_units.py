"""ODE models integrated in units of their state's own size, so that tolerances follow it."""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array, Labels, Params, State
from assim.problem.model import AbstractDynamics, AbstractIntegrator, AbstractODE

_SMALLER = 1e-4  # how much smaller than others a field of zeros may become


def of_size(
    model: AbstractDynamics, values: Callable[[], Mapping[str, Array | np.ndarray]]
) -> AbstractDynamics:
    """The model with tolerances for fields as large as these values.

    A field of nothing but zeros, whose size is not known yet, is taken to become no smaller than
    1e-4 of the smallest field of its unit, or of 1.

    Args:
        model: M.
        values: gives those of every field, of any shape; asked for where sizes matter alone.
    """
    if not isinstance(model, AbstractODE):
        return model
    units = {name: label.units for name, label in model.labels().state.items()}
    largest = {name: float(np.max(np.abs(np.asarray(v)))) for name, v in values().items()}
    known = {name: size for name, size in largest.items() if 0 < size < np.inf}
    same = {name: [s for n, s in known.items() if units[n] == units[name]] for name in units}
    least = {name: _SMALLER * min(same[name], default=1.0) for name in units}
    sizes = {name: known.get(name, least[name]) for name in units}
    return model.of_size({name: jnp.asarray(size) for name, size in sizes.items()})


class InUnits(AbstractIntegrator):
    """Another integrator for the state in units of its own size.

    The units are powers of two, which leave every digit as it is.
    """

    inner: AbstractIntegrator
    units: State

    def __init__(self, inner: AbstractIntegrator, sizes: State) -> None:
        """Take for the unit of each field the power of two next to its size."""
        self.inner = inner
        exponents = {name: jnp.round(jnp.log2(size)).astype(int) for name, size in sizes.items()}
        self.units = {name: jnp.ldexp(1.0, exponent) for name, exponent in exponents.items()}

    def of_size(self, sizes: State) -> AbstractIntegrator:
        """The same integrator in other units."""
        return self.inner.of_size(sizes)

    def absolute_tolerance(self) -> float | None:
        """None that is the same for all sizes."""
        return None

    def tolerance_sizes(self) -> State:
        """The units."""
        return self.units

    def slot_steps(self, length: float) -> int:
        """As the other integrator has it."""
        return self.inner.slot_steps(length)

    def derivatives(self, columns: int) -> str:
        """As the other integrator has it."""
        return self.inner.derivatives(columns)

    def reverse_of_forward(self) -> bool:
        """As the other integrator has it."""
        return self.inner.reverse_of_forward()

    def may_end_early(self) -> str:
        """As the other integrator has it."""
        return self.inner.may_end_early()

    def states(self, ode: AbstractODE, x: State, theta: Params, edges: Array, steps: int) -> State:
        """Solution at the edges, integrated in these units."""
        scaled = _InUnitsODE(
            model=ode, units=self.units, parameters=ode.parameters, integrator=self.inner
        )
        start = {name: value / self.units[name] for name, value in x.items()}
        states = self.inner.states(scaled, start, theta, edges, steps)
        return {name: value * self.units[name] for name, value in states.items()}


class _InUnitsODE(AbstractODE):
    """An ODE model of the state in other units."""

    model: AbstractODE
    units: State
    parameters: Params
    integrator: AbstractIntegrator

    def labels(self) -> Labels:
        return self.model.labels()

    def tendency(self, x: State, theta: Params, t: Array) -> State:
        whole = {name: value * self.units[name] for name, value in x.items()}
        tendency = self.model.tendency(whole, theta, t)
        return {name: value / self.units[name] for name, value in tendency.items()}
