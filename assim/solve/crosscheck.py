"""An ensemble against short chains that start from its members: an independent check."""

from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.solve.cost import DepartureFunction
from assim.solve.ensemble import Ensemble
from assim.solve.gaussian import Gaussian
from assim.solve.laplace import BATCH_VALUES
from assim.solve.method import Trust
from assim.solve.metric import Chart

Array = jax.Array

CHAINS, MOVES, SETTLING = 100, 20, 5  # moves of each chain that count, and before them
LEAPFROGS, JITTER = 8, 0.2  # steps of a trajectory of a quarter period, and how it varies
APART, SHIFT = 0.05, 0.1  # of standard deviations, and means in them, beside twice the error
MOVING = 0.5  # mean acceptance below which chains have not left their start
VAGUE = 0.08  # relative error of a standard deviation above which chains tell too little of it
WAY_OUT = "run NUTS, or MCLMC where many directions are informed"


class Moved(NamedTuple):
    """Where the chains went.

    Args:
        mean: of every chain, of the whitened coordinates and of χ, shape (chains, 2n).
        square: the same of squares about the ensemble's mean.
        acceptance: of all moves.
    """

    mean: Array
    square: Array
    acceptance: Array


def crosschecked(
    problem: DepartureFunction, ensemble: Ensemble, gaussian: Gaussian, key: Array
) -> Ensemble:
    """A certified ensemble, doubtful where chains that start from it find other moments.

    A hundred chains of Hamiltonian Monte Carlo (Duane et al. 1987, Phys. Lett. B 195, 216) take 25
    trajectories of a quarter period each. Their limit is the posterior whatever the ensemble is,
    and the first five already forget most of where they began. Standard deviations of the
    eigenvectors of a Gaussian and of the entries of χ must agree within 5 per cent and twice the
    Monte Carlo error, means within 0.1 of a standard deviation and as much. Where half of the
    moves are refused, or the error is above 8 per cent, nothing is checked and doubt remains.

    Args:
        problem: the departure function.
        ensemble: what is checked.
        gaussian: in whose coordinates the posterior is nearly N(0, I).
        key: of the chains.
    """
    if ensemble.trust is not Trust.CERTIFIED:
        return ensemble
    first, second = jax.random.split(key)
    chosen = jax.random.categorical(first, jnp.log(ensemble.weights), shape=(CHAINS,))
    mean, stdev = _moments(gaussian, ensemble.members, ensemble.weights)
    moved = _moved(problem, gaussian, ensemble.members[chosen], mean, second)
    found = _compared(moved, np.asarray(stdev))
    told = replace(
        ensemble,
        certificates={**ensemble.certificates, **found.certificates()},
        gradients=ensemble.gradients + CHAINS * ((MOVES + SETTLING) * LEAPFROGS + 1),
    )
    doubt = found.doubt()
    return replace(told, trust=Trust.DOUBTFUL, advice=doubt) if doubt else told


class Compared(NamedTuple):
    """Chains against an ensemble, along every direction.

    Args:
        ratio: standard deviations of the chains over those of the ensemble.
        error: relative Monte Carlo error of the former.
        shift: difference of the means, in standard deviations.
        error_of_shift: its Monte Carlo error.
        acceptance: mean, of all moves.
    """

    ratio: np.ndarray
    error: np.ndarray
    shift: np.ndarray
    error_of_shift: np.ndarray
    acceptance: float

    def certificates(self) -> dict[str, float]:
        """By name."""
        return {
            "chains_apart": float(np.max(np.abs(self.ratio - 1))),
            "chains_shift": float(np.max(self.shift)),
            "chains_accuracy": float(np.max(self.error)),
            "chains_acceptance": self.acceptance,
        }

    def doubt(self) -> str:
        """What stands against the ensemble, and the way out; "" where they agree."""
        if not self.acceptance >= MOVING:
            return (
                f"Chains that start from the members accept {100 * self.acceptance:.0f} % of their "
                f"moves, which checks nothing: {WAY_OUT}."
            )
        if not np.max(self.error) <= VAGUE:
            return (
                f"Chains that start from the members know a standard deviation to "
                f"{100 * np.max(self.error):.0f} % only, as where a long tail holds much of it, "
                f"which checks nothing: {WAY_OUT}."
            )
        wide = np.abs(self.ratio - 1) <= APART + 2 * self.error
        if np.all(wide & (self.shift <= SHIFT + 2 * self.error_of_shift)):
            return ""
        low, high = np.min(self.ratio), np.max(self.ratio)
        return (
            f"Short chains that start from the members find standard deviations {low:.2f} to "
            f"{high:.2f} of theirs, and means up to {np.max(self.shift):.2f} of one away: the "
            f"members miss the shape of the posterior; {WAY_OUT}."
        )


def _compared(moved: Moved, stdev: np.ndarray) -> Compared:
    away, error = _mean(moved.mean)
    square, error_of_square = _mean(moved.square)
    found = np.sqrt(np.maximum(square - away**2, 0.0))
    return Compared(
        found / stdev,
        error_of_square / (2 * square) * found / stdev,
        np.abs(away) / found,
        error / found,
        float(moved.acceptance),
    )


@eqx.filter_jit
def _moments(gaussian: Gaussian, members: Array, weights: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of an ensemble along the eigenvectors, and of χ."""
    values = jax.vmap(lambda chi: _along(gaussian, chi))(members)
    mean = weights @ values
    return mean, jnp.sqrt(weights @ (values - mean[None]) ** 2)


def _along(gaussian: Gaussian, chi: Array) -> Array:
    return jnp.concatenate([(chi - gaussian.chi) @ gaussian.eigenvectors, chi])


class _Place(NamedTuple):
    z: Array
    density: Array
    score: Array


@eqx.filter_jit
def _moved(
    problem: DepartureFunction, gaussian: Gaussian, starts: Array, centre: Array, key: Array
) -> Moved:
    """All chains, as many together as memory allows."""
    chart = Chart(gaussian)

    def chain(start: tuple[Array, Array]) -> Moved:
        chi, key = start

        def move(place: _Place, key: Array) -> tuple[_Place, tuple[Array, Array]]:
            place, acceptance = _trajectory(problem, chart, place, key)
            return place, (_along(gaussian, chart.chi(place.z)) - centre, acceptance)

        z = chart.z(chi)
        place = _Place(z, *chart.scored(problem, z))
        _, (away, acceptance) = jax.lax.scan(move, place, jax.random.split(key, SETTLING + MOVES))
        away = away[SETTLING:]
        return Moved(away.mean(0), (away**2).mean(0), acceptance.mean())

    together = max(1, BATCH_VALUES // problem.workspace())
    keys = jax.random.split(key, starts.shape[0])
    found = jax.lax.map(chain, (starts, keys), batch_size=min(together, starts.shape[0]))
    return found._replace(acceptance=found.acceptance.mean())


def _trajectory(
    problem: DepartureFunction, chart: Chart, place: _Place, key: Array
) -> tuple[_Place, Array]:
    """A trajectory by leapfrog, taken or not by its change of energy."""
    first, second, third = jax.random.split(key, 3)
    momentum = jax.random.normal(first, place.z.shape)
    step = jnp.pi / 2 / LEAPFROGS * jax.random.uniform(second, minval=1 - JITTER, maxval=1 + JITTER)

    def leap(_: Array, carry: tuple[_Place, Array]) -> tuple[_Place, Array]:
        at, p = carry
        p = p + step / 2 * at.score
        z = at.z + step * p
        there = _Place(z, *chart.scored(problem, z))
        return there, p + step / 2 * there.score

    there, p = jax.lax.fori_loop(0, LEAPFROGS, leap, (place, momentum))
    rise = there.density - place.density - (p @ p - momentum @ momentum) / 2
    acceptance = jnp.where(jnp.isfinite(rise), jnp.exp(jnp.minimum(rise, 0.0)), 0.0)
    taken = jax.random.uniform(third) < acceptance
    return jax.tree.map(lambda new, old: jnp.where(taken, new, old), there, place), acceptance


def _mean(values: Array) -> tuple[np.ndarray, np.ndarray]:
    """Mean over chains, which are independent, and its standard error."""
    found = np.asarray(values)
    return found.mean(0), found.std(0, ddof=1) / np.sqrt(len(found))
