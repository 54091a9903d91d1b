"""Model error, and the trajectories of a model that has one."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import check_settings
from assim.problem.arrays import Array, Coordinate, Labels, Params, State
from assim.problem.bounds import Bounds
from assim.problem.covariance import AbstractCovariance, check_invertible
from assim.problem.covariance.state import (
    AbstractStateCovariance,
    StateCovariance,
    state_covariance,
)
from assim.problem.model import (
    AbstractDynamics,
    AbstractIntegrator,
    AbstractModel,
    AbstractODE,
    scan_slots,
)
from assim.problem.observation import ErrorScale
from assim.problem.window import Window

ACTS = ("jump", "tendency")
OBSERVED = ("before", "after")
_TENDENCY = "model_error:"  # prefix of η among the parameters of a forced model


def _bounds(given: Mapping[str, Bounds | tuple[float, float]]) -> dict[str, Bounds]:
    return {n: b if isinstance(b, Bounds) else Bounds(*b) for n, b in given.items()}


class ModelError(eqx.Module):
    """Error of the model: η ~ N(0, s²·Q_t⊗Q), one η_k for each group of slots.

        x(t_k) = M(x(t_(k-1))) + η_k            acts="jump", at the group's end; field unit
        dx/dt = f(x, θ, t) + η_k                acts="tendency", throughout the group; field unit
                                                per time unit (a stepping model: + η_k dt a step)

    A field with bounds keeps to them: with its g of `Bounds` the jump is g(x(t_k)) = g(M) + η_k,
    and Q and η are those of g, which has no unit: of log x for a positive field.

    Trémolet (2006), "Accounting for an imperfect model in 4D-Var", equations 4 and 8.

    Args:
        covariance: Q of one η: one covariance for all fields alike, one a field, or a joint one;
            fields without one have no model error.
        in_time: Q_t, correlation of the series η_1 … η_K of each white entry, as from
            `Autoregressive`, of variance 1; None for independent ones.
        every: slots in a group.
        acts: "jump" or "tendency".
        scale: an estimated factor s on the amplitude, or None for 1.
        observed: whether observations at the edge of a jump see the state "before" or "after" it.
        jump_at_end: whether there is a jump at the window's end; if not, the last group has none.
        bounds: of fields that keep to bounds: a `Bounds`, or a pair (lower, upper), each.
    """

    covariance: StateCovariance
    in_time: AbstractCovariance | None = None
    every: int = eqx.field(default=1, static=True)
    acts: str = eqx.field(default="jump", static=True)
    scale: ErrorScale | None = None
    observed: str = eqx.field(default="after", static=True)
    jump_at_end: bool = eqx.field(default=True, static=True)
    bounds: dict[str, Bounds] = eqx.field(default_factory=dict, converter=_bounds)

    def __check_init__(self) -> None:
        check_settings(self, acts=ACTS, observed=OBSERVED)
        if self.every < 1:
            raise ValueError(f"ModelError: every must be at least 1 slot, got {self.every}")
        keys = {
            'observed="before"': self.observed == "before",
            "jump_at_end=False": not self.jump_at_end,
            "bounds": bool(self.bounds),
        }
        if self.acts == "tendency" and any(keys.values()):
            key = next(key for key, given in keys.items() if given)
            raise ValueError(
                f'ModelError: {key} is for jumps, and acts="tendency" makes none; drop it, or '
                'use acts="jump"'
            )

    @property
    def joint(self) -> AbstractStateCovariance:
        """Q over all its fields, once fitted to a model by `on`."""
        assert isinstance(self.covariance, AbstractStateCovariance)
        return self.covariance

    def on(self, model: AbstractDynamics, window: Window) -> Self:
        """This model error for a model and a window.

        Raises:
            ValueError: groups that do not fill the window, covariances that do not fit, or a
                T whose variance is not 1.
        """
        labels = model.labels()
        if window.slots % self.every:
            raise ValueError(
                f"ModelError: groups of {self.every} slots do not fill a window of "
                f"{window.slots}; choose a divisor"
            )
        ends = np.asarray(window.edges)[self.every :: self.every][: self.number(window)]
        if not ends.size:
            raise ValueError(
                "ModelError: one group of slots without a jump at its end has no model error; let "
                "fewer slots share one (every), drop jump_at_end, or use a strong constraint"
            )
        time = Coordinate(ends, labels.time_unit)
        series = None if self.in_time is None else self.in_time.on((ends.size,), (time,))
        if series is not None and not np.allclose(series.variance(), 1.0, rtol=1e-6):
            raise ValueError(
                "ModelError: in_time is a correlation, and its variance must be 1 at all times; "
                "give it stdev = 1, and the size of the errors to the covariance"
            )
        fitted = state_covariance(self.covariance, labels.state).on(labels)
        if unknown := [name for name in self.bounds if name not in fitted.fields()]:
            raise ValueError(
                f"ModelError: bounds are given for {unknown[0]!r}, which has no model error; drop "
                "them, or give it a covariance"
            )
        return dataclasses.replace(self, covariance=fitted, in_time=series)

    def number(self, window: Window) -> int:
        """Number of η: one a group, but for a last one without a jump."""
        return window.slots // self.every - (not self.jump_at_end)

    def blank(self, number: int) -> dict[str, Array]:
        """White series of every block for this many η, as zeros."""
        length = number if self.in_time is None else self.in_time.size()
        return {name: jnp.zeros((length, size)) for name, size in self.joint.sizes().items()}

    def sqrt(self, white: dict[str, Array]) -> State:
        """η/s, leading dimension groups, from white series."""
        if self.in_time is not None:
            white = {n: jax.vmap(self.in_time.sqrt, 1, 1)(w) for n, w in white.items()}
        return self._every_group(jax.vmap(self.joint.sqrt)(white))

    def whiten(self, eta: State) -> dict[str, Array]:
        """White series from s·η with s = 1."""
        if not self.jump_at_end:
            eta = {name: value[:-1] for name, value in eta.items()}
        white = jax.vmap(self.joint.whiten)(eta)
        if self.in_time is not None:
            white = {n: jax.vmap(self.in_time.whiten, 1, 1)(w) for n, w in white.items()}
        return white

    def at_jumps(self, states: State) -> State:
        """Of states at all slot edges those at the groups' ends, where these have a jump."""
        last = None if self.jump_at_end else -1
        return {name: value[self.every : last : self.every] for name, value in states.items()}

    def free(self, states: State) -> State:
        """States as model errors are added to them: g(x) of fields with bounds, x of others."""
        return {n: self.bounds[n].free(v) if n in self.bounds else v for n, v in states.items()}

    def bounded(self, states: State) -> State:
        """States x from such: of fields with bounds from g(x)."""
        return {n: self.bounds[n].bounded(v) if n in self.bounds else v for n, v in states.items()}

    def moved(self, states: State, eta: State) -> State:
        """States after jumps η, for the fields that have some."""
        free = self.free({name: states[name] for name in eta})
        return self.bounded({name: free[name] + jump for name, jump in eta.items()})

    def before(self, states: State, eta: State) -> State:
        """States at all slot edges, at those with a jump the state before it: x(t_k) - η_k."""
        ends = slice(self.every, None, self.every)
        after = {name: states[name][ends] for name in eta}
        back = self.moved(after, {name: -jump for name, jump in eta.items()})
        return {**states, **{name: states[name].at[ends].set(v) for name, v in back.items()}}

    def check_states(self, fields: Iterable[str]) -> None:
        """Raise ValueError where states at the groups' ends cannot be the control in place of η.

        Args:
            fields: of the state, each of which needs a model error then.
        """
        without = [name for name in fields if name not in self.joint.fields()]
        if without:
            raise ValueError(
                f"model error: the state formulation needs one in every field, {without[0]!r} has "
                'none; give it a covariance, or use formulation="forcing"'
            )
        check_invertible(self.joint, "model error in the state formulation")
        if self.in_time is not None:
            check_invertible(self.in_time, "model error in the state formulation, in time")
        if self.acts != "jump":
            raise ValueError(
                "model error: in the state formulation model errors are jumps; use "
                'acts="jump", or formulation="forcing"'
            )

    def stdev(self, number: int) -> State:
        """Standard deviation of η/s, leading dimension groups; 0 for one without a jump."""
        variance = jnp.ones(number) if self.in_time is None else self.in_time.variance()
        outer = lambda v: variance.reshape(-1, *[1] * v.ndim) * v[None]  # noqa: E731
        spread = {name: jnp.sqrt(outer(v)) for name, v in self.joint.variance().items()}
        return self._every_group(spread)

    def _every_group(self, eta: State) -> State:
        """With a zero for a last group without a jump."""
        if self.jump_at_end:
            return eta
        return {n: jnp.concatenate([v, jnp.zeros_like(v[:1])]) for n, v in eta.items()}


def sequential_states(
    model: AbstractDynamics,
    x0: State,
    theta: Params,
    window: Window,
    error: ModelError | None,
    eta: State,
    horizon: Array | None = None,
) -> State:
    """Every field at every slot edge, one group of slots after the other, from x0 at the start.

    Args:
        error: how η acts; None where there is none, and a group is a slot.
        eta: model errors, fields with leading dimension groups.
        horizon: time from which groups on the state stands still, so that no model runs there.
    """
    every = 1 if error is None else error.every
    forced = error is not None and error.acts == "tendency"

    def run(x: State, edges: Array, now: State) -> State:
        if forced:
            return _forced_states(model, x, theta, now, edges, window.steps)
        states = model.states(x, theta, edges, window.steps)
        if error is None:
            return states
        after = error.moved({name: states[name][-1] for name in now}, now)
        return {**states, **{name: states[name].at[-1].set(v) for name, v in after.items()}}

    def rest(x: State, edges: Array, now: State) -> State:
        del edges, now
        return {n: jnp.broadcast_to(v, (every + 1, *v.shape)) for n, v in x.items()}

    def group(x: State, inputs: tuple[Array, State]) -> tuple[State, State]:
        edges, now = inputs
        if horizon is None:
            states = run(x, edges, now)
        else:
            begun = edges[0] + 1e-3 * (edges[1] - edges[0]) < horizon
            states = jax.lax.cond(begun, run, rest, x, edges, now)
        return {n: v[-1] for n, v in states.items()}, {n: v[1:] for n, v in states.items()}

    edges = _group_edges(window, every)
    body = jax.checkpoint(group, prevent_cse=False) if every > 1 else group
    _, later = jax.lax.scan(body, x0, (edges, eta))
    flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in later.items()}
    return {name: jnp.concatenate([x0[name][None], flat[name]]) for name in x0}


def parallel_states(
    model: AbstractDynamics,
    x0: State,
    theta: Params,
    window: Window,
    error: ModelError,
    later: State,
) -> tuple[State, State]:
    """The same, and the jumps g(x_k) - g(M(x_(k-1))), all groups integrated at once.

    `later` are the states after the jumps at the groups' ends; where the last group has none, its
    jump is 0. Jumps have the leading dimension groups; g(x) is x for fields without bounds.
    """
    every = error.every
    others = window.slots // every - 1
    starts = {name: jnp.concatenate([x0[name][None], later[name][:others]]) for name in x0}
    run = lambda x, edges: model.states(x, theta, edges, window.steps)  # noqa: E731
    pieces = jax.vmap(run)(starts, _group_edges(window, every))
    free = {name: p[:, -1] for name, p in pieces.items()}
    ends = {n: jnp.concatenate([v, free[n][len(v) :]]) for n, v in later.items()}
    after, without = error.free(ends), error.free(free)
    jumps = {name: after[name] - without[name] for name in x0}
    kept = {name: p[:, :-1].reshape(-1, *p.shape[2:]) for name, p in pieces.items()}
    return {name: jnp.concatenate([kept[name], ends[name][-1:]]) for name in x0}, jumps


def _group_edges(window: Window, every: int) -> Array:
    """Slot edges of every group, shape (groups, every + 1)."""
    first = np.arange(0, window.slots, every)
    return window.edges[first[:, None] + np.arange(every + 1)]


def _forced_states(
    model: AbstractDynamics, x: State, theta: Params, eta: State, edges: Array, steps: int
) -> State:
    """States of the model to whose tendency η is added, to every step of a stepping one η dt."""
    if isinstance(model, AbstractODE):
        added = {f"{_TENDENCY}{name}": value for name, value in eta.items()}
        forced = _ForcedODE(model=model, parameters=model.parameters, integrator=model.integrator)
        return forced.states(x, {**theta, **added}, edges, steps)
    if not isinstance(model, AbstractModel):
        raise ValueError(
            f"ModelError: {type(model).__name__} has neither a step nor a tendency to add to; "
            'use acts="jump"'
        )
    dt = model.dt

    def advance(ends: tuple[Array, Array], x: State, index: Array) -> tuple[State, None]:
        after = model.step(x, theta, ends[0] + index * dt)
        return {**after, **{name: after[name] + dt * value for name, value in eta.items()}}, None

    return scan_slots(advance, x, edges, steps)


class _ForcedODE(AbstractODE):
    """An ODE model with η, which it finds among its parameters, added to its tendency."""

    model: AbstractODE
    parameters: Params
    integrator: AbstractIntegrator

    def labels(self) -> Labels:
        return self.model.labels()

    def tendency(self, x: State, theta: Params, t: Array) -> State:
        eta = {n.removeprefix(_TENDENCY): v for n, v in theta.items() if n.startswith(_TENDENCY)}
        own = {n: v for n, v in theta.items() if not n.startswith(_TENDENCY)}
        tendency = self.model.tendency(x, own, t)
        return {**tendency, **{name: tendency[name] + value for name, value in eta.items()}}
