"""What is kept of every window of a cycle: errors, spreads and how innovations agree with both."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from assim.analysis.analysed import Reading
from assim.analysis.cycle.plan import Move
from assim.analysis.cycle.scheme import Outcome
from assim.problem.arrays import State
from assim.solve.minimise.status import Status

Array = jax.Array

BINS = 20  # of the histograms of ranks
STATUSES = {int(status): str(status) for status in Status if status is not Status.RUNNING}
LEVELS = (0.5, 0.9)  # of the intervals whose coverage is counted


class Errors(NamedTuple):
    """Root mean squares over a field, by field.

    Args:
        background: of x^b - x at the newest observations.
        analysis: of x^a - x there.
        smoother: of x^a - x at the window's start.
        inside: share of the field inside the intervals of `LEVELS` at the newest observations,
            shape (levels,).
    """

    background: dict[str, Array]
    analysis: dict[str, Array]
    smoother: dict[str, Array]
    inside: dict[str, Array]


class Spreads(NamedTuple):
    """Roots of the mean variance of a field, by field, at the same places."""

    background: dict[str, Array]
    analysis: dict[str, Array]
    smoother: dict[str, Array]


class Innovations(NamedTuple):
    """Sums over one instrument's values, each by its weight.

    Args:
        number: Σ 1.
        mean: Σ (y - Hx^b).
        square: Σ (y - Hx^b)².
        expected: Σ (HBHᵀ + R).
        observation: Σ (y - Hx^a)(y - Hx^b), whose expectation is that of Σ R; an estimate of a
            variance that may be negative. NaN where a weight of the window is neither 0 nor 1.
        background: Σ (Hx^a - Hx^b)(y - Hx^b), whose expectation is that of Σ HBHᵀ, likewise
            (Desroziers et al. 2005, QJRMS 131, 3385, eqs. 2 and 1).
        stated: Σ R.
        ranks: histogram of the probability below y - Hx^b under N(0, HBHᵀ + R), shape (bins,).
    """

    number: Array
    mean: Array
    square: Array
    expected: Array
    observation: Array
    background: Array
    stated: Array
    ranks: Array


class Measures(NamedTuple):
    """One window in a few numbers.

    Args:
        errors: where the truth is known, else None.
        spreads: of background and analysis.
        innovations: of every instrument.
        scalars: estimated scalars, and their standard deviations.
        scalars_stdev: see `scalars`.
        cost: J.
        chi_squared: 2J/m, expected to be 1 where all covariances are right; NaN without data,
            where errors are not Gaussian or their scale is estimated, and where a weight is
            neither 0 nor 1, as of observations that enter several windows.
        signal: degrees of freedom for signal.
        number: m.
        inflation: of the background of this window.
        gradient_norm: |∇J|.
        status: how the minimisation ended, one of `STATUSES`.
        failed_members: members that are left out, as they are not finite.
    """

    errors: Errors | None
    spreads: Spreads
    innovations: tuple[Innovations, ...]
    scalars: dict[str, Array]
    scalars_stdev: dict[str, Array]
    cost: Array
    chi_squared: Array
    signal: Array
    number: Array
    inflation: Array
    gradient_norm: Array
    status: Array
    failed_members: Array


def measures(
    outcome: Outcome,
    move: Move,
    truth: State | None = None,
    fresh: tuple[Array, ...] | None = None,
) -> Measures:
    """What is kept of a window, and of its errors where the truth is known at every slot edge.

    Where observations enter several windows with a share of their weight, innovations are those of
    the newest, which the background has not seen and for which `fresh` is 1; what Desroziers et al.
    estimate is then not known, nor is 2J/m expected to be 1.
    """
    spreads = Spreads(
        _rms(_at(outcome.background_stdev, move.newest)),
        _rms(_at(outcome.analysis_stdev, move.newest)),
        _rms(_at(outcome.analysis_stdev, 0)),
    )
    known = (outcome.number > 0) & outcome.gaussian & (fresh is None)
    chi_squared = 2 * outcome.cost / jnp.where(known, outcome.number, jnp.nan)
    return Measures(
        None if truth is None else _errors(outcome, move, truth),
        spreads,
        _of_instruments(outcome.readings, fresh),
        outcome.scalars,
        outcome.scalars_stdev,
        outcome.cost,
        chi_squared,
        outcome.signal,
        outcome.number,
        outcome.inflation,
        outcome.gradient_norm,
        jnp.where(outcome.status == Status.RUNNING, int(Status.OUT_OF_LOOPS), outcome.status),
        outcome.failed_members,
    )


def _errors(outcome: Outcome, move: Move, truth: State) -> Errors:
    def off(states: State, edge: Array | int) -> State:
        estimate, true = _at(states, edge), _at(truth, edge)
        return {name: estimate[name] - true[name] for name in true}

    newest = off(outcome.analysis, move.newest)
    stdev = _at(outcome.analysis_stdev, move.newest)
    return Errors(
        _rms(off(outcome.background, move.newest)),
        _rms(newest),
        _rms(off(outcome.analysis, 0)),
        {name: _inside(newest[name], stdev[name]) for name in newest},
    )


def _inside(error: Array, stdev: Array) -> Array:
    half = norm.ppf((1 + jnp.asarray(LEVELS)) / 2)
    return jnp.stack([jnp.mean(jnp.abs(error) <= width * stdev) for width in half])


def _of_instruments(
    several: tuple[Reading, ...], fresh: tuple[Array, ...] | None
) -> tuple[Innovations, ...]:
    once = [jnp.all((reading.weight == 0) | (reading.weight == 1)) for reading in several]
    known = jnp.where(jnp.all(jnp.asarray(once)) & (fresh is None), 1.0, jnp.nan)
    weights = [reading.weight for reading in several] if fresh is None else fresh
    return tuple(_innovations(r, w, known) for r, w in zip(several, weights, strict=True))


def _innovations(r: Reading, w: Array, counted_once: Array) -> Innovations:
    """Of an instrument with weights; what Desroziers et al. estimate times 1 or NaN."""
    innovation, residual = r.observed - r.background, r.observed - r.analysis
    total = r.background_stdev**2 + r.stdev**2
    known = total > 0
    below = norm.cdf(innovation / jnp.sqrt(jnp.where(known, total, 1.0)))
    bins = jnp.clip((below * BINS).astype(int), 0, BINS - 1)
    counted = lambda v: jnp.sum(jnp.where(w > 0, w * v, 0.0))  # noqa: E731
    return Innovations(
        jnp.sum(w),
        counted(innovation),
        counted(innovation**2),
        counted(total),
        counted_once * counted(residual * innovation),
        counted_once * counted((r.analysis - r.background) * innovation),
        counted(r.stdev**2),
        jnp.zeros(BINS).at[bins].add(jnp.where(known, w, 0.0)),
    )


def _at(states: State, edge: Array | int) -> State:
    return {name: value[edge] for name, value in states.items()}


def _rms(fields: State) -> dict[str, Array]:
    return {name: jnp.sqrt(jnp.mean(value**2)) for name, value in fields.items()}
