"""What every instrument would read at all slot edges: through gaps, with what is unknown of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.analyse import Analysis
from assim.analysis.finding import AbstractFinding, Variable
from assim.analysis.forecast import Forecast, StartMembers, member_moments, predicted_readings
from assim.analysis.posterior import Posterior
from assim.devices import program
from assim.problem.arrays import Array, Grid, Params, Trajectory
from assim.problem.departure import Simulation
from assim.problem.observable import Observable, observable, reads
from assim.problem.observation import Observations
from assim.problem.predictive import predictive
from assim.statistics.resampling import systematic
from assim.statistics.weighted import LEVELS

DRAWS = 1000
_ALONE = "the operator of {} reads at the times of its readings alone"
_SAME = 1e-6  # of its size: how far a reading and its series may differ by rounding


class Moments(NamedTuple):
    """Moments of draws of a series, each of shape (T, P); NaN where there is none.

    Args:
        mean: posterior mean.
        stdev: standard deviation.
        q05: 5 per cent quantile.
        q50: median.
        q95: 95 per cent quantile.
    """

    mean: np.ndarray
    stdev: np.ndarray
    q05: np.ndarray
    q50: np.ndarray
    q95: np.ndarray


class Series(NamedTuple):
    """The observable of one instrument in time, at every place that it reads.

    Args:
        observable: where and when.
        of: H(x) + b of the "background" and of the "analysis", the minimum of J, shape (T, P) each;
            empty for a forecast.
        predicted: H(x) + b over the posterior: what is unknown of the state; None without one.
        readings: of new readings about it, errors included: what any reading scatters.
        draws: how many draws these are of.
    """

    observable: Observable
    of: Mapping[str, np.ndarray]
    predicted: Moments | None
    readings: Moments | None
    draws: int


@dataclass(frozen=True)
class Observables(AbstractFinding):
    """The observable of every instrument that has one, by name, and why others have none."""

    name: ClassVar[str] = "observables"

    series: Mapping[str, Series]
    left_out: tuple[str, ...]

    def variables(self) -> dict[str, Variable]:
        """None: they are in trajectory.nc, at its slot edges."""
        return {}

    def summary(self) -> dict[str, Any]:
        """How many places every instrument reads, and which have no series."""
        places = {name: int(s.observable.rows.shape[1]) for name, s in self.series.items()}
        return {"places": places, "left_out": list(self.left_out)}


def observables(
    analysis: Analysis,
    times: Array | np.ndarray | None = None,
    *,
    held_back: Iterable[Observations] = (),
    draws: int = DRAWS,
    seed: int = 0,
    posterior: Posterior | None = None,
) -> Observables:
    """What every instrument would read at given times of the window: H(x(t)) + b, and y about it.

    y ~ p(y | x(t)), its law that of the instrument's readings, whose errors are new ones; errors
    that are correlated are drawn each by itself. Between slot edges instruments interpolate.

    Args:
        analysis: an analysis.
        times: increasing, in the model's time unit, within the window; the slot edges where None.
        held_back: instruments that were not assimilated.
        draws: of the posterior; fewer members are repeated, with errors of their own.
        seed: of the draws.
        posterior: which; the one reported where None.

    Raises:
        ValueError: times outside the window, or that do not increase.
    """
    problem, posterior = analysis.problem, posterior or analysis.posterior
    edges = np.asarray(problem.window.edges)
    at = edges if times is None else _checked(np.asarray(times, float), edges)
    several, left_out = _with_series(analysis, (*problem.observations, *held_back), at)
    drawn: Mapping[str, tuple[Moments, Moments]] = {}
    if posterior is not None and several:
        drawn = _drawn(analysis, posterior, several, draws, seed)
    instruments = [one.observations for one in several]
    single = {
        name: readings_of(instruments, simulation)
        for name, simulation in (
            ("background", analysis.background),
            ("analysis", analysis.analysis),
        )
    }
    series = {}
    for number, one in enumerate(several):
        name = one.observations.name
        of = {which: one.series(columns[number]) for which, columns in single.items()}
        predicted, readings = drawn.get(name, (None, None))
        series[name] = Series(one, of, predicted, readings, draws)
    return Observables(series, tuple(left_out))


def observables_ahead(
    ahead: Forecast, instruments: Iterable[Observations], draws: StartMembers, seed: int = 0
) -> Observables:
    """What instruments would read at the slot edges of a forecast, over its members.

    Args:
        ahead: the forecast.
        instruments: with readings at their places, of any time.
        draws: that the forecast was made of, with scales and bias coefficients.
        seed: of the errors of new readings.
    """
    edges, first = np.asarray(ahead.window.edges), _of_first(ahead, draws)
    series, left_out = {}, []
    for o in instruments:
        seen = observable(o, edges)
        if isinstance(seen, Observable):
            seen = seen.on(ahead.labels, ahead.window)
            if not reads(seen.observations, *first):
                seen = _ALONE.format(o.name)
        if not isinstance(seen, Observable):
            left_out.append(seen)
            continue
        exact, drawn, *_ = predicted_readings(ahead, seen.observations, draws, seed)
        predicted, readings = (
            Moments(*map(seen.series, member_moments(v[np.isfinite(v).all(axis=1)])))
            for v in (exact, drawn)
        )
        series[o.name] = Series(seen, {}, predicted, readings, ahead.size)
    return Observables(series, tuple(left_out))


def _of_first(ahead: Forecast, draws: StartMembers) -> tuple[Trajectory, Params]:
    """The trajectory of the first member, and its bias coefficients."""
    first = lambda part: {name: jnp.asarray(value[0]) for name, value in part.items()}  # noqa: E731
    given = first(ahead.seen or ahead.members), first(ahead.parameters), Grid.of(ahead.labels)
    return Trajectory(ahead.window.edges, *given), first(draws.biases)


def _checked(times: np.ndarray, edges: np.ndarray) -> np.ndarray:
    if times.ndim != 1 or not times.size or np.any(np.diff(times) <= 0):
        raise ValueError(f"observables: times must increase, got {times}")
    if times[0] < edges[0] or times[-1] > edges[-1]:
        raise ValueError(
            f"observables: times must lie in the window, {edges[0]:g} to {edges[-1]:g}, got "
            f"{times[0]:g} to {times[-1]:g}"
        )
    return times


def _with_series(
    analysis: Analysis, instruments: Sequence[Observations], times: np.ndarray
) -> tuple[list[Observable], list[str]]:
    """The observables of instruments that read where and when they are asked, and why others none.

    A function of the user's may know the times of the readings made, and no others: it must give
    for the readings made the same as beside all others.
    """
    window, labels, simulation = (
        analysis.problem.window,
        analysis.problem.model.labels(),
        analysis.analysis,
    )
    edges = np.asarray(window.edges)
    several: list[tuple[Observations, Observable]] = []
    left_out = []
    for o in instruments:
        seen = observable(o, times, (float(edges[0]), float(edges[-1])))
        if isinstance(seen, Observable):
            seen = seen.on(labels, window)
            if reads(seen.observations, simulation.seen, simulation.control.biases):
                several.append((o.on(o.place(labels, window)), seen))
                continue
            seen = _ALONE.format(o.name)
        left_out.append(seen)
    exact = _read([made for made, _ in several], simulation)
    asked = _read([seen.observations for _, seen in several], simulation)
    kept = []
    for (made, seen), values, series in zip(several, exact, asked, strict=True):
        own, rows = seen.at_readings(made)
        if np.allclose(np.asarray(series)[own], np.asarray(values)[rows], _SAME, equal_nan=True):
            kept.append(seen)
        else:
            left_out.append(_ALONE.format(made.name))
    return kept, left_out


@program
def _read(instruments: Sequence[Observations], simulation: Simulation) -> list[Array]:
    return [o.operator(simulation.seen, o.points) for o in instruments]


@program
def readings_of(instruments: Sequence[Observations], simulation: Simulation) -> list[Array]:
    """What instruments would read of a simulation, H(x) + b, each of shape (m,)."""
    return [o.predict(simulation.seen, simulation.control.biases) for o in instruments]


def _drawn(
    analysis: Analysis, posterior: Posterior, several: Sequence[Observable], draws: int, seed: int
) -> dict[str, tuple[Moments, Moments]]:
    """Moments of each over draws of the posterior, members by their weights.

    Members are repeated where they are fewer, each time with errors of its own: else new readings
    would scatter as a few errors happen to.
    """
    chi = posterior.chi[jnp.asarray(systematic(posterior.weights, draws))]
    instruments = [one.observations for one in several]
    new = predictive(analysis.problem, chi, jax.random.key(seed), instruments)
    return {
        o.name: (_moments(one, new.predicted[o.name]), _moments(one, new.readings[o.name]))
        for one, o in zip(several, instruments, strict=True)
    }


def _moments(seen: Observable, drawn: Array) -> Moments:
    """Over the draws that are finite everywhere."""
    values = np.asarray(drawn)
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        blank = seen.series(np.full(values.shape[1], np.nan))
        return Moments(blank, blank, blank, blank, blank)
    quantiles = np.quantile(values, LEVELS, axis=0)
    moments = (values.mean(axis=0), values.std(axis=0), *quantiles)
    return Moments(*(seen.series(row) for row in moments))
