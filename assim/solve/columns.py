"""Covariances of χ by their columns, and variances of functions of χ from them.

Nothing here forms a matrix above `EXACT_LIMIT` controls: a covariance C = Σ c cᵀ is known by
columns c, each of which is pushed through the tangent linear on its own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from assim.devices import each_member
from assim.solve.posterior.gaussian import Gaussian
from assim.solve.together import COLUMNS

Array = jax.Array

EXACT_LIMIT = 2000  # controls up to which variances take one tangent integration each
PROBES = 200  # random columns above that: a relative standard error of √(2/200) = 10 %


class Columns(NamedTuple):
    """Covariances of χ: Σ c cᵀ = I of the prior, Σ s c cᵀ = A⁻¹ of the posterior."""

    vectors: Array  # c as rows, shape (number, n)
    shares: Array  # s of each


def posterior_columns(gaussian: Gaussian, key: Array) -> Columns:
    """The eigenvectors of A, whose share is 1/(1 + λ), then the rest of the space, whose is 1.

    The rest is exact up to `EXACT_LIMIT` controls; above, random columns stand for it, with a
    relative standard error of √(2/200) of its variance.
    """
    u, values = gaussian.eigenvectors, gaussian.eigenvalues
    n, rank = u.shape
    if rank >= n:
        return Columns(u.T, 1 / (1 + values))
    rest = jnp.eye(n) if n <= EXACT_LIMIT else _probes(key, n)
    rest = rest - (rest @ u) @ u.T
    shares = jnp.concatenate([1 / (1 + values), jnp.ones(rest.shape[0])])
    return Columns(jnp.concatenate([u.T, rest]), shares)


def prior_variance(
    function: Callable[[Array], Any], chi: Array, flat: Array | None, key: Array
) -> Any:
    """Variance of every entry of f(χ) under the prior N(0, I), diag(f′f′ᵀ), f′ taken at χ.

    Infinite for an entry that a coordinate without a prior of its own moves. Above `EXACT_LIMIT`
    controls an estimate from random columns of `key`, with relative standard error √(2/200).
    `flat` is 1 for coordinates that have no prior of their own, else 0; None where all have one.
    """
    n = chi.shape[0]
    columns = jnp.eye(n) if n <= EXACT_LIMIT else _probes(key, n)

    def squares(column: Array) -> Any:
        return jax.tree.map(jnp.square, jax.jvp(function, (chi,), (column,))[1])

    if flat is None:
        return accumulate(squares, columns)
    known = accumulate(squares, columns * (1 - flat)[None])
    free = accumulate(squares, columns * flat[None])
    return jax.tree.map(lambda v, f: jnp.where(f > 0, jnp.inf, v), known, free)


def accumulate(contribution: Callable[[Any], Any], columns: Any) -> Any:
    """Σ contribution(row) over the rows of an array, or of a tree of them, in batches.

    A row of zeros must contribute nothing: the last batch is filled with them.
    """
    number = jax.tree.leaves(columns)[0].shape[0]
    total = lambda tree: jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), tree)  # noqa: E731
    if number <= COLUMNS:
        return total(each_member(contribution)(columns))
    batches = jax.tree.map(_batched, columns)
    first = jax.tree.map(lambda leaf: leaf[0, 0], batches)
    start = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(contribution, first))

    def add(so_far: Any, several: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, so_far, total(each_member(contribution)(several))), None

    return jax.lax.scan(add, start, batches)[0]


def _batched(columns: Array) -> Array:
    """In batches of equal size, the last filled with zeros."""
    padded = jnp.zeros((-columns.shape[0] % COLUMNS, *columns.shape[1:]), columns.dtype)
    return jnp.concatenate([columns, padded]).reshape(-1, COLUMNS, *columns.shape[1:])


def _probes(key: Array, n: int) -> Array:
    """Columns c with E[Σ c cᵀ] = I."""
    return jax.random.normal(key, (PROBES, n)) / PROBES**0.5


Predictions = dict[str, Array]


class Moments(NamedTuple):
    """Second moments of predictions, each by instrument, shape (m,), with H at the minimum."""

    variance: Predictions  # diag(HA⁻¹Hᵀ), of the posterior
    influence: Predictions  # diag(HA⁻¹Hᵀ R⁻¹)
    prior_variance: Predictions  # diag(HBHᵀ)
    prior_influence: Predictions  # diag(HBHᵀ R⁻¹)


def spread(
    simulated: Callable[[Array], tuple[Any, Predictions]],
    departures: Callable[[Predictions], Predictions],
    predicted: Predictions,
    gaussian: Gaussian,
    key: Array,
) -> tuple[Any, Moments, Predictions]:
    """Posterior variance of fields, second moments of predictions and Gχ*, in one pass of columns.

    Gχ*, what the tangent linear makes of the analysis increment in departures, is exact: χ* is a
    column of its own.

    Args:
        simulated: χ ↦ (fields, predictions of every instrument).
        departures: predictions ↦ normalised departures d of every instrument.
        predicted: Hx^a of every instrument.
        gaussian: the posterior.
        key: of random columns.
    """
    normalise = jax.linearize(departures, predicted)[1]
    transpose = jax.linear_transpose(normalise, predicted)

    def contribution(row: tuple[Array, Array, Array]) -> tuple[Any, Moments, Predictions]:
        column, share, along = row  # along is 1 for χ*, which no covariance counts, else 0
        fields, tangent = jax.jvp(simulated, (gaussian.chi,), (column,))[1]
        normalised = normalise(tangent)
        (weighted,) = transpose(normalised)  # R⁻¹H′c for Gaussian errors
        scaled = lambda by, tree: jax.tree.map(lambda v: by * v, tree)  # noqa: E731
        prior = scaled(1 - along, jax.tree.map(jnp.square, tangent))
        gain = scaled(1 - along, jax.tree.map(jnp.multiply, tangent, weighted))
        squares = jax.tree.map(lambda v: share * v**2, fields)
        moments = Moments(scaled(share, prior), scaled(share, gain), prior, gain)
        return squares, moments, scaled(along, normalised)

    vectors, shares = posterior_columns(gaussian, key)
    rows = jnp.concatenate([vectors, gaussian.chi[None]])
    along = jnp.zeros(rows.shape[0]).at[-1].set(1.0)
    return accumulate(contribution, (rows, jnp.append(shares, 0.0), along))
