"""Ensemble transforms: what observations do to members, in the space that these span.

Members of anything are rows x_i, i = 1 … N, with mean x̄ and scaled anomalies

    X_i = (x_i - x̄)/√(N-1),        P = XᵀX,

and departures d_i = R^(-1/2)(y - H(x_i)) likewise: S = -anomalies of d is R^(-1/2)H applied to X.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class Transform(NamedTuple):
    """x_i^a = x̄ + Σ_j (w_j + √(N-1) T_ij) X_j."""

    mean: Array  # w, shape (N,)
    root: Array  # T, symmetric, with rows that add up to one, shape (N, N)

    def apply(self, members: Array) -> Array:
        """Members after it, whatever they are of, shape (N, …)."""
        number = members.shape[0]
        mean = jnp.mean(members, axis=0)
        weights = self.root + self.mean[None] / jnp.sqrt(number - 1)
        return mean[None] + jnp.tensordot(weights, members - mean[None], axes=1)


def none(number: int) -> Transform:
    """That which changes nothing."""
    return Transform(jnp.zeros(number), jnp.eye(number))


def completed(members: Array, present: Array, stood_for: Array | None = None) -> Array:
    """As many members with the mean and covariance of those that are present.

        x_i ← x̄ + √((K-1)/(M-1)) (x_i - x̄),        and x̄ for those that are absent

    with x̄ the mean of the M that are present. Where all are, nothing changes; fewer than two have
    no covariance, and give NaN.

    Args:
        members: of anything, shape (N, …); those that are absent may be NaN.
        present: which of them there are, shape (N,).
        stood_for: K, of how many the covariance was; N where not given. Where some have been
            absent before, it was that of fewer.
    """
    there = present.reshape(-1, *[1] * (members.ndim - 1))
    number, before = jnp.sum(present), len(members) if stood_for is None else stood_for
    mean = jnp.sum(jnp.where(there, members, 0.0), axis=0)[None] / number
    wider = jnp.sqrt((before - 1) / (number - 1))
    away = wider * jnp.where(there, members - mean, 0.0)
    return jnp.where(jnp.all(present), members, mean + away)


def anomalies(members: Array) -> Array:
    """X_i = (x_i - x̄)/√(N-1), shape (N, …)."""
    return (members - jnp.mean(members, axis=0)[None]) / jnp.sqrt(members.shape[0] - 1)


def stdev(members: Array) -> Array:
    """√ diag XᵀX, the standard deviation with N - 1 in the denominator."""
    return jnp.sqrt(jnp.sum(anomalies(members) ** 2, axis=0))


def square_root(s: Array, departures: Array, taper: Array | None = None) -> Transform:
    """The analysis by the symmetric square root.

        w = (I + SρSᵀ)⁻¹ Sρ d̄,        T = (I + SρSᵀ)^(-1/2)

    Hunt, Kostelich & Szunyogh (2007), Physica D 230, 112, eqs. 20-24.

    Args:
        s: S, shape (N, m).
        departures: d̄, of the mean, shape (m,).
        taper: ρ of every observation on R⁻¹, shape (m,); None for 1.
    """
    tapered = s if taper is None else s * taper[None]
    values, vectors = jnp.linalg.eigh(tapered @ s.T)
    one_more = 1 + jnp.maximum(values, 0.0)
    w = vectors @ ((vectors.T @ (tapered @ departures)) / one_more)
    return Transform(w, (vectors / jnp.sqrt(one_more)[None]) @ vectors.T)


def gauss_newton(before: Transform, s: Array, departures: Array) -> Transform:
    """One step of Gauss and Newton from where an ensemble stands.

        Y = T⁻¹S,        w ← w - (I + YYᵀ)⁻¹(w - Y d̄)

    of J(w) = ½|w|² + ½|d(x̄ + Σ_j w_j X_j)|², its tangent by the members that T has drawn together
    about w (Bocquet & Sakov 2012, Nonlin. Processes Geophys. 19, 383, "transform"). It equals the
    linear analysis of the departures that the tangent gives at w = 0, d̄ + Yᵀw.

    Args:
        before: w and T of the ensemble whose departures are given.
        s: S of that ensemble, shape (N, m).
        departures: d̄ of its mean, shape (m,).
    """
    y = jnp.linalg.solve(before.root, s)
    return square_root(y, departures + before.mean @ y)


def rotation(key: Array, number: int) -> Array:
    """A random orthogonal matrix that keeps the mean: Ω1 = 1, ΩΩᵀ = I, shape (N, N).

    Uniform over all of them (Sakov & Oke 2008, MWR 136, 1042).
    """
    white = jax.random.normal(key, (number, number))
    random, fixed = _complement(white), _complement(jnp.eye(number))
    return jnp.full((number, number), 1 / number) + random @ fixed.T


def _complement(columns: Array) -> Array:
    """Orthonormal columns, all orthogonal to that of ones, shape (N, N - 1)."""
    number = columns.shape[0]
    first = jnp.ones((number, 1))
    q, r = jnp.linalg.qr(jnp.concatenate([first, columns[:, : number - 1]], axis=1))
    return (q * jnp.sign(jnp.diagonal(r))[None])[:, 1:]


def taper(distance: Array) -> Array:
    """ρ of a distance in units of half the support: 1 at 0, and 0 from 2 on.

    Gaspari & Cohn (1999), QJRMS 125, 723, eq. 4.10.
    """
    z = jnp.minimum(distance, 2.0)
    near = 1 + z**2 * (-5 / 3 + z * (5 / 8 + z * (1 / 2 - z / 4)))
    far = jnp.maximum(z, 1.0)
    polynomial = 4 + far * (-5 + far * (5 / 3 + far * (5 / 8 + far * (-1 / 2 + far / 12))))
    return jnp.where(z <= 1, near, jnp.maximum(polynomial - 2 / (3 * far), 0.0))
