"""The assimilation window: slots, their edges, and the trajectory across them."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array, Grid, Params, State, Trajectory
from assim.problem.model import AbstractDynamics


class Window(eqx.Module):
    """A stretch of model time cut into slots.

    The trajectory is held at the slot edges: they bound memory, are the times between which
    observation operators interpolate, and the intervals on which model error acts.

    Args:
        edges: slot edges in the model's time unit since `reference`, shape (slots + 1,).
        steps: model steps in a slot.
        reference: ISO date and time at which model time is zero; None where the model's time
            is not physical.
    """

    edges: Array
    steps: int = eqx.field(default=1, static=True)
    reference: str | None = eqx.field(default=None, static=True)

    @property
    def slots(self) -> int:
        """Number of slots."""
        return self.edges.shape[0] - 1

    @staticmethod
    def at(
        model: AbstractDynamics, edges: Sequence[float] | np.ndarray, reference: str | None = None
    ) -> "Window":
        """Window with the slot edges given, in the model's time unit since `reference`.

        Raises:
            ValueError: edges that do not increase, or that the model's step does not reach.
        """
        edges = np.asarray(edges, float)
        if edges.ndim != 1 or edges.size < 2 or not np.all(np.isfinite(edges)):
            raise ValueError(f"Window: at least two finite slot edges are needed, got {edges}")
        lengths = np.diff(edges)
        if np.any(lengths <= 0):
            where = int(np.argmax(lengths <= 0))
            raise ValueError(
                f"Window: slot edges must increase, but edge {where} is {edges[where]:g} and "
                f"edge {where + 1} is {edges[where + 1]:g}; sort them and drop repeated ones"
            )
        steps = {model.slot_steps(float(length)) for length in lengths}
        if len(steps) > 1 and model.time_step() is not None:
            raise ValueError(
                f"Window: all slots of a stepping model must have the same number of steps, "
                f"got {sorted(steps)}; give regular slots, or use an AbstractODE"
            )
        return Window(jnp.asarray(edges), max(steps), reference)

    @staticmethod
    def regular(
        model: AbstractDynamics,
        slots: int,
        steps: int = 1,
        start: float = 0.0,
        reference: str | None = None,
    ) -> "Window":
        """Window of `slots` equal slots of `steps` model steps each.

        Raises:
            ValueError: fewer than one slot or step, or a model without a time step.
        """
        dt = model.time_step()
        if dt is None:
            raise ValueError(
                f"Window: {type(model).__name__} has no time step to make slots of; give the slot "
                "edges to Window.at"
            )
        if slots < 1 or steps < 1:
            raise ValueError(f"Window: slots and steps must be positive, got {slots} and {steps}")
        edges = start + dt * steps * np.arange(slots + 1)
        return Window(jnp.asarray(edges), steps, reference)


def integrate(model: AbstractDynamics, x0: State, theta: Params, window: Window) -> Trajectory:
    """Trajectory x(t_k), k = 0 … slots, from the state `x0` at the window's start."""
    states = model.states(x0, theta, window.edges, window.steps)
    return Trajectory(window.edges, states, theta, Grid.of(model.labels()))
