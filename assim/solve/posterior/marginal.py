"""Moments and quantiles of scalar functions of χ under the Laplace posterior and its weights."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.devices import program
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.valleys import AWAY, STEP
from assim.solve.together import batch_size
from assim.statistics.accuracy import Errors, controlled_moments, errors_of_weighted
from assim.statistics.pareto import USABLE_K_HAT, tail_shape
from assim.statistics.weighted import LEVELS, quantile_error, weighted_quantiles

Array = jax.Array
Scalars = dict[str, Array]
ScalarFunction = Callable[[Array], Scalars]

TOGETHER = 1000  # draws whose scalars are computed together, at most
FAR, SHARE = 4.5, 0.1  # beyond which there are no draws; share of a variance that may be there
LUCKY = 0.1  # relative error of a standard deviation from which it is not stated, ...
HEAVY = 10.0  # where the kurtosis of the draws is above this
_NODES = np.concatenate(
    [np.linspace(-8.0, 8.0, 2001), [NormalDist().inv_cdf(level) for level in LEVELS]]
)
_NODE_WEIGHTS = np.where(np.arange(_NODES.size) < 2001, np.exp(-(_NODES**2) / 2), 0.0)
_NODE_WEIGHTS /= _NODE_WEIGHTS.sum()


@dataclass(frozen=True)
class Quantity:
    """Posterior of one scalar: a parameter, an error scale, a bias, a scalar field, or derived.

    `mean`, `stddev` and the quantiles are those of the physical quantity under the posterior;
    `map` is its value at the minimum of J, and all that there is without a posterior. A derived
    quantity, or a scalar field that shares its background errors with others, has `draws`, the
    number of draws that it was computed from, and `prior`: 5, 50 and 95 per cent quantiles of as
    many draws from the prior as there are members, NaN where it depends on what has no prior.
    `errors` are those of mean, `stddev` and quantiles, where members are independent or weighted.
    `stddev` is NaN, and `note` says why, where a few draws far out rule it: it would be luck. So is
    `mean` where they rule that, too; `stddev` also where no draw has another value. Moments and
    quantiles are those of the draws for which it is finite: `outside` is the share of the posterior
    for which it is not, and that of the prior, which `note` tells.
    """

    mean: float
    stddev: float
    map: float
    q05: float
    q50: float
    q95: float
    units: str
    long_name: str = ""
    draws: int | None = None
    prior: tuple[float, float, float] | None = None
    note: str = ""
    errors: Errors | None = None
    outside: tuple[float, float] = (0.0, 0.0)


def marginals(function: ScalarFunction, posterior: LaplacePosterior) -> dict[str, Quantity]:
    """Every scalar of χ, each of which depends on one entry of χ alone; without units.

    Their Laplace marginals are Gaussian: moments are one-dimensional integrals over that density,
    quantiles those of the density mapped. Where the certificate's draws may be trusted, each is
    corrected by what their weighted and their plain estimates differ by, which is nothing for a
    Gaussian posterior.
    """
    values = _along_coordinates(function, posterior.gaussian, jnp.asarray(_NODES))
    beyond = _beyond_draws(function, posterior) if values else {}
    sampled: Scalars = {}
    if posterior.sample is not None and values:
        sampled = _each(function, jnp.asarray(posterior.sample[0]))
    scalars = {}
    for name, nodes in values.items():
        f = np.asarray(nodes)
        here, moments = float(f[-2]), _moments(f - f[-2], _NODE_WEIGHTS)
        if posterior.sample is not None:
            weights, draws = posterior.sample[1], np.asarray(sampled[name])
            quantity = _corrected(here, moments, f[-3:], draws, weights)
        else:
            quantity = _quantity(here, np.array(moments), f[-3:])
        scalars[name] = _without_tail(quantity, f, beyond.get(name, _NOTHING))
    return scalars


def _corrected(
    here: float,
    moments: tuple[float, float],
    at_levels: np.ndarray,
    draws: np.ndarray,
    weights: np.ndarray,
) -> Quantity:
    """A scalar by weighted draws of the Gaussian, whose own moments and quantiles are exact."""
    plain = np.full(draws.size, 1 / draws.size)
    weighted, unweighted = (weighted_quantiles(draws, w, LEVELS) for w in (weights, plain))
    mean, variance, errors = controlled_moments(draws - here, weights, moments)
    errors = errors._replace(quantile=quantile_error(draws, weights, paired=True, against=True))
    both = np.array([mean, variance + mean**2])
    quantity = _quantity(here, both, at_levels + weighted - unweighted)
    return _ruled(replace(quantity, errors=errors), draws, weights)


_INSTEAD = "take the median and the interval"
_TAIL = f"ruled by values that one draw in a hundred thousand has: {_INSTEAD}"


class _Beyond(NamedTuple):
    """Values of a scalar farther out than draws come, and the mass at each by the cost itself."""

    values: np.ndarray
    mass: np.ndarray


_NOTHING = _Beyond(np.zeros(0), np.zeros(0))


def _beyond_draws(function: ScalarFunction, posterior: LaplacePosterior) -> dict[str, _Beyond]:
    """Of each scalar, on the line through χ* along the entry of χ that it depends on.

    The mass of a step h there is exp(J(χ*) - J) h √(A_kk / 2π), that of the conditional density.
    """
    if posterior.lines is None or not len(posterior.lines.entries):
        return {}
    gaussian, (_, looked, along) = posterior.gaussian, posterior.lines
    values, entries = _along_entries(function, gaussian.chi)
    curvature = 1 + np.asarray(gaussian.eigenvectors**2 @ gaussian.eigenvalues)[looked]
    mass = np.exp(-along) * STEP * np.sqrt(curvature / (2 * np.pi))[:, None]
    far = np.abs(AWAY) > FAR * np.asarray(gaussian.stdev())[looked][:, None]
    beyond = {}
    for name, f in values.items():
        for row in np.flatnonzero(looked == int(entries[name])):
            kept = far[row] & (mass[row] > 0)
            beyond[name] = _Beyond(np.asarray(f)[kept], mass[row][kept])
    return beyond


def _without_tail(quantity: Quantity, nodes: np.ndarray, beyond: _Beyond) -> Quantity:
    """Without the moments that its values beyond `FAR` standard deviations make."""
    centre, median = _NODE_WEIGHTS @ nodes, quantity.q50
    squares = float(beyond.mass @ (beyond.values - centre) ** 2)
    if not _far_out((nodes - centre) ** 2, squares):
        return quantity
    sizes = float(beyond.mass @ np.abs(beyond.values - median))
    if _far_out(np.abs(nodes - median), sizes):
        return without_moments(quantity, f"mean and standard deviation are {_TAIL}")
    return without_stddev(quantity, f"the standard deviation is {_TAIL}")


def _far_out(size: np.ndarray, beyond: float) -> bool:
    """Whether what is beyond `FAR` makes a tenth of a mean of sizes, or infinity.

    Args:
        size: at the nodes of the Gaussian.
        beyond: what the cost itself puts farther out.
    """
    part = size * _NODE_WEIGHTS
    total, far = part.sum() + beyond, part[np.abs(_NODES) > FAR].sum() + beyond
    return not (np.isfinite(total) and far <= SHARE * total)


def ruling_draws(values: np.ndarray, weights: np.ndarray) -> float:
    """How many draws rule a variance, 1/Σ q² with q ∝ w (f - m)², where these are few; else ∞.

    They are few where the error of a standard deviation, √(Σ q²)/2, is over 10 per cent and it is
    the tail's: the kurtosis Σ q²/Σ w² is above `HEAVY`.
    """
    q = weights * (values - weights @ values) ** 2
    if not q.sum() > 0:
        return math.inf
    share, draws = np.sum((q / q.sum()) ** 2), np.sum(np.square(weights))
    few = share > (2 * LUCKY) ** 2 and share > HEAVY * draws
    return float(1 / share) if few else math.inf


def _ruled(quantity: Quantity, values: np.ndarray, weights: np.ndarray) -> Quantity:
    """Without a standard deviation that few draws rule, nor a mean that they do."""
    few = ruling_draws(values, weights)
    if not math.isfinite(few):
        return quantity
    which = f"{few:.0f} draws" if few >= 1.5 else "draw"
    why = f"ruled by the {which} farthest out: {_INSTEAD}"
    if mean_is_luck(values, weights):
        return without_moments(quantity, f"mean and standard deviation are {why}")
    return without_stddev(quantity, f"the standard deviation is {why}")


def mean_is_luck(values: np.ndarray, weights: np.ndarray) -> bool:
    """Whether the tail of r ∝ w |f - median| is too heavy for a mean, or few draws rule that.

    Where its k̂ is 0.7 and more a mean settles too slowly (Vehtari et al. 2024, section 3.2), and
    from 1 on there is none.
    """
    (median,) = weighted_quantiles(values, weights, (0.5,))
    r = weights * np.abs(values - median)
    r = np.sort(r / r.sum())
    return bool(tail_shape(r) >= USABLE_K_HAT or np.sum(r**2) > (2 * LUCKY) ** 2)


def _unseen(quantity: Quantity, values: np.ndarray) -> Quantity:
    """Without a standard deviation where no draw has another value than the others."""
    if np.ptp(values) > 0:
        return quantity
    why = f"no draw of {values.size} has another value, and what is rarer is not seen"
    return without_stddev(quantity, why)


def without_moments(quantity: Quantity, why: str) -> Quantity:
    """A scalar of which neither mean nor standard deviation is stated."""
    return replace(without_stddev(quantity, why), mean=math.nan)


def without_stddev(quantity: Quantity, why: str) -> Quantity:
    """A scalar whose standard deviation is not stated, so that quantiles alone have an error."""
    errors = quantity.errors and quantity.errors._replace(mean=0.0, stdev=0.0)
    return _told(replace(quantity, stddev=math.nan, note=why, errors=errors))


def _told(quantity: Quantity) -> Quantity:
    """A scalar whose note says, too, for how much of the posterior and prior it is not finite."""
    pairs = zip(quantity.outside, ("posterior", "prior"), strict=True)
    shares = [f"{100 * share:.2g} per cent of the {of}" for share, of in pairs if share > 0]
    if not shares:
        return quantity
    why = f"not finite for {' and '.join(shares)}: moments and quantiles are those of the rest"
    return replace(quantity, note="; ".join(part for part in (quantity.note, why) if part))


@program
def _along_coordinates(function: ScalarFunction, gaussian: Gaussian, z: Array) -> Scalars:
    """f with every entry of χ at its posterior mean + z standard deviations."""
    stdev = gaussian.stdev()
    return jax.vmap(lambda z: function(gaussian.chi + z * stdev))(z)


@program
def _along_entries(function: ScalarFunction, chi: Array) -> tuple[Scalars, Scalars]:
    """f with every entry of χ `AWAY` from χ*, and which of them it depends on."""
    away = jnp.asarray(AWAY, chi.dtype)
    entries = {
        name: jnp.argmax(jnp.abs(slope)) for name, slope in jax.jacrev(function)(chi).items()
    }
    return jax.vmap(function)(chi[None] + away[:, None]), entries


@program
def _each(function: ScalarFunction, chi: Array) -> Scalars:
    return jax.vmap(function)(chi)


class WeightedDraws(NamedTuple):
    """Draws of χ.

    Args:
        members: shape (N, n).
        weights: of the members, shape (N,), of sum one.
        mirrored: whether they are independent but for the second half, which mirrors the first.
        effective_size: as of an `Ensemble`; N or 1/Σ w² of independent ones.
    """

    members: Array
    weights: np.ndarray
    mirrored: bool = False
    effective_size: float = math.nan


class Pushed(NamedTuple):
    """One scalar pushed through draws.

    Args:
        quantity: its posterior, without a unit.
        members: its values for the members, shape (N,).
        prior: for draws from the prior; empty where there are none.
    """

    quantity: Quantity
    members: np.ndarray
    prior: np.ndarray


def pushed(
    function: ScalarFunction,
    chi: Array,
    drawn: WeightedDraws,
    prior: Mapping[str, np.ndarray],
    batch: int,
) -> dict[str, Pushed]:
    """Scalars that depend on χ in any way, from draws pushed through them, so many together.

    The sampling error of a mean is its standard deviation over the root of the effective number of
    draws. Draws at which a scalar is not finite are left out, and their share is told. `chi` is
    where the cost is least, and `prior` holds values for draws from the prior, by name.
    """
    values = in_batches(function, jnp.concatenate([chi[None], drawn.members]), batch)
    scalars = {}
    for name, f in values.items():
        of_members, of_prior = f[1:], np.asarray(prior.get(name, ()), dtype=float)
        quantity = replace(
            _by_draws(of_members, drawn, float(f[0])),
            draws=int(np.isfinite(of_members).sum()),
            prior=_quantiles(of_prior),
            outside=(_outside(of_members, drawn.weights), _outside_prior(of_prior)),
        )
        scalars[name] = Pushed(_told(quantity), of_members, of_prior)
    return scalars


def published(problem: DepartureFunction, chi: Array) -> dict[str, np.ndarray]:
    """Scalars that a problem publishes of several χ, by name."""
    return in_batches(problem.scalars, chi, batch_size(problem, TOGETHER))


def in_batches(function: ScalarFunction, chi: Array, batch: int) -> dict[str, np.ndarray]:
    """f of several χ; one program of `batch` rows serves any number of them."""
    number = chi.shape[0]
    rows = -(-number // batch) * batch
    padded = jnp.pad(chi, ((0, rows - number), (0, 0)), mode="edge")
    parts = [_each(function, padded[at : at + batch]) for at in range(0, rows, batch)]
    return {
        name: np.concatenate([np.asarray(part[name]) for part in parts])[:number]
        for name in parts[0]
    }


def _by_draws(values: np.ndarray, drawn: WeightedDraws, here: float) -> Quantity:
    """A scalar from its values for weighted draws of χ, and at the minimum of J."""
    finite = np.isfinite(values)
    if not finite.any():
        return only_map(here)
    f, w = values[finite], drawn.weights[finite] / np.sum(drawn.weights[finite])
    about = here if np.isfinite(here) else float(f[0])
    moments = np.array(_moments(f - about, w))
    quantity = _quantity(about, moments, weighted_quantiles(f, w, LEVELS))
    errors = None
    if drawn.mirrored or not math.isnan(drawn.effective_size):
        safe, weights = np.where(finite, values, 0.0), np.where(finite, drawn.weights, 0.0)
        weights, paired = weights / weights.sum(), drawn.mirrored
        errors = errors_of_weighted(safe[:, None], weights, paired=paired)
        errors = errors._replace(quantile=quantile_error(safe, weights, paired=paired))
        if not paired:
            errors = errors.scaled(1 / math.sqrt(drawn.effective_size * np.sum(weights**2)))
    quantity = replace(quantity, map=here, errors=errors)
    return _unseen(_ruled(quantity, f, w), f[w > 0])


def _outside(values: np.ndarray, weights: np.ndarray) -> float:
    """Share of the weight of draws whose value is not finite."""
    return float(weights[~np.isfinite(values)].sum() / weights.sum())


def _outside_prior(values: np.ndarray) -> float:
    """Share of draws from the prior; 0 where none is finite, as of what has no prior."""
    finite = np.isfinite(values)
    return float(np.mean(~finite)) if finite.any() else 0.0


def only_map(here: float, units: str = "", long_name: str = "") -> Quantity:
    """A scalar of which nothing but its value at the minimum of J is known."""
    nan = float("nan")
    return Quantity(nan, nan, here, nan, nan, nan, units, long_name)


def _quantity(here: float, moments: np.ndarray, quantiles: np.ndarray) -> Quantity:
    """From E[f - here] and E[(f - here)²]."""
    mean, stddev = here + moments[0], np.sqrt(max(moments[1] - moments[0] ** 2, 0.0))
    q05, q50, q95 = map(float, quantiles)
    return Quantity(float(mean), float(stddev), here, q05, q50, q95, "")


def _moments(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """E[f] and E[f²]."""
    return weights @ values, weights @ values**2


def _quantiles(values: np.ndarray) -> tuple[float, float, float]:
    """5, 50 and 95 per cent quantiles of draws of equal weight, those not finite left out."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return (float("nan"),) * 3
    equal = np.full(finite.size, 1 / finite.size)
    low, middle, high = map(float, weighted_quantiles(finite, equal, LEVELS))
    return low, middle, high
