"""The upper tail of the χ² distribution, without a library to import for it."""

import math

_ENOUGH = 1e-15
_TINY = 1e-300


def upper_tail(value: float, degrees: float) -> float:
    """P(χ²_degrees ≥ value) = Q(degrees/2, value/2), the regularised incomplete gamma function.

    By its series below the mean and by its continued fraction above (Abramowitz & Stegun 1964,
    equations 6.5.29 and 6.5.31, the latter by Lentz's method).
    """
    a, x = degrees / 2, value / 2
    if x <= 0:
        return 1.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    return 1 - front * _series(a, x) if x < a + 1 else front * _fraction(a, x)


def _series(a: float, x: float) -> float:
    """Σ_k xᵏ/(a(a + 1)…(a + k)) = γ(a, x) eˣ x⁻ᵃ."""
    term = total = 1 / a
    while abs(term) > _ENOUGH * total:
        a += 1
        term *= x / a
        total += term
    return total


def _fraction(a: float, x: float) -> float:
    """1/(x + 1 - a - 1(1 - a)/(x + 3 - a - …)) = Γ(a, x) eˣ x⁻ᵃ."""
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    total, k, change = d, 0, 0.0
    while abs(change - 1) > _ENOUGH:
        k += 1
        b += 2
        d = 1 / _away(b - k * (k - a) * d)
        c = _away(b - k * (k - a) / c)
        change = c * d
        total *= change
    return total


def _away(x: float) -> float:
    """Not zero."""
    return x if abs(x) > _TINY else _TINY
