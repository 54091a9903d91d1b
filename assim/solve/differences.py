"""Derivatives in χ by differences of evaluations, for models that bring no tangent."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

Array = jax.Array
Values = TypeVar("Values")

APART = 1e-3  # |δχ| of what is evaluated, in prior standard deviations


def by_differences(function: Callable[[Array], Values]) -> Callable[[Array], Values]:
    """The function of χ whose tangent is the difference of two evaluations, of second order.

        f′(χ) v ≈ |v| (f(χ + δ) - f(χ - δ)) / 2ε,        δ = ε v/|v|,        ε = 10⁻³

    It can be differentiated forward, once; its own derivatives are never asked for.
    """
    wrapped = jax.custom_jvp(function)

    @wrapped.defjvp
    def tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Values, Values]:
        (chi,), (v,) = primals, tangents
        size = jnp.linalg.norm(v)
        ahead = APART * v / jnp.where(size > 0, size, 1.0)
        above, below = function(chi + ahead), function(chi - ahead)
        scale = size / (2 * APART)
        along: Any = jax.tree.map(lambda a, b: scale * (a - b), above, below)
        return function(chi), along

    return wrapped
