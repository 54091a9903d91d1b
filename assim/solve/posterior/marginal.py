"""Moments and quantiles of scalar functions of χ under the Laplace posterior and its weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.solve.posterior.gaussian import Gaussian
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.statistics.weighted import weighted_quantiles

Array = jax.Array
Scalars = dict[str, Array]
ScalarFunction = Callable[[Array], Scalars]

LEVELS = (0.05, 0.5, 0.95)
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


def marginals(function: ScalarFunction, posterior: LaplacePosterior) -> dict[str, Quantity]:
    """Every scalar of χ, each of which depends on one entry of χ alone; without units.

    Their Laplace marginals are Gaussian: moments are one-dimensional integrals over that density,
    quantiles those of the density mapped. Where the certificate's draws may be trusted, each is
    corrected by the difference between their weighted and their plain estimate, which is nothing
    for a Gaussian posterior.
    """
    values = _along_coordinates(function, posterior.gaussian, jnp.asarray(_NODES))
    sampled: Scalars = {}
    if posterior.sample is not None and values:
        sampled = _each(function, jnp.asarray(posterior.sample[0]))
    scalars = {}
    for name, nodes in values.items():
        f = np.asarray(nodes)
        here, at_levels = float(f[-2]), f[-3:]
        moments = np.array(_moments(f - here, _NODE_WEIGHTS))
        if posterior.sample is not None:
            weights, f = posterior.sample[1], np.asarray(sampled[name])
            plain = np.full(f.size, 1 / f.size)
            moments = moments + np.subtract(_moments(f - here, weights), _moments(f - here, plain))
            weighted, unweighted = (weighted_quantiles(f, w, LEVELS) for w in (weights, plain))
            at_levels = at_levels + weighted - unweighted
        scalars[name] = _quantity(here, moments, at_levels)
    return scalars


@eqx.filter_jit
def _along_coordinates(function: ScalarFunction, gaussian: Gaussian, z: Array) -> Scalars:
    """f with every entry of χ at its posterior mean + z standard deviations."""
    stdev = gaussian.stdev()
    return jax.vmap(lambda z: function(gaussian.chi + z * stdev))(z)


@eqx.filter_jit
def _each(function: ScalarFunction, chi: Array) -> Scalars:
    return jax.vmap(function)(chi)


class WeightedDraws(NamedTuple):
    """Draws of χ, and those that moments are measured from where they are others.

    Args:
        members: shape (N, n).
        weights: of the members, shape (N,), of sum one.
        measured: shape (M, n); None for the members.
        measured_weights: likewise.
    """

    members: Array
    weights: np.ndarray
    measured: Array | np.ndarray | None = None
    measured_weights: np.ndarray | None = None


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
    draws. Draws at which a scalar is not finite are left out. `chi` is where the cost is least, and
    `prior` holds values for draws from the prior, by name.
    """
    parts, weights = [chi[None], drawn.members], drawn.weights
    if drawn.measured is not None and drawn.measured_weights is not None:
        parts.append(jnp.asarray(drawn.measured))
        weights = drawn.measured_weights
    values, number = in_batches(function, jnp.concatenate(parts), batch), drawn.members.shape[0]
    scalars = {}
    for name, f in values.items():
        of_members = f[1 : number + 1]
        measured = of_members if drawn.measured is None else f[number + 1 :]
        of_prior = np.asarray(prior.get(name, ()), dtype=float)
        quantity = replace(
            _by_draws(measured, weights, float(f[0])),
            draws=int(np.isfinite(measured).sum()),
            prior=_quantiles(of_prior),
        )
        scalars[name] = Pushed(quantity, of_members, of_prior)
    return scalars


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


def _by_draws(values: np.ndarray, weights: np.ndarray, here: float) -> Quantity:
    """A scalar from its values for weighted draws of χ, and at the minimum of J."""
    finite = np.isfinite(values)
    if not finite.any():
        return only_map(here)
    f, w = values[finite], weights[finite] / np.sum(weights[finite])
    about = here if np.isfinite(here) else float(f[0])
    moments = np.array(_moments(f - about, w))
    return replace(_quantity(about, moments, weighted_quantiles(f, w, LEVELS)), map=here)


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
    low, middle, high = map(float, np.quantile(finite, LEVELS))
    return low, middle, high
