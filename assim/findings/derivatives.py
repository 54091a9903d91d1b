"""Derivative checks that return numbers, for a user's plug-in as for ours.

The Taylor remainder |f(x + εv) - f(x) - ε f'(x)v| falls as ε² where f' is the derivative of f
(hence a slope of 2), as ε where it is not. The adjoint is tested by <Gv, w> = <v, Gᵀw>.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from assim.solve.cost import DepartureFunction, cost

Array = jax.Array

_DECADES = 4.0  # of ε over which the slope must be 2
_PER_DECADE = 2
_WIDTH = 0.15  # how far from 2 a local slope may lie


@dataclass(frozen=True)
class TaylorTest:
    """Outcome of a test of a first derivative by Taylor remainders.

    Args:
        name: what was tested.
        epsilons: lengths of the perturbation.
        remainders: remainder at each, relative to the largest value of f.
        slope: of log remainder over log ε where it is near 2; NaN where it never is.
        decades: of ε with that slope.
        linear: every remainder is rounding error.
        passed: slope 2 over four decades, or over all of them above rounding error, or linear.
    """

    name: str
    epsilons: tuple[float, ...] = field(repr=False)
    remainders: tuple[float, ...] = field(repr=False)
    slope: float
    decades: float
    linear: bool
    passed: bool


@dataclass(frozen=True)
class IdentityTest:
    """Outcome of a test that two numbers are equal: an adjoint, or a symmetry.

    Args:
        name: what was tested.
        left: one side for the worst pair of directions.
        right: the other.
        relative: their difference, relative to the lengths of the vectors multiplied.
        tolerance: largest difference that passes.
        passed: relative ≤ tolerance.
    """

    name: str
    left: float
    right: float
    relative: float
    tolerance: float
    passed: bool


def tangent_linear_test(
    f: Callable[[Any], Any],
    x: Any,
    *,
    tangent: Callable[[Any, Any], Any] | None = None,
    seed: int = 0,
    name: str = "tangent linear",
) -> TaylorTest:
    """Whether f(x + εv) - f(x) - ε f'(x)v falls as ε².

    Args:
        f: function of a tree of arrays that returns another.
        x: where; the perturbation v is random, of length 1.
        tangent: (x, v) ↦ f'(x)v to test; by default the one that JAX derives.
        seed: of the direction.
        name: what to call the result.
    """
    flat, unravel = ravel_pytree(x)
    value = jax.jit(lambda z: ravel_pytree(f(unravel(z)))[0])
    v = _direction(seed, flat)
    if tangent is None:
        slope = jax.jit(lambda z, v: jax.jvp(value, (z,), (v,))[1])(flat, v)
    else:
        slope = ravel_pytree(tangent(x, unravel(v)))[0]
    return _taylor(value, flat, v, slope, name)


def gradient_test(
    j: Callable[[Any], Array],
    x: Any,
    *,
    gradient: Callable[[Any], Any] | None = None,
    seed: int = 0,
    name: str = "gradient",
) -> TaylorTest:
    """Whether J(x + εv) - J(x) - ε ∇J·v falls as ε².

    Args:
        j: scalar function of a tree of arrays.
        x: where; v is random, of length 1.
        gradient: x ↦ ∇J to test; by default the one that JAX derives.
        seed: of the direction.
        name: what to call the result.
    """
    flat, unravel = ravel_pytree(x)
    value = jax.jit(lambda z: j(unravel(z)))
    v = _direction(seed, flat)
    slope = ravel_pytree(jax.jit(jax.grad(j) if gradient is None else gradient)(x))[0] @ v
    return _taylor(value, flat, v, slope, name)


def adjoint_test(
    f: Callable[[Any], Any],
    x: Any,
    *,
    adjoint: Callable[[Any, Any], Any] | None = None,
    tolerance: float | None = None,
    pairs: int = 3,
    seed: int = 0,
    name: str = "adjoint",
) -> IdentityTest:
    """Whether <Gv, w> = <v, Gᵀw> for G = f'(x) and random v and w, and for w = Gv.

    Args:
        f: function of a tree of arrays that returns another.
        x: where.
        adjoint: (x, w) ↦ Gᵀw to test; by default the one that JAX derives.
        tolerance: 1e-12 in double precision unless given.
        pairs: how many random pairs.
        seed: of the directions.
        name: what to call the result.
    """
    flat, unravel = ravel_pytree(x)
    value = lambda z: ravel_pytree(f(unravel(z)))[0]  # noqa: E731
    push: Callable[[Array], Array] = jax.jit(lambda v: jax.jvp(value, (flat,), (v,))[1])
    pull: Callable[[Array], Array] = jax.jit(lambda w: jax.vjp(value, flat)[1](w)[0])
    if adjoint is not None:
        rebuild = ravel_pytree(f(x))[1]
        pull = lambda w: ravel_pytree(adjoint(x, rebuild(w)))[0]  # noqa: E731
    sides = []
    for pair in range(pairs):
        v = _direction(seed + 2 * pair, flat)
        gv = push(v)
        w = gv if pair == 0 else _direction(seed + 2 * pair + 1, gv)
        gtw = pull(w)
        scale = max(_norm(gv) * _norm(w), _norm(gtw))
        sides.append((float(gv @ w), float(v @ gtw), scale))
    return _identity(sides, _default(tolerance, flat), name)


def hessian_symmetry_test(
    j: Callable[[Any], Array],
    x: Any,
    *,
    tolerance: float | None = None,
    seed: int = 0,
    name: str = "Hessian symmetry",
) -> IdentityTest:
    """Whether <u, ∇²J v> = <v, ∇²J u> for random u and v.

    Args:
        j: scalar function of a tree of arrays.
        x: where.
        tolerance: 1e-10 in double precision unless given.
        seed: of the directions.
        name: what to call the result.
    """
    flat, unravel = ravel_pytree(x)
    gradient = jax.grad(lambda z: j(unravel(z)))
    product = jax.jit(lambda v: jax.jvp(gradient, (flat,), (v,))[1])
    u, v = _direction(seed, flat), _direction(seed + 1, flat)
    hu, hv = product(u), product(v)
    sides = [(float(u @ hv), float(v @ hu), max(_norm(hu), _norm(hv)))]
    return _identity(sides, 100 * _default(tolerance, flat), name)


def verify(
    problem: DepartureFunction, chi: Array | None = None, seed: int = 0
) -> list[TaylorTest | IdentityTest]:
    """Every derivative check on the departures and the cost of a problem.

    Args:
        problem: the departure function.
        chi: where; by default a tenth of a prior standard deviation from the background.
        seed: of the directions.
    """
    if chi is None:
        chi = 0.1 * jax.random.normal(jax.random.key(seed), (problem.size(),))
    departures = lambda chi: problem(chi).normalised  # noqa: E731
    j = lambda chi: cost(problem, chi)  # noqa: E731
    return [
        tangent_linear_test(departures, chi, seed=seed),
        adjoint_test(departures, chi, seed=seed),
        gradient_test(j, chi, seed=seed),
        hessian_symmetry_test(j, chi, seed=seed),
    ]


def _taylor(
    value: Callable[[Array], Array], x: Array, v: Array, slope: Array, name: str
) -> TaylorTest:
    """Remainders for ε from 1 down to the square root of rounding, and their slope."""
    centre = value(x)
    digits = float(jnp.finfo(x.dtype).eps)
    smallest = int(np.ceil(np.log10(digits) / 2)) if digits else -8
    epsilons = 10.0 ** np.arange(0, smallest - 0.25, -1 / _PER_DECADE)
    size = max(_norm(centre), _norm(slope), float(jnp.finfo(x.dtype).tiny))
    remainders = np.array(
        [_norm(value(x + e * v) - centre - e * slope) / size for e in epsilons.astype(x.dtype)]
    )
    kept = np.isfinite(remainders)
    fit, decades, to_floor = _stretch(epsilons[kept], remainders[kept], 30 * digits)
    linear = bool(kept.any() and np.all(remainders[kept] <= 30 * digits))
    passed = linear or decades >= _DECADES or to_floor
    fit, decades = (float("nan"), 0.0) if linear else (fit, decades)
    return TaylorTest(
        name,
        tuple(map(float, epsilons)),
        tuple(map(float, remainders)),
        fit,
        decades,
        linear,
        passed,
    )


def _stretch(epsilons: np.ndarray, remainders: np.ndarray, rounding: float) -> tuple:
    """Slope and length of the longest stretch of slope 2; whether it ends at the floor."""
    if epsilons.size < 2:
        return float("nan"), 0.0, False
    logs = np.log10(np.maximum(remainders, 1e-300))
    local = np.diff(logs) / np.diff(np.log10(epsilons))
    good = np.abs(local - 2) < _WIDTH
    start, length = _longest(good)
    if length == 0:
        return float("nan"), 0.0, False
    chosen = slice(start, start + length + 1)
    fit = float(np.polyfit(np.log10(epsilons[chosen]), logs[chosen], 1)[0])
    # The floor: rounding, or the noise of an integrator whose steps adapt.
    floor = max(rounding, 10 * float(remainders.min()))
    to_floor = length >= 2 and bool(np.all(remainders[start + length + 1 :] <= floor))
    return fit, length / _PER_DECADE, to_floor


def _longest(good: np.ndarray) -> tuple[int, int]:
    """First index and length of the longest run of True."""
    best, start = (0, 0), 0
    for i, value in enumerate([*good, False]):
        if not value:
            best = max(best, (start, i - start), key=lambda run: run[1])
            start = i + 1
    return best


def _identity(sides: list[tuple], tolerance: float, name: str) -> IdentityTest:
    """The worst of several comparisons (left, right, scale)."""
    relative = [
        abs(left - right) / scale if scale > 0 else abs(left - right)
        for left, right, scale in sides
    ]
    worst = int(np.argmax(np.nan_to_num(relative, nan=np.inf)))
    left, right, _ = sides[worst]
    passed = bool(relative[worst] <= tolerance)
    return IdentityTest(name, left, right, relative[worst], tolerance, passed)


def _direction(seed: int, like: Array) -> Array:
    v = jax.random.normal(jax.random.key(seed), like.shape, like.dtype)
    return v / jnp.linalg.norm(v)


def _norm(value: Array) -> float:
    return float(jnp.linalg.norm(jnp.atleast_1d(value)))


def _default(tolerance: float | None, like: Array) -> float:
    """1e-12 in double precision; as many digits less in single."""
    return 4500 * float(jnp.finfo(like.dtype).eps) if tolerance is None else tolerance
