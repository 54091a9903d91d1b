"""What readings lose between slot edges, where a trajectory that bends is taken to be linear."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.analysed import AnalysedWindow
from assim.analysis.forecast import Forecast, StartMembers
from assim.devices import program
from assim.problem.arrays import Grid, Params, State, Trajectory
from assim.problem.assumed import error_variance
from assim.problem.departure import Problem, Simulation
from assim.problem.model import AbstractDynamics, AbstractODE
from assim.problem.model_error import ModelError
from assim.problem.observable import reads
from assim.problem.observation import Observations

Array = jax.Array

NOTICED = 0.3  # standard deviations of an observation's error from which the error is told
_PARTS = 4  # of a slot, at whose ends the bent trajectory is held
_ON_EDGE = 1e-9  # of the window: how far from an edge a reading is on it
_SAME = 0.01  # of an observation's error: what operators that are linear in time agree to
WAY_OUT = (
    "what is estimated; give more slots, or slot edges at the readings "
    '(window.times = "observations")'
)


class Bent(NamedTuple):
    """An instrument whose readings between slot edges are predicted wrongly.

    Args:
        name: of the instrument.
        many: how many of its readings, of `total`, err by more than 0.3 of their standard
            deviations.
        total: readings that count.
        worst: the largest such error, in standard deviations of the reading's error.
        time: of that reading, in the model's unit since the window's reference.
    """

    name: str
    many: int
    total: int
    worst: float
    time: float

    def words(self, when: str, way_out: str = WAY_OUT) -> str:
        """For people, with the time of the worst."""
        return (
            f"{self.many} of {self.total} readings lie between slot edges where the trajectory "
            f"bends: taking it to be linear there errs by up to about {self.worst:.2g} standard "
            f"deviations of their errors ({when}), which biases {way_out}"
        )


def bent_between_edges(problem: Problem, simulation: Simulation) -> tuple[Bent, ...]:
    """Instruments that err between slot edges by more than 0.3 of their standard deviations.

    See `errors_between_edges`, here for the model's own part of the trajectory, without jumps.
    """
    if not _any_between(problem.observations, np.asarray(problem.window.edges)):
        return ()
    physical = simulation.control
    error, eta = problem.control.model_error, physical.model_error
    bends = own_bends(problem.model, simulation.trajectory, error, eta)
    given = (simulation.seen, bends, physical.scales, physical.biases)
    return tuple(_of_each(problem.observations, *given))


def bent_ahead(
    model: AbstractDynamics,
    several: Sequence[Observations],
    ahead: Forecast,
    draws: StartMembers,
    jumps: bool = False,
) -> tuple[Bent, ...]:
    """The same of a forecast and what it is compared with, at its first member.

    Args:
        model: M.
        several: the instruments.
        ahead: the forecast.
        draws: that it was made of, with scales and bias coefficients.
        jumps: whether members have model errors, which bend every one: then at their mean.
    """

    def typical(part: Mapping[str, Array | np.ndarray]) -> Params:
        values = {name: np.asarray(value) for name, value in part.items()}
        return {n: jnp.asarray(v.mean(axis=0) if jumps else v[0]) for n, v in values.items()}

    grid, whole = Grid.of(ahead.labels), ahead.finite
    trajectory = Trajectory(
        ahead.window.edges, typical(ahead.members), typical(ahead.parameters), grid
    )
    of_errors = (
        {n: np.asarray(v)[whole] for n, v in p.items()} for p in (draws.scales, draws.biases)
    )
    bends = own_bends(model, trajectory)
    return tuple(_of_each(several, trajectory, bends, *map(typical, of_errors)))


def bent_in_window(
    model: AbstractDynamics, several: Sequence[Observations], analysed: AnalysedWindow
) -> tuple[Bent, ...]:
    """The same of a window of a cycle without model error, at its analysis."""
    medians = {o.scale.name: o.scale.prior(jnp.zeros(())) for o in several if o.scale is not None}
    scalars = {**model.parameters, **medians, **analysed.scalars}
    theta = {name: jnp.asarray(scalars[name]) for name in model.parameters}
    states = {name: jnp.asarray(value) for name, value in analysed.analysis.items()}
    edges = jnp.asarray(analysed.window.edges)
    trajectory = Trajectory(edges, states, theta, Grid.of(analysed.labels))
    return tuple(_of_each(several, trajectory, own_bends(model, trajectory), scalars, scalars))


def _of_each(
    several: Sequence[Observations],
    trajectory: Trajectory,
    bends: State,
    scales: Params,
    biases: Params,
) -> Iterator[Bent]:
    """Those of several instruments that err by more than 0.3 standard deviations."""
    edges = np.asarray(trajectory.times)
    for o in several:
        if not _any_between([o], edges):
            continue
        error = np.abs(errors_between_edges(o, trajectory, bends, scales, biases))
        error = np.where(o.counted() & np.isfinite(error), error, 0.0)
        if error.size and error.max() > NOTICED:
            row, number = int(np.argmax(error)), int((error > NOTICED).sum())
            total, time = int(o.counted().sum()), float(o.points.times[row])
            yield Bent(o.name, number, total, float(error[row]), time)


def errors_between_edges(
    o: Observations, trajectory: Trajectory, bends: State, scales: Params, biases: Params
) -> np.ndarray:
    """What linear interpolation in time adds to each prediction, over its error's σ, shape (m,).

        H(x) - H(x - w(1 - w)/2 h² x''),        w the fraction of a slot of length h

    With x'' of `own_bends`. An operator that reads the edges themselves, and does not interpolate
    between them, has no such error: zeros.
    """
    nothing = jax.tree.map(jnp.zeros_like, bends)
    linear, bent = (_finer(trajectory, b) for b in (nothing, bends))
    if not reads(o, linear, biases):
        return np.zeros(o.values.shape)
    error, between = _errors(o, trajectory, linear, bent, (scales, biases))
    off = np.asarray(between)
    interpolates = np.all(np.abs(off[np.isfinite(off)]) < _SAME)
    return np.asarray(error) if interpolates else np.zeros(o.values.shape)


@program
def _errors(
    o: Observations,
    trajectory: Trajectory,
    linear: Trajectory,
    bent: Trajectory,
    given: tuple[Params, Params],
) -> tuple[Array, Array]:
    """The errors, and what an operator reads as more where more edges hold the same lines."""
    scales, biases = given
    plain = o.predict(trajectory, biases)
    straight = o.predict(linear, biases)
    sigma = jnp.sqrt(error_variance(o, plain, scales))
    return (straight - o.predict(bent, biases)) / sigma, (straight - plain) / sigma


def own_bends(
    model: AbstractDynamics,
    trajectory: Trajectory,
    error: ModelError | None = None,
    eta: State | None = None,
) -> State:
    """x'' of every slot, of the model alone, fields with leading dimension slots.

    Of the second divided differences at a slot's two edges that of larger size: where a forcing
    bends the trajectory once, one of them sees it. Where there is one slot the tendencies at its
    ends give it, if the model has such.
    """
    lengths, states = jnp.diff(trajectory.times), trajectory.states
    if lengths.size == 1 and isinstance(model, AbstractODE):
        both = (trajectory.at_start(), trajectory.at_end())
        first, last = (
            model.tendency(x, trajectory.parameters, t)
            for x, t in zip(both, trajectory.times, strict=True)
        )
        return {name: ((last[name] - first[name]) / lengths[0])[None] for name in states}
    eta = eta or {}
    ends = states if error is None or error.acts != "jump" else error.before(states, eta)
    bends = {}
    for name, state in states.items():
        slopes = (ends[name][1:] - state[:-1]) / _along(lengths, state)
        if error is not None and error.acts == "tendency" and name in eta:
            slopes = slopes - jnp.repeat(eta[name], error.every, axis=0)
        bends[name] = _largest(slopes, lengths)
    return bends


def _largest(slopes: Array, lengths: Array) -> Array:
    """Second derivatives of slots from slopes, the larger of those at both edges of a slot."""
    if lengths.size == 1:
        return jnp.zeros_like(slopes)
    inner = 2 * jnp.diff(slopes, axis=0) / _along(lengths[1:] + lengths[:-1], slopes)
    first, last = inner[:1], inner[-1:]
    if lengths.size > 2:
        first = _beyond(inner[0], inner[1], lengths[0] / lengths[1])[None]
        last = _beyond(inner[-1], inner[-2], lengths[-1] / lengths[-2])[None]
    before, after = jnp.concatenate([first, inner]), jnp.concatenate([inner, last])
    return jnp.where(jnp.abs(before) > jnp.abs(after), before, after)


def _beyond(near: Array, far: Array, ratio: Array) -> Array:
    """A second derivative at an end of the window, on the line through the two nearest.

    At most twice the nearest, and of its sign: a single bend further off is none here.
    """
    line, bounds = near + (near - far) * ratio, (jnp.zeros_like(near), 2 * near)
    return jnp.clip(line, jnp.minimum(*bounds), jnp.maximum(*bounds))


def _finer(trajectory: Trajectory, bends: State) -> Trajectory:
    """The trajectory at the ends of quarters of its slots, bent between its edges."""
    lengths, w = jnp.diff(trajectory.times), jnp.arange(_PARTS) / _PARTS
    times = (trajectory.times[:-1, None] + w[None] * lengths[:, None]).ravel()
    states = {}
    for name, x in trajectory.states.items():
        share = w.reshape(1, -1, *[1] * (x.ndim - 1))
        h = _along(lengths, x)[:, None]
        linear = (1 - share) * x[:-1, None] + share * x[1:, None]
        inside = linear - share * (1 - share) / 2 * h**2 * bends[name][:, None]
        states[name] = jnp.concatenate([inside.reshape(-1, *x.shape[1:]), x[-1:]])
    times = jnp.concatenate([times, trajectory.times[-1:]])
    return Trajectory(times, states, trajectory.parameters, trajectory.grid)


def _along(lengths: Array, field: Array) -> Array:
    """Lengths of slots, to multiply a field that has them as its leading dimension."""
    return lengths.reshape(-1, *[1] * (field.ndim - 1))


def _any_between(several: Sequence[Observations], edges: np.ndarray) -> bool:
    """Whether any reading is off the edges, or covers an interval of time that is looked at."""
    slack = _ON_EDGE * math.fabs(edges[-1] - edges[0])
    for o in several:
        p, counted = o.points, o.counted()
        times, starts, ends = (np.asarray(t)[counted] for t in (p.times, p.starts, p.ends))
        above = np.clip(np.searchsorted(edges, times), 1, edges.size - 1)
        off = np.minimum(np.abs(times - edges[above]), np.abs(times - edges[above - 1]))
        wide = o.operator.reads_intervals() and bool(np.any(ends - starts > slack))
        if wide or bool(np.any(off > slack)):
            return True
    return False
