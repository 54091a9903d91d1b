"""Ratios from which root deviances are formed, smooth where a departure is nothing."""

import math

import jax.numpy as jnp

from assim.problem.arrays import Array


def log1p_ratio(s: Array) -> Array:
    """log(1 + s)/s for s > -1, smooth at 0."""
    small = jnp.abs(s) < 1e-2
    near, safe = jnp.where(small, s, 0.0), jnp.where(small, 1.0, s)  # no overflow in a branch
    series = _alternating(near, [1 / n for n in range(1, 9)])
    return jnp.where(small, series, jnp.log1p(safe) / safe)


def mixture_ratio(s: Array, flat: float) -> Array:
    """-log((γ + exp(-s))/(γ + 1))/s for s ≥ 0, smooth at 0."""
    small = s < 0.1
    near, far = jnp.where(small, s, 0.0), jnp.where(small, 1.0, s)
    series = _alternating(near, [1 / math.factorial(n) for n in range(1, 11)])  # (1 - exp(-s))/s
    lost = series / (1 + flat)
    return jnp.where(
        small,
        lost * log1p_ratio(-near * lost),
        (math.log1p(flat) - jnp.log(flat + jnp.exp(-far))) / far,
    )


def deviance_ratio(delta: Array) -> Array:
    """2((1 + δ) log(1 + δ) - δ)/δ² for δ ≥ -1, smooth at 0."""
    small, zero_count = jnp.abs(delta) < 1e-2, delta <= -1
    near, safe = jnp.where(small, delta, 0.0), jnp.where(small | zero_count, 1.0, delta)
    series = _alternating(near, [2 / (n * (n - 1)) for n in range(2, 10)])
    ratio = 2 * ((1 + safe) * jnp.log1p(safe) - safe) / safe**2
    return jnp.where(small, series, jnp.where(zero_count, 2.0, ratio))


def _alternating(s: Array, coefficients: list[float]) -> Array:
    """Σ_n (-1)^n a_n s^n by Horner's rule."""
    total = jnp.zeros_like(s)
    for coefficient in reversed(coefficients):
        total = coefficient - s * total
    return total
