"""A forecast from draws of a posterior: every draw run through the model, and what that predicts.

x_i(t_k) = M(x_i(t_(k-1)), θ_i) + η_(i,k),        i = 1 … N
"""

import dataclasses
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.devices import over_members, program
from assim.problem.arrays import Coordinate, Grid, Labels, Params, State, Trajectory
from assim.problem.forcing import check_span
from assim.problem.in_units import of_size
from assim.problem.model import AbstractDynamics
from assim.problem.model_error import ModelError, sequential_states
from assim.problem.observation import Observations
from assim.problem.predictive import BATCH_VALUES
from assim.problem.window import Window, integrate
from assim.statistics.scores import quantile_interval

Array = jax.Array
Fields = dict[str, np.ndarray]

QUANTILES = {"q05": 0.05, "q50": 0.5, "q95": 0.95}


class StartMembers(NamedTuple):
    """Members of a posterior at one time; every array has the leading dimension of members.

    Args:
        state: every field.
        parameters: of the model; those that are not here keep the model's own values.
        scales: factors on errors.
        biases: coefficients of the bias corrections.
    """

    state: State
    parameters: Params
    scales: Params
    biases: Params

    def size(self) -> int:
        """N."""
        return jax.tree.leaves(self.state)[0].shape[0]

    def taken(self, index: np.ndarray) -> "StartMembers":
        """The members of these numbers."""
        return jax.tree.map(lambda leaf: leaf[index], self)


class Past(NamedTuple):
    """Model errors before a forecast, with which those in it are correlated in time.

    Args:
        edges: slot edges of the window that ends where the forecast starts.
        series: of every white entry of Q^(1/2) by block, of variance 1, shape (N, groups, size).
    """

    edges: np.ndarray
    series: dict[str, Array]


class _Onward(NamedTuple):
    """What a series in time is after its past u: gain·u + root·w, w ~ N(0, I)."""

    gain: Array
    root: Array


@dataclass(frozen=True)
class Forecast:
    """An ensemble of trajectories, and its moments over the members that are finite.

    Args:
        window: slot edges at which it is kept, the start of the forecast first.
        labels: the model's.
        members: every field of every finite member, shape (M, edges, …).
        seen: the same as instruments see it, where that is before jumps of the model error; else
            empty.
        parameters: of these members, shape (M, …).
        finite: which of the N draws these are, shape (N,).
        mean: of every field, shape (edges, …); NaN where no member is finite.
        stdev: standard deviation, with M - 1 in the denominator; zero where M is 1.
        quantiles: "q05", "q50" and "q95" of every field.
    """

    window: Window
    labels: Labels
    members: Fields
    seen: Fields
    parameters: Fields
    finite: np.ndarray
    mean: Fields
    stdev: Fields
    quantiles: Mapping[str, Fields]

    @property
    def size(self) -> int:
        """M, the number of finite members."""
        return int(self.finite.sum())

    @property
    def left_out(self) -> int:
        """Number of draws at which the model is not finite."""
        return int((~self.finite).sum())


def forecast(
    model: AbstractDynamics,
    state: Mapping[str, Array | np.ndarray],
    parameters: Mapping[str, Array | np.ndarray],
    window: Window,
    *,
    model_error: ModelError | None = None,
    amplitude: Array | None = None,
    past: Past | None = None,
    first: int = 0,
    seed: int = 0,
) -> Forecast:
    """Run every draw through the model.

        x̄(t) = Σ_i x_i(t)/M,    s(t)² = Σ_i (x_i(t) - x̄(t))²/(M - 1)

    Members are integrated together in batches, in one compiled program. Those that are not finite
    at all edges, before `first` too, are left out.

    Args:
        model: M.
        state: draws of every field at the window's start, shape (N, …).
        parameters: draws of parameters, shape (N, …); the others keep the model's values.
        window: the slots.
        model_error: drawn anew for every member, from its own distribution; None for none. Every
            group of slots has a jump at its end, the last one too.
        amplitude: of every member's model errors, shape (N,); 1 where not given.
        past: every member's model errors before the window, given which those in it are drawn
            where they are correlated in time; None where nothing is known of them.
        first: slot edge from which trajectories are kept.
        seed: of the model errors.

    Raises:
        ValueError: draws that do not fit the model or one another, a model error that does not
            fit the window, or an input of the model that does not span it.
    """
    number = _checked(model, state, parameters)
    check_span(model, window)
    model = of_size(model, lambda: state)
    if model_error is not None:
        model_error = dataclasses.replace(model_error, jump_at_end=True)
    fitted = None if model_error is None else model_error.on(model, window)
    onward = None if model_error is None else _onward(model_error, past, window)
    fixed = {n: np.asarray(v, float) for n, v in model.parameters.items()}
    theta = {
        **{n: np.broadcast_to(v, (number, *v.shape)) for n, v in fixed.items()},
        **parameters,
    }
    draws = (
        {name: jnp.asarray(value) for name, value in state.items()},
        {name: jnp.asarray(value) for name, value in theta.items()},
        jnp.ones(number) if amplitude is None else jnp.asarray(amplitude),
        {} if past is None or onward is None else past.series,
        jax.random.split(jax.random.key(seed), number),
    )
    batch = _batch(state, number, window.slots)
    several = _states(model, window, fitted, onward, draws, first, batch)
    kept = Window(window.edges[first:], window.steps, window.reference)
    states, seen = ({n: np.asarray(v) for n, v in part.items()} for part in several)
    return _with_moments(kept, model.labels(), states, seen, theta)


def _checked(
    model: AbstractDynamics,
    state: Mapping[str, Array | np.ndarray],
    parameters: Mapping[str, Array | np.ndarray],
) -> int:
    """N, of draws that fit the model."""
    labels = model.labels()
    if set(state) != set(labels.state):
        raise ValueError(f"forecast: expected the fields {sorted(labels.state)}, got {[*state]}")
    if unknown := sorted(set(parameters) - set(model.parameters)):
        raise ValueError(f"forecast: the model has no parameter {unknown[0]!r}")
    number = len(next(iter(state.values())))
    shapes = {name: labels.shape(name) for name in [*state, *parameters]}
    for name, value in [*state.items(), *parameters.items()]:
        if np.shape(value) != (number, *shapes[name]):
            raise ValueError(
                f"forecast: {name!r} must have shape {(number, *shapes[name])}, draws first, got "
                f"{np.shape(value)}"
            )
    return number


def _batch(state: Mapping[str, Array | np.ndarray], number: int, slots: int) -> int:
    """Members that are integrated together."""
    per_member = sum(int(np.prod(np.shape(value)[1:])) for value in state.values()) * (slots + 1)
    return max(1, min(number, BATCH_VALUES // per_member))


@program
def _states(
    model: AbstractDynamics,
    window: Window,
    error: ModelError | None,
    onward: _Onward | None,
    draws: tuple[State, Params, Array, dict[str, Array], Array],
    first: int,
    batch: int,
) -> tuple[State, State]:
    """Every field of every member from the edge `first` on; NaN of members that are not finite.

    And the same as instruments see it, where that differs.
    """
    before = error is not None and error.observed == "before"

    def member_states(
        given: tuple[State, Params, Array, dict[str, Array], Array],
    ) -> tuple[State, State]:
        x, theta, amplitude, past, key = given
        eta: State = {}
        if error is None:
            states = integrate(model, x, theta, window).states
        else:
            series = _series(error, window, key, onward, past)
            eta = {n: amplitude * v for n, v in series.items()}
            states = sequential_states(model, x, theta, window, error, eta)
        finite = jnp.stack([jnp.all(jnp.isfinite(value)) for value in states.values()]).all()
        seen = error.before(states, eta) if error is not None and before else {}
        kept = lambda part: {n: jnp.where(finite, v[first:], jnp.nan) for n, v in part.items()}  # noqa: E731
        return kept(states), kept(seen)

    return over_members(member_states, draws, batch)


def _series(
    error: ModelError,
    window: Window,
    key: Array,
    onward: _Onward | None,
    past: dict[str, Array],
) -> State:
    """One draw of η/s for every group of slots."""
    blank = error.blank(error.number(window))
    keys = dict(zip(sorted(blank), jax.random.split(key, len(blank)), strict=True))
    if onward is None:
        return error.sqrt({n: jax.random.normal(keys[n], v.shape) for n, v in blank.items()})
    drawn = {n: jax.random.normal(keys[n], (len(onward.root), v.shape[1])) for n, v in past.items()}
    series = {n: onward.gain @ past[n] + onward.root @ w for n, w in drawn.items()}
    return jax.vmap(error.joint.sqrt)(series)


def _onward(error: ModelError, past: Past | None, window: Window) -> _Onward | None:
    """The conditional Gaussian of the series in the window given its past, from T = LLᵀ.

    u_f = L_fp L_pp⁻¹ u_p + L_ff w
    """
    if error.in_time is None or past is None:
        return None
    ends = [np.asarray(edges)[error.every :: error.every] for edges in (past.edges, window.edges)]
    known = next(iter(past.series.values())).shape[1]  # the past may end without a jump
    ends[0] = ends[0][:known]
    times = np.concatenate(ends)
    fitted = error.in_time.on((times.size,), (Coordinate(times),))
    transposed = np.asarray(jax.jit(jax.vmap(fitted.sqrt))(jnp.eye(fitted.size())))
    lower = np.linalg.cholesky(transposed.T @ transposed + 1e-12 * np.eye(times.size))
    k = ends[0].size
    gain = np.linalg.solve(lower[:k, :k].T, lower[k:, :k].T).T
    return _Onward(jnp.asarray(gain), jnp.asarray(lower[k:, k:]))


def _with_moments(
    window: Window,
    labels: Labels,
    states: Fields,
    seen: Fields,
    theta: Mapping[str, Array | np.ndarray],
) -> Forecast:
    """The forecast that members of these states make."""
    whole = [np.isfinite(v).reshape(len(v), -1).all(axis=1) for v in states.values()]
    finite = np.all(whole, axis=0)
    members, read = ({n: v[finite] for n, v in part.items()} for part in (states, seen))
    moments = {name: member_moments(value) for name, value in members.items()}
    mean, stdev, *others = ({n: m[i] for n, m in moments.items()} for i in range(5))
    kept = {name: np.asarray(value)[finite] for name, value in theta.items()}
    quantiles = dict(zip(QUANTILES, others, strict=True))
    return Forecast(window, labels, members, read, kept, finite, mean, stdev, quantiles)


def member_moments(members: np.ndarray) -> list[np.ndarray]:
    """Mean, standard deviation and quantiles over the first dimension; NaN of no members.

    Another member lies between the outer quantiles with just their probability.
    """
    if not len(members):
        return [np.full(members.shape[1:], np.nan)] * (2 + len(QUANTILES))
    stdev = np.std(members, axis=0, ddof=min(1, len(members) - 1))
    low, high = quantile_interval(members, QUANTILES["q95"] - QUANTILES["q05"])
    return [np.mean(members, axis=0), stdev, low, np.median(members, axis=0), high]


class Readings(NamedTuple):
    """What an instrument would read of every member of a forecast.

    Args:
        exact: H(x_i), without errors, shape (M, m).
        drawn: the same with the instrument's errors, shape (M, m).
        log_densities: log p(y_j | x_i), shape (M, m); None where errors are correlated.
        counted: which of the readings have a weight above 0, shape (m,).
    """

    exact: np.ndarray
    drawn: np.ndarray
    log_densities: np.ndarray | None
    counted: np.ndarray


def predicted_readings(
    forecast: Forecast, observations: Observations, draws: StartMembers, seed: int = 0
) -> Readings:
    """Readings of one instrument for every member of a forecast, y_i ~ p(y | x_i).

    Scales and bias coefficients are those of the draws that the forecast was made of.

    Raises:
        ValueError: an error scale or a bias coefficient that is not among the draws.
    """
    asked = [] if observations.scale is None else [observations.scale.name]
    for name in [*asked, *(observations.bias.priors if observations.bias else ())]:
        if name not in draws.scales and name not in draws.biases:
            raise ValueError(f"{observations.name}: {name!r} is not among what was estimated")
    several = jax.tree.map(
        lambda leaf: jnp.asarray(np.asarray(leaf)[forecast.finite]), (draws.scales, draws.biases)
    )
    read = forecast.seen or forecast.members
    states = {name: jnp.asarray(value) for name, value in read.items()}
    theta = {name: jnp.asarray(value) for name, value in forecast.parameters.items()}
    own = jax.random.fold_in(jax.random.key(seed), zlib.crc32(observations.name.encode()))
    keys = jax.random.split(own, forecast.size)
    batch = _batch(forecast.members, forecast.size, forecast.window.slots)
    given = (states, theta, *several, keys)
    grid = Grid.of(forecast.labels)
    exact, drawn, densities = _readings(observations, forecast.window.edges, grid, given, batch)
    each = np.asarray(densities) if observations.covariance.independent() else None
    return Readings(np.asarray(exact), np.asarray(drawn), each, observations.counted())


@program
def _readings(
    o: Observations, edges: Array, grid: Grid, given: tuple, batch: int
) -> tuple[Array, Array, Array]:
    def member_readings(
        member: tuple[State, Params, Params, Params, Array],
    ) -> tuple[Array, Array, Array]:
        states, theta, scales, biases, key = member
        exact = o.predict(Trajectory(edges, states, theta, grid), biases)
        scale = jnp.ones(()) if o.scale is None else scales[o.scale.name]
        drawn = o.likelihood.sample(key, exact, o.covariance, scale)
        if not o.covariance.independent():
            return exact, drawn, jnp.zeros(())
        each = o.likelihood.log_densities(o.values, exact, o.covariance, scale)
        return exact, drawn, jnp.where(jnp.isnan(each), -jnp.inf, each)

    return over_members(member_readings, given, batch)
