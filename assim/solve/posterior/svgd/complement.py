"""Draws of what observations leave to the prior, with exact second moments."""

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.solve.posterior.informed import Informed
from assim.solve.together import HELD

Array = jax.Array


@eqx.filter_jit
def antithetic(informed: Informed, key: Array, number: int) -> Array:
    """c in pairs ±c, independent but for that, shape (number, n)."""
    white = jax.random.normal(key, ((number + 1) // 2, informed.gaussian.chi.shape[0]))
    half = informed.outside(white)
    return jnp.concatenate([half, -half])[:number]


@eqx.filter_jit
def balanced(informed: Informed, free: Array, key: Array, pairs: int, over: bool) -> Array:
    """c whose pairs ±c have the covariance of what is left out, shape (pairs, n).

    With W the white vectors (pairs, n) outside the subspace, of dimension k: the polar factor of W,
    times √pairs where pairs ≥ k, so that WᵀW/pairs is the projection itself and the variance
    of every linear function of c is exact; rows orthogonal and of length √k where there are fewer.

    Args:
        informed: the subspace.
        free: k.
        key: of the draws.
        pairs: how many.
        over: whether pairs ≥ k.
    """
    n = informed.gaussian.chi.shape[0]
    white = jax.random.normal(key, (pairs, n))
    inside = informed.basis * informed.mask[None]
    white = white - (white @ inside) @ inside.T
    if over:
        values, vectors = jnp.linalg.eigh(white.T @ white / pairs + inside @ inside.T)
        white = ((white @ vectors) / jnp.sqrt(values)[None]) @ vectors.T
    else:
        q, _ = jnp.linalg.qr(white.T)
        white = jnp.sqrt(free) * q.T
    return informed.outside(white)


@eqx.filter_jit
def combined(informed: Informed, a: Array, rest: Array) -> Array:
    """χ of every particle with pairs ±c of its own, shape (2·pairs, n).

    Args:
        informed: the subspace.
        a: whitened coordinates of particles, shape (N, r).
        rest: c, shape (N·k, n).
    """
    every = jnp.repeat(a, rest.shape[0] // a.shape[0], axis=0)
    place = jax.vmap(informed.chi)
    return jnp.concatenate([place(every, rest), place(every, -rest)])


def members(informed: Informed, a: Array, own: Array, free: int, most: int, key: Array) -> Array:
    """χ of every particle with balanced draws of the complement; with its own c where none fit.

    Args:
        informed: the subspace.
        a: whitened coordinates of particles, shape (N, r).
        own: the c of each, shape (N, n).
        free: dimension of the complement.
        most: members of the result.
        key: of the draws.
    """
    number, n = own.shape
    most = min(most, HELD // n)
    each = min(-(-free // number), most // (2 * number))
    if free == 0 or each == 0:
        return with_own(informed, a, own)
    pairs = each * number
    return combined(
        informed, a, balanced(informed, jnp.asarray(float(free)), key, pairs, pairs >= free)
    )


@eqx.filter_jit
def with_own(informed: Informed, a: Array, own: Array) -> Array:
    """χ of every particle with its own c, shape (N, n)."""
    return jax.vmap(informed.chi)(a, own)
