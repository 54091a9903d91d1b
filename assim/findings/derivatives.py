"""Derivative checks that return numbers, for a user's plug-in as for ours.

The Taylor remainder |f(x + εv) - f(x) - ε f'(x)v| falls as ε² where f' is the derivative of f
(hence a slope of 2), as ε where it is not, until it is rounding error: of f, or of larger numbers
whose difference f is, as departures y - H(x) of values near 280 K are. The adjoint is tested by
<Gv, w> = <v, Gᵀw>.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from assim.devices import program
from assim.problem.departure import Problem
from assim.solve.cost import cost

Array = jax.Array

_DECADES = 4.0  # of ε over which the slope must be 2
_PER_DECADE = 2
_WIDTH = 0.15  # how far from 2 a local slope may lie
_RIGHT = 1e-6  # relative error of a derivative that passes: steps that adapt make one
_NOISE, _SEEN = 1e-4, 3  # largest relative noise of values, and remainders to be seen above it
_ROUNDING = 30  # units of rounding that a sum of many terms may be off


@dataclass(frozen=True)
class TaylorTest:
    """Outcome of a test of a first derivative by Taylor remainders.

    Args:
        name: what was tested.
        epsilons: lengths of the perturbation at which f is finite.
        remainders: remainder at each, relative to the largest value of f.
        slope: of log remainder over log ε where it is near 2; NaN where it never is.
        decades: of ε with that slope.
        linear: every remainder is rounding error.
        passed: slope 2 over four decades, or down to rounding error, or linear.
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
    magnitude: float = 0.0,
    seed: int = 0,
    name: str = "tangent linear",
) -> TaylorTest:
    """Whether f(x + εv) - f(x) - ε f'(x)v falls as ε².

    Args:
        f: function of a tree of arrays that returns another.
        x: where; the perturbation v is random, of length 1.
        tangent: (x, v) ↦ f'(x)v to test; by default the one that JAX derives.
        magnitude: size of the numbers whose rounding f inherits, where it exceeds that of f.
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
    return _taylor(value, flat, v, slope, name, magnitude)


def gradient_test(
    j: Callable[[Any], Array],
    x: Any,
    *,
    gradient: Callable[[Any], Any] | None = None,
    magnitude: float = 0.0,
    seed: int = 0,
    name: str = "gradient",
) -> TaylorTest:
    """Whether J(x + εv) - J(x) - ε ∇J·v falls as ε².

    Args:
        j: scalar function of a tree of arrays.
        x: where; v is random, of length 1.
        gradient: x ↦ ∇J to test; by default the one that JAX derives.
        magnitude: size of the numbers whose rounding J inherits, where it exceeds that of J.
        seed: of the direction.
        name: what to call the result.
    """
    flat, unravel = ravel_pytree(x)
    value = jax.jit(lambda z: j(unravel(z)))
    v = _direction(seed, flat)
    slope = ravel_pytree(jax.jit(jax.grad(j) if gradient is None else gradient)(x))[0] @ v
    return _taylor(value, flat, v, slope, name, magnitude)


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
    problem: Problem, chi: Array | None = None, seed: int = 0
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
    size, length = map(_norm, program(_magnitude)(problem, chi))
    return [
        tangent_linear_test(departures, chi, magnitude=size, seed=seed),
        adjoint_test(departures, chi, seed=seed),
        gradient_test(j, chi, magnitude=size * length, seed=seed),
        hessian_symmetry_test(j, chi, seed=seed),
    ]


def _magnitude(problem: Problem, chi: Array) -> tuple[Array, Array]:
    """What |y| + |H(x)|, and the states of a filter and of jumps, make of d; and d itself.

    Signs are random, so that nothing cancels where errors are correlated.
    """
    simulation = problem.simulate(chi)
    scales, states = simulation.control.scales, simulation.trajectory.states
    key = jax.random.key(0)
    large = lambda value: jax.random.rademacher(key, value.shape, value.dtype) * jnp.abs(value)  # noqa: E731
    of_states = {name: large(value) for name, value in states.items()}
    parts = []
    for o in problem.observations:
        hx = simulation.predictions[o.name]
        both = large(jnp.abs(hx) + jnp.abs(o.values))
        parts.append(jax.jvp(lambda hx, o=o: o.normalised(hx, scales), (hx,), (both,))[1])
    if problem.digital_filter is not None:
        parts.append(problem.digital_filter.departures(of_states))
    error = problem.control.model_error
    if error is not None and problem.control.later:
        ends = error.free(error.at_jumps(states))
        whole = error.whiten({name: large(value) for name, value in ends.items()})
        parts += [w.ravel() / problem.control.amplitude(scales) for w in whole.values()]
    return jnp.concatenate(parts), problem(chi).normalised


def _taylor(
    value: Callable[[Array], Array], x: Array, v: Array, slope: Array, name: str, magnitude: float
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
    epsilons, finite = epsilons[kept], remainders[kept]
    rounding = _ROUNDING * digits * max(1.0, magnitude / size)
    linear = bool(kept.any() and np.all(finite <= rounding))
    floor = np.maximum(rounding, _RIGHT * _norm(slope) / size * epsilons)
    fit, decades = (math.nan, 0.0) if linear else _stretch(epsilons, finite)
    passed = linear or decades >= _DECADES or _falls_to(floor, epsilons, finite)
    tried, left = tuple(epsilons.tolist()), tuple(finite.tolist())
    return TaylorTest(name, tried, left, fit, decades, linear, passed)


def _slopes(epsilons: np.ndarray, remainders: np.ndarray) -> np.ndarray:
    return np.diff(np.log10(np.maximum(remainders, 1e-300))) / np.diff(np.log10(epsilons))


def _stretch(epsilons: np.ndarray, remainders: np.ndarray) -> tuple[float, float]:
    """Slope and length in decades of the longest stretch of slope 2."""
    start, length = _longest(np.abs(_slopes(epsilons, remainders) - 2) < _WIDTH)
    if length == 0:
        return math.nan, 0.0
    chosen = slice(start, start + length + 1)
    logs = np.log10(np.maximum(remainders[chosen], 1e-300))
    return float(np.polyfit(np.log10(epsilons[chosen]), logs, 1)[0]), length / _PER_DECADE


def _falls_to(floor: np.ndarray, epsilons: np.ndarray, remainders: np.ndarray) -> bool:
    """Whether remainders fall as ε² or faster to the floor, and stay there.

    The noise of an integrator whose steps adapt is a floor, too, where enough is seen to fall.
    """
    if not remainders.size:
        return False
    noise = np.maximum(floor, min(10 * remainders.min(), _NOISE))
    above = remainders > (noise if np.sum(remainders > noise) >= _SEEN else floor)
    number = int(above.sum())
    last = _slopes(epsilons[:number], remainders[:number])[-2:]
    return number < above.size and bool(above[:number].all() and np.all(last > 2 - _WIDTH))


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
