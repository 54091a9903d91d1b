"""Integrators of ODE models, differentiable in every mode."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from assim.problem.arrays import Array, Params, State
from assim.problem.forcing import event_times
from assim.problem.grids import walled
from assim.problem.in_units import InUnits
from assim.problem.model import THROUGH_STEPS, AbstractIntegrator, AbstractODE, scan_slots


def _solver(solver: str | diffrax.AbstractSolver) -> diffrax.AbstractSolver:
    """A diffrax solver from its name."""
    if isinstance(solver, diffrax.AbstractSolver):
        return solver
    solver_class = getattr(diffrax, solver, None)
    if not (isinstance(solver_class, type) and issubclass(solver_class, diffrax.AbstractSolver)):
        raise ValueError(
            f"solver: no diffrax solver is called {solver!r}; "
            "try 'Tsit5' or 'Dopri8' (non-stiff), 'Kvaerno5' (stiff)"
        )
    return solver_class()


_Tendency = Callable[[Array, Array], Array]
_Stepper = Callable[[Array, Array, Array], tuple[Array, Array, Array]]


def _flat(ode: AbstractODE, x: State, theta: Params) -> tuple[Array, Callable, _Tendency]:
    """The state as one vector, its way back, and the tendency f(t, z) of vectors.

    One vector instead of many fields: a fraction of the operations to trace and compile.
    """
    z, unravel = ravel_pytree(x)

    def tendency(t: Array, z: Array) -> Array:
        return ravel_pytree(ode.tendency(unravel(z), theta, t))[0]

    return z, unravel, walled(tendency, z)


def _stepper(
    solver: diffrax.AbstractSolver, tendency: _Tendency, rtol: float, atol: float
) -> _Stepper:
    """Function (t0, t1, z) -> (z at t1, error estimate, whether it succeeded) of one step.

    Explicit Runge-Kutta methods are written out stage by stage from the solver's tableau: that
    compiles and runs several times faster than a loop over stages, and differentiates both ways.
    """
    tableau = getattr(solver, "tableau", None)
    if isinstance(solver, diffrax.AbstractERK) and isinstance(tableau, diffrax.ButcherTableau):

        def explicit_step(t0: Array, t1: Array, z: Array) -> tuple[Array, Array, Array]:
            return *_explicit_step(tableau, tendency, t0, t1, z), jnp.array(True)

        return explicit_step
    term = diffrax.ODETerm(lambda t, z, args: tendency(jnp.asarray(t), z))
    if isinstance(solver, diffrax.AbstractRungeKutta):
        solver = dataclasses.replace(solver, scan_kind="bounded")
    if isinstance(solver, diffrax.AbstractImplicitSolver):
        root_finder = diffrax.VeryChord(rtol=rtol, atol=atol)
        solver = eqx.tree_at(lambda s: s.root_finder, solver, root_finder)

    def step(t0: Array, t1: Array, z: Array) -> tuple[Array, Array, Array]:
        before = solver.init(term, t0, t1, z, None)
        y, error, _, _, result = solver.step(term, t0, t1, z, None, before, made_jump=True)
        solved = jnp.asarray(result == diffrax.RESULTS.successful)
        return y, y if error is None else error, solved

    return step


def _explicit_step(
    tableau: diffrax.ButcherTableau, tendency: _Tendency, t0: Array, t1: Array, z: Array
) -> tuple[Array, Array]:
    """z + h Σ b_i k_i with k_i = f(t0 + c_i h, z + h Σ a_ij k_j), and the error h Σ e_i k_i."""
    h = t1 - t0
    slopes = [tendency(t0, z)]

    def combine(weights: np.ndarray) -> Array:
        terms = [float(w) * k for w, k in zip(weights, slopes, strict=False) if w != 0]
        return h * sum(terms[1:], terms[0])

    for row, c in zip(tableau.a_lower, tableau.c, strict=True):
        slopes.append(tendency(t0 + float(c) * h, z + combine(row)))
    return z + combine(tableau.b_sol), combine(tableau.b_error)


def _term(ode: AbstractODE, x: State) -> diffrax.ODETerm:
    tendency = walled(ode.tendency, x)
    return diffrax.ODETerm(lambda t, x, theta: tendency(x, theta, jnp.asarray(t)))


class Adaptive(AbstractIntegrator):
    """Adaptive steps with a diffrax solver, explicit or implicit, that meet every slot edge.

    They meet the times at which a `Forcing` of the model jumps or bends, too, so that no short
    event is stepped over.

    A trajectory with up to `max_columns` inputs (field values and parameters) is differentiated
    by its own Jacobian, taken forward along the steps chosen for the trajectory; a larger one by
    backpropagation through the bounded loop of steps. Both serve jvp, vjp and jvp of vjp. The
    derivative is that of the computed solution with its sequence of steps held fixed; the
    times of the edges are data. An integration that needs more than `max_steps` steps returns
    NaN from where it stopped.

    Args:
        solver: name of a diffrax solver, or the solver itself.
        rtol: relative tolerance of one step.
        atol: absolute tolerance of one step, in the unit of every field; None for rtol times the
            size that each field has in a problem: of its background with its spread.
        max_steps: most steps in a window, accepted and rejected together.
        max_columns: most inputs of a trajectory that is differentiated by its Jacobian.
    """

    solver: diffrax.AbstractSolver = eqx.field(default="Tsit5", converter=_solver)
    rtol: float = eqx.field(default=1e-8, static=True)
    atol: float | None = eqx.field(default=None, static=True)
    max_steps: int = eqx.field(default=4096, static=True)
    max_columns: int = eqx.field(default=64, static=True)

    def slot_steps(self, length: float) -> int:
        """The steps are found on the way."""
        del length
        return 1

    def derivatives(self, columns: int) -> str:
        """The mode that this many inputs get."""
        if columns <= self.max_columns:
            return f"forward Jacobian of the trajectory ({columns} columns)"
        return f"backpropagation through at most {self.max_steps} steps"

    def reverse_of_forward(self) -> bool:
        """Not of the loop that finds its steps on the way."""
        return False

    def may_end_early(self) -> str:
        """At `max_steps`."""
        return f"The integrator may have run out of its max_steps = {self.max_steps}"

    def of_size(self, sizes: State) -> AbstractIntegrator:
        """In units of the fields' sizes, unless it has an atol of its own."""
        return self if self.atol is not None else InUnits(self, sizes)

    def absolute_tolerance(self) -> float | None:
        """The atol that it was given."""
        return self.atol

    def states(self, ode: AbstractODE, x: State, theta: Params, edges: Array, steps: int) -> State:
        """Solution at the edges, by adaptive steps."""
        del steps
        z, unravel = ravel_pytree((x, theta))
        arrays, static = eqx.partition(ode, eqx.is_array)

        def solve(z: Array, data: tuple) -> State:
            (arrays, edges), (x, theta) = data, unravel(z)
            return self._forward(eqx.combine(arrays, static), x, theta, edges)

        if z.size > self.max_columns:
            return self._backward(ode, x, theta, edges)
        return differentiable_by_jacobian(solve)(z, jax.lax.stop_gradient((arrays, edges)))

    @eqx.filter_jit
    def _forward(self, ode: AbstractODE, x: State, theta: Params, edges: Array) -> State:
        """A plain loop of steps that end on edges and events; differentiable forward only."""
        z, unravel, tendency = _flat(ode, x, theta)
        atol = _atol(self)
        advance = _stepper(self.solver, tendency, self.rtol, atol)
        order = jnp.asarray(self.solver.error_order(_term(ode, x)))
        last, none, events = edges.shape[0] - 1, jnp.zeros((), int), event_times(ode, edges)
        saved = jnp.full((last + 1, *z.shape), jnp.nan, z.dtype).at[0].set(z)
        start = _StepsSoFar(edges[0], (edges[1] - edges[0]) / 100, z, saved, none + 1, none)

        def unfinished(p: _StepsSoFar) -> Array:
            moving = p.time + p.step > p.time
            return (p.edge <= last) & (p.steps < self.max_steps) & moving

        def try_step(p: _StepsSoFar) -> _StepsSoFar:
            edge = edges[p.edge]
            end, before_end = _next_stop(p.time, edge, events)
            arriving = p.time + p.step >= end
            t = jnp.where(arriving, before_end, p.time + p.step)
            y, error, solved = advance(p.time, t, p.state)
            size = atol + self.rtol * jnp.maximum(jnp.abs(p.state), jnp.abs(y))
            ratio = jax.lax.stop_gradient(jnp.sqrt(jnp.mean((error / size) ** 2)))
            accepted = (ratio <= 1) & solved
            step, met = _next_step(t - p.time, ratio, order, accepted), accepted & arriving
            reached = met & (end >= edge)
            return _StepsSoFar(
                jnp.where(accepted, jnp.where(arriving, end, t), p.time),
                jnp.where(met, jnp.maximum(step, p.step), step),
                jnp.where(accepted, y, p.state),
                p.saved.at[jnp.where(reached, p.edge, last + 1)].set(y, mode="drop"),
                p.edge + reached,
                p.steps + 1,
            )

        return jax.vmap(unravel)(jax.lax.while_loop(unfinished, try_step, start).saved)

    def _backward(self, ode: AbstractODE, x: State, theta: Params, edges: Array) -> State:
        """Diffrax's bounded loop, differentiable in both modes at any size."""
        events = jax.lax.stop_gradient(event_times(ode, edges))
        control = diffrax.ClipStepSizeController(
            diffrax.PIDController(rtol=self.rtol, atol=_atol(self)),
            step_ts=edges,
            jump_ts=events if events.size else None,
        )
        solution = diffrax.diffeqsolve(
            _term(ode, x),
            self.solver,
            edges[0],
            edges[-1],
            dt0=None,
            y0=x,
            args=theta,
            saveat=diffrax.SaveAt(ts=edges),
            stepsize_controller=control,
            max_steps=self.max_steps,
            adjoint=diffrax.DirectAdjoint(),
            throw=False,
        )
        return jax.tree.map(lambda y: jnp.where(jnp.isfinite(y), y, jnp.nan), solution.ys)


def _next_stop(time: Array, edge: Array, events: Array) -> tuple[Array, Array]:
    """Where the next step ends at the latest; and just before it, where an event is there."""
    if not events.size:
        return edge, edge
    index = jnp.searchsorted(events, time, side="right")
    event = jnp.where(index < events.size, events[jnp.minimum(index, events.size - 1)], jnp.inf)
    end = jnp.minimum(edge, event)
    rounding = 4 * jnp.finfo(end.dtype).eps * jnp.maximum(jnp.abs(time), jnp.abs(end))
    return end, jnp.where(event <= edge, jnp.maximum(end - rounding, time), end)


class _StepsSoFar(NamedTuple):
    """Carry of the loop of adaptive steps."""

    time: Array
    step: Array
    state: Array
    saved: Array
    edge: Array
    steps: Array


def _next_step(step: Array, ratio: Array, order: float | Array, accepted: Array) -> Array:
    """step·0.9·ratio^(-1/order) within [0.2, 10]; never longer after a rejection."""
    growth = 0.9 * jnp.maximum(ratio, 1e-10) ** (-1 / order)
    growth = jnp.where(jnp.isfinite(growth), jnp.clip(growth, 0.2, 10.0), 0.2)
    return step * jnp.where(accepted, growth, jnp.minimum(growth, 0.9))


class FixedStep(AbstractIntegrator):
    """Steps of equal length with a diffrax solver, at most `dt` long.

    Every slot gets as many steps as the longest slot needs. Differentiable in every mode with
    the checkpointing of the window, whatever the number of inputs.

    Args:
        dt: longest step, in the model's time unit.
        solver: name of a diffrax solver, or the solver itself.
        rtol: relative tolerance of an implicit solver's root finder.
        atol: absolute tolerance of an implicit solver's root finder; None as for `Adaptive`.
    """

    dt: float = eqx.field(static=True)
    solver: diffrax.AbstractSolver = eqx.field(default="Tsit5", converter=_solver)
    rtol: float = eqx.field(default=1e-10, static=True)
    atol: float | None = eqx.field(default=None, static=True)

    def of_size(self, sizes: State) -> AbstractIntegrator:
        """In units of the fields' sizes where an implicit solver has no atol of its own."""
        implicit = isinstance(self.solver, diffrax.AbstractImplicitSolver)
        return InUnits(self, sizes) if implicit and self.atol is None else self

    def absolute_tolerance(self) -> float | None:
        """The atol that it was given, where its solver is implicit."""
        return self.atol if isinstance(self.solver, diffrax.AbstractImplicitSolver) else None

    def slot_steps(self, length: float) -> int:
        """The fewest equal steps no longer than `dt`."""
        return max(1, -int(-length / self.dt * (1 - 1e-12) // 1))

    def derivatives(self, columns: int) -> str:
        """Through the steps themselves."""
        del columns
        return THROUGH_STEPS

    def states(self, ode: AbstractODE, x: State, theta: Params, edges: Array, steps: int) -> State:
        """Solution at the edges, by `steps` equal steps a slot."""
        _, unravel, tendency = _flat(ode, x, theta)
        advance = _stepper(self.solver, tendency, self.rtol, _atol(self))

        def take_step(ends: tuple[Array, Array], x: State, index: Array) -> tuple[State, None]:
            start, end = ends
            h = (end - start) / steps
            t = start + index * h
            return unravel(advance(t, t + h, ravel_pytree(x)[0])[0]), None

        return scan_slots(take_step, x, edges, steps)


def _atol(integrator: Adaptive | FixedStep) -> float:
    """Its own absolute tolerance, or what is relative to values of size 1."""
    return integrator.rtol if integrator.atol is None else integrator.atol


def differentiable_by_jacobian(
    function: Callable[[Array, tuple], State],
) -> Callable[[Array, tuple], State]:
    """Make a forward-only function f(z, data) differentiable in z in both modes.

    Its derivative is the product of the Jacobian ∂f/∂z, from one forward pass with a tangent
    for every entry of z, with the tangent: a product that transposes. The data are not
    differentiated.
    """
    wrapped = jax.custom_jvp(function)

    @wrapped.defjvp
    def rule(primals: tuple, tangents: tuple) -> tuple[State, State]:
        z, data = primals

        def push(tangent: Array) -> tuple[State, State]:
            return jax.jvp(lambda z: function(z, data), (z,), (tangent,))

        value, columns = jax.vmap(push, out_axes=(None, -1))(jnp.eye(z.size, dtype=z.dtype))
        return value, jax.tree.map(lambda jacobian: jacobian @ tangents[0], columns)

    return wrapped
