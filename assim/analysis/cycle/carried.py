"""From the posterior of one window to the background of the next."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from assim.analysis.cycle.members import draws
from assim.problem.control import Control, White
from assim.problem.covariance import AbstractStateCovariance
from assim.problem.cycled import ERRORS, OTHERS, STATE, Background

Array = jax.Array


class Folding(NamedTuple):
    """How covariances of z are kept.

    Args:
        rank: vectors of a carried covariance.
        whole: whether these span z, so that a static share is one of them and not apart.
        members: whether they are members, each of which is localised, and none may be mixed.
    """

    rank: int
    whole: bool
    members: bool = False

    @staticmethod
    def of(mean: White, rank: int) -> "Folding":
        """All of z up to `rank` entries."""
        n = ravel_pytree(mean)[0].size
        return Folding(min(n, rank), n <= rank)


def start(control: Control, mean: White, folding: Folding) -> Background:
    """The background of the first window: the case's own, with all its priors."""
    unit, fresh = jnp.ones(()), _fresh(mean)
    if folding.whole:
        vectors = _rows(mean, root_of(_prior(control.covariance, mean, unit, unit), folding.rank))
        return Background(mean, vectors, unit, unit, fresh)
    return Background(mean, _none(mean, folding.rank), unit, unit, fresh)


def start_of_members(control: Control, mean: White, number: int, key: Array) -> Background:
    """Members drawn from the case's own background and priors, about their mean.

    They have all of its covariance: a static share comes with the next window.
    """
    drawn = {**_none(mean, number), **draws(control, number, key)}
    centred = jax.tree.map(lambda z: z - jnp.mean(z, axis=0)[None], drawn)
    vectors = jax.tree.map(lambda z: z / jnp.sqrt(number - 1), centred)
    return Background(mean, vectors, jnp.zeros(()), jnp.zeros(()), _fresh(mean))


def _fresh(mean: White) -> Array | None:
    """1 for each group of model errors of the first window; None where z has none."""
    series = jax.tree.leaves(mean.get(ERRORS, {}))
    return jnp.ones(series[0].shape[0]) if series else None


def handed_on(
    mean: White,
    columns: Array,
    static: AbstractStateCovariance,
    folding: Folding,
    *,
    inflation: Array,
    share: Array,
    own: Array,
    fresh: Array | None,
) -> Background:
    """The background of the next window.

        P = D C D + s_x B + s_θ I_θ,   D = inflation on the state, √(1 - s_θ) on the others

    Args:
        mean: z.
        columns: root of the covariance C of z, as rows of shape (k, size of z).
        static: B.
        folding: how the covariance is kept.
        inflation: factor on the standard deviations of the state.
        share: s_x.
        own: s_θ, of the prior that parameters, scales and biases are given back.
        fresh: 1 for each group of model errors that has not been seen; None where z has none.
    """
    grown = columns * _factors(mean, inflation, jnp.sqrt(1 - own), jnp.ones(()))[None]
    if folding.whole:
        added = _prior(static, mean, share, own)
        root = root_of(jnp.concatenate([grown, added]), folding.rank)
        return Background(mean, _rows(mean, root), share, own, fresh)
    if folding.members:
        return Background(mean, _rows(mean, grown), share, own, fresh)
    scale = units_of(static, mean)
    root = root_of(grown / scale[None], folding.rank) * scale[None]
    return Background(mean, _rows(mean, root), share, own, fresh)


def root_of(columns: Array, rank: int) -> Array:
    """The `rank` leading rows V of VᵀV = CᵀC, in order of variance; zeros where there are fewer."""
    if columns.shape[0] >= columns.shape[1]:
        values, vectors = jnp.linalg.eigh(columns.T @ columns)
        leading = (jnp.sqrt(jnp.maximum(values, 0.0))[None] * vectors).T[::-1]
    else:
        values, vectors = jnp.linalg.eigh(columns @ columns.T)
        leading = (vectors.T @ columns)[::-1]
    missing = max(0, rank - leading.shape[0])
    return jnp.pad(leading, ((0, missing), (0, 0)))[:rank]


def only_others(mean: White, columns: Array) -> Array:
    """The columns with nothing of the state: where its covariance is static."""
    return columns * _factors(mean, jnp.zeros(()), jnp.ones(()), jnp.zeros(()))[None]


def _factors(mean: White, state: Array, others: Array, errors: Array) -> Array:
    """One factor on every entry of z of the state, others on the others and on model errors."""
    factors = {STATE: state, "fields": state, **dict.fromkeys(OTHERS, others), ERRORS: errors}
    tree = {
        kind: {name: jnp.full(jnp.shape(value), factors[kind]) for name, value in part.items()}
        for kind, part in mean.items()
    }
    return ravel_pytree(tree)[0]


def units_of(static: AbstractStateCovariance, mean: White) -> Array:
    """Units of every entry of z: static standard deviations of the state, 1 of white numbers."""
    tree = jax.tree.map(jnp.ones_like, mean)
    stdev = {name: jnp.sqrt(v) for name, v in static.variance().items()}
    tree[STATE] = {**tree[STATE], **stdev}
    return ravel_pytree(tree)[0]


def _prior(covariance: AbstractStateCovariance, mean: White, share: Array, own: Array) -> Array:
    """Rows whose covariance is s_x B and s_θ I."""
    zeros = jax.tree.map(jnp.zeros_like, mean)
    white = {name: jnp.zeros(size) for name, size in covariance.sizes().items()}
    flat, unravel = ravel_pytree(white)

    def of_state(w: Array) -> Array:
        fields = {**zeros[STATE], **covariance.sqrt(unravel(w))}
        return ravel_pytree({**zeros, STATE: fields})[0]

    blocks = [jnp.sqrt(share) * jax.vmap(of_state)(jnp.eye(flat.size))]
    white_only = {kind: part for kind, part in mean.items() if kind not in (STATE, ERRORS)}
    number, back = ravel_pytree(white_only)

    def of_others(w: Array) -> Array:
        return ravel_pytree({**zeros, **back(w)})[0]

    if number.size:
        factors = jnp.sqrt(_factors(white_only, share, own, own))
        blocks.append(jax.vmap(of_others)(jnp.diag(factors)))
    return jnp.concatenate(blocks)


def _rows(mean: White, matrix: Array) -> White:
    """Rows as vectors of z."""
    return jax.vmap(ravel_pytree(mean)[1])(matrix)


def _none(mean: White, rank: int) -> White:
    return jax.tree.map(lambda m: jnp.zeros((rank, *jnp.shape(m))), mean)
