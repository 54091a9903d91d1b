"""Moments of trajectory, model errors and predictions over weighted members of χ."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.evaluation import with_tangent
from assim.devices import each_member, program
from assim.problem.arrays import State
from assim.problem.departure import Problem
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.together import HELD, batch_size
from assim.statistics.accuracy import Errors

Array = jax.Array
Fields = tuple[State, State, State]  # of the trajectory, η, and Hx by instrument

MOST_TOGETHER = 1000  # draws that are pushed together
FEWEST_PAIRS = 250  # of antithetic draws, from which moments are taken
SUMS = 15  # that are kept for every entry of the fields
FURTHER = ((2, 1), (2, 2), (2, 3), (2, 4))  # powers of weights and of what is summed, for errors
ROUNDING = 1e-9  # of a field: standard deviations that count as none


class FieldMoments(NamedTuple):
    """Moments of every field.

    Args:
        mean: of the trajectory; empty where it is not known.
        stdev: its standard deviations.
        model_error: those of η.
        predicted: those of Hx, by instrument.
        errors: of the moments, the largest; NaN where they were not measured.
        outside: share of the weight whose trajectory is not finite, which all of them leave out.
        looked_at: of members, every so manieth entry for its errors; 0 for none.
    """

    mean: State
    stdev: State
    model_error: State
    predicted: State
    errors: Errors = Errors(float("nan"), float("nan"))
    outside: float = 0.0
    looked_at: int = 1


def many_together(problem: Problem) -> int:
    """How many draws are pushed through the model together."""
    return batch_size(problem, MOST_TOGETHER)


@program
def _fields(problem: Problem, chi: Array) -> Fields:
    simulation = problem.simulate(chi)
    return simulation.trajectory.states, simulation.control.model_error, simulation.predictions


# ---- of any weighted members ---------------------------------------------------------------------


def of_members(
    problem: Problem, members: Array, weights: Array, chi: Array, effective_size: float = math.nan
) -> FieldMoments:
    """Mean and standard deviation of every field, about what χ gives.

    Members whose trajectory is not finite are left out, and of the others predictions that are not.
    Errors are those of the delta method (`errors_of_weighted`), scaled to the independent draws
    that the members are worth.

    Args:
        problem: the problem.
        members: χ, shape (N, n).
        weights: shape (N,), of sum one.
        chi: χ*.
        effective_size: so many independent draws; NaN where errors are not measured.
    """
    number, batch = members.shape[0], many_together(problem)
    extra = -(-number // batch) * batch - number
    padded = jnp.pad(members, ((0, extra), (0, 0)), mode="edge")
    w = jnp.pad(weights, (0, extra))
    here = _fields(problem, chi)
    stride = 0 if math.isnan(effective_size) else -(-_held(here) // HELD)
    total: Any = None
    for at in range(0, number, batch):
        part = slice(at, at + batch)
        more = _sums(problem, here, padded[part], w[part], stride)
        total = more if total is None else jax.tree.map(jnp.add, total, more)
    *sums, kept = jax.tree.map(np.asarray, total)
    entries = lambda x, *of_x: _member_entries(stride, np.asarray(x), *of_x)  # noqa: E731
    moments = _of_entries(jax.tree.map(entries, here, *sums))
    moments = moments._replace(outside=_outside(kept[0], np.sum(weights)), looked_at=stride)
    if not stride:
        return moments
    mass, square = np.where(kept > 0, kept, np.nan)  # no member has a finite trajectory
    scale = float(mass / np.sqrt(square * effective_size))  # of errors of so many independent draws
    return moments._replace(errors=moments.errors.scaled(scale))


def _outside(kept: np.ndarray, weights: np.ndarray) -> float:
    """Share of the sum of weights that was not kept; rounding is none."""
    share = 1 - float(kept) / float(weights)
    return share if share > ROUNDING else 0.0


def _member_entries(
    stride: int, x: np.ndarray, sums: np.ndarray, further: np.ndarray, mass: np.ndarray
) -> "_Entries":
    """With the errors of independent members, NaN where the sums for them are not there.

    `mass` holds Σ w and Σ w² of the members that have a finite value; NaN results from none.
    """
    mass, square = np.where(mass[0] > 0, mass[0], np.nan), mass[1]
    m, second = sums / mass
    variance = np.maximum(second - m**2, 0.0)
    if not stride:
        return _Entries(x + m, np.sqrt(variance), math.nan, math.nan)
    some = lambda v: _every(np.broadcast_to(v, x.shape)[None], stride)[0]  # noqa: E731
    places = tuple(map(some, (x, m, variance, mass, square)))
    return _Entries(x + m, np.sqrt(variance), *_member_errors(further, *places))


def _member_errors(
    further: np.ndarray,
    x: np.ndarray,
    m: np.ndarray,
    variance: np.ndarray,
    mass: np.ndarray,
    square: np.ndarray,
) -> tuple[float, float]:
    p0, (p1, p2, p3, p4) = square / mass**2, further / mass**2
    about = m**2 - variance
    of_mean = p2 - 2 * m * p1 + m**2 * p0
    of_variance = p4 - 4 * m * p3 + (4 * m**2 + 2 * about) * p2 - 4 * m * about * p1 + about**2 * p0
    return _worst_errors(x, variance, of_mean, of_variance)


@program
def _sums(
    problem: Problem, here: Fields, chi: Array, w: Array, stride: int
) -> tuple[Any, Any, Any, Array]:
    """Σ w (x - x*)^q over several χ, q = 1 and 2; of entries that are looked at Σ w^p (x - x*)^q.

    (p, q) are in FURTHER. Then Σ w and Σ w² of each entry, and of those with a finite trajectory.
    """
    away, weights, kept = _away(problem, here, chi, w)
    first = lambda a, w: jnp.stack([_weighed(w, a), _weighed(w, a**2)])  # noqa: E731

    def further(a: Array, w: Array) -> Array:
        a, w = _every(a, stride), w if w.ndim == 1 else _every(w, stride)
        return jnp.stack([_weighed(w**p, a**q) for p, q in FURTHER])

    sums = jax.tree.map(first, away, weights)
    more = jax.tree.map(further if stride else lambda a, _: a[:0], away, weights)
    return sums, more, jax.tree.map(_with_squares, weights), _with_squares(kept)


def _every(v: Any, stride: int) -> Any:
    """Every so manieth entry of rows (N, …), the last one of them, shape (N, k)."""
    flat = v.reshape(v.shape[0], -1)
    return flat[:, (flat.shape[1] - 1) % stride :: stride]


def _with_squares(w: Array) -> Array:
    """Σ w and Σ w² over the first axis."""
    return jnp.stack([jnp.sum(w, axis=0), jnp.sum(w**2, axis=0)])


def _weighed(w: Array, a: Array) -> Array:
    """Σ w a over the first axis, of a weight a row or for every entry."""
    return jnp.tensordot(w, a, 1) if w.ndim == 1 else jnp.sum(w * a, axis=0)


def _away(problem: Problem, here: Fields, chi: Array, w: Array) -> tuple[Fields, Fields, Array]:
    """x - x* of several χ, the weights of each field, and those of members; 0 where not finite.

    A member has no weight where its trajectory is not finite; predictions have a weight each.
    """
    fields = each_member(lambda chi: _fields(problem, chi))(chi)
    away = jax.tree.map(lambda a, b: a - b[None], fields, here)
    finite = [jnp.isfinite(a).reshape(w.size, -1).all(axis=1) for a in jax.tree.leaves(away[:2])]
    kept = jnp.where(jnp.all(jnp.stack(finite), axis=0), w, 0.0)
    each = lambda a: jnp.where(jnp.isfinite(a), kept.reshape(-1, *[1] * (a.ndim - 1)), 0.0)  # noqa: E731
    of_states = jax.tree.map(lambda _: kept, away[:2])
    safe = jax.tree.map(lambda a: jnp.where(jnp.isfinite(a), a, 0.0), away)
    return safe, (*of_states, jax.tree.map(each, away[2])), kept


# ---- of the Laplace posterior, corrected by weights ----------------------------------------------


class _Sums(NamedTuple):
    """Over antithetic pairs p, for every entry of the fields, of s = (Σ we, Σ we², Σ l²) of each.

    Args:
        plain: Σ_p s, leading dimension 3.
        products: Σ_p s sᵀ, leading dimensions 3 and 3.
        weighed: Σ_p s Σ w, leading dimension 3.
        mass: Σ_p (Σ w), and of its square, leading dimension 2.
        kept: Σ w of draws whose trajectory is finite, and of all.
    """

    plain: Any
    products: Any
    weighed: Any
    mass: Any
    kept: Array


def corrected(problem: Problem, fitted: LaplacePosterior, stdev: Fields) -> FieldMoments:
    """Moments of weighted draws of the Gaussian, with its tangent linear as control variate.

        mean = x* + Σ w e        variance = Σ w e² - β (Σ l²/N - s²) - (Σ w e)²

    where e = x(χ) - x*, and l = x′(χ - χ*) has the variance s² exactly. β is that of least error
    (Owen 2013, Monte Carlo theory, methods and examples, section 8.9); where the problem is linear
    it is 1 and the result is x* and s². As many of the antithetic pairs are taken as make errors
    half of what may be, all of them where none do.

    Args:
        problem: the problem.
        fitted: its Laplace posterior, whose draws may be trusted.
        stdev: s of every field.
    """
    assert fitted.sample is not None
    draws, weights = fitted.sample
    half, mirrored = len(draws) // 2, (len(draws) + 1) // 2
    batch = -(-many_together(problem) // 2)
    sums, done, pairs_needed = None, 0, FEWEST_PAIRS
    while done < half:
        rows = np.arange(done, min(done + batch, half))
        away = np.zeros((batch, draws.shape[1]))
        away[: rows.size] = draws[rows] - np.asarray(fitted.chi)
        w = np.zeros((2, batch))
        w[:, : rows.size] = weights[rows], weights[rows + mirrored]
        here, more = _pair_sums(problem, fitted.chi, jnp.asarray(away), jnp.asarray(w))
        sums = more if sums is None else jax.tree.map(np.add, sums, more)
        done += rows.size
        if done >= pairs_needed or done == half:
            moments = _combined(here, stdev, sums, done)
            pairs_needed = 2 * done
            if moments.errors.excess() <= 0.5:
                break
    return moments


def can_be_corrected(stdev: Fields) -> bool:
    """Whether memory holds the sums that it takes."""
    return _held(stdev) <= HELD


def _held(fields: Fields) -> int:
    """Numbers that these sums are, of all entries."""
    return SUMS * sum(np.size(leaf) for leaf in jax.tree.leaves(fields))


@program
def _pair_sums(problem: Problem, chi: Array, away: Array, w: Array) -> tuple[Fields, _Sums]:
    """x*, and of the pairs χ* ± away, shape (batch, n), with weights (2, batch)."""
    fields_of = with_tangent(problem, lambda c: _fields(problem, c))
    pushed = lambda v: jax.jvp(fields_of, (chi,), (v,))  # noqa: E731
    several, tangent = each_member(pushed)(away)
    here = jax.tree.map(lambda x: x[0], several)
    members = chi[None] + jnp.concatenate([away, -away])
    fields, weights, kept = _away(problem, here, members, w.reshape(-1))
    in_pairs = lambda v: jnp.sum(v.reshape(2, -1, *v.shape[1:]), axis=0)  # noqa: E731

    def of_entries(linear: Array, e: Array, w: Array) -> Array:
        weigh = w.reshape(*w.shape, *[1] * (e.ndim - w.ndim))
        sums = [in_pairs(weigh * f) for f in (e, e**2)]
        return jnp.stack([*sums, 2 * linear**2], axis=1)

    terms = jax.tree.map(of_entries, tangent, fields, weights)
    masses = jax.tree.map(in_pairs, weights)
    by_mass = lambda s, m: _weighed(m if m.ndim == 1 else m[:, None], s)  # noqa: E731
    return here, _Sums(
        jax.tree.map(lambda s: jnp.sum(s, axis=0), terms),
        jax.tree.map(lambda s: jnp.einsum("pi...,pj...->ij...", s, s), terms),
        jax.tree.map(by_mass, terms, masses),
        jax.tree.map(_with_squares, masses),
        jnp.stack([jnp.sum(kept), jnp.sum(w)]),
    )


def _combined(here: Fields, stdev: Fields, sums: _Sums, pairs: int) -> FieldMoments:
    """Moments and errors from the sums over so many pairs."""
    each = jax.tree.map(
        lambda x, s, *sums: _combined_entries(np.asarray(x), np.asarray(s), sums, pairs),
        here,
        stdev,
        sums.plain,
        sums.products,
        sums.weighed,
        sums.mass,
    )
    return _of_entries(each)._replace(outside=_outside(*np.asarray(sums.kept)))


def _of_entries(each: Any) -> FieldMoments:
    """From the entries of every field."""
    is_leaf = lambda node: isinstance(node, _Entries)  # noqa: E731
    pick = lambda i: jax.tree.map(lambda entries: entries[i], each, is_leaf=is_leaf)  # noqa: E731
    mean, *_ = pick(0)
    errors = [jax.tree.leaves(pick(i)) for i in (2, 3)]
    largest = Errors(*(float(np.max(several, initial=0.0)) for several in errors))
    trajectory, model_error, predicted = pick(1)
    return FieldMoments(mean, trajectory, model_error, predicted, largest)


class _Entries(NamedTuple):
    """Moments of one field, and the largest of their errors."""

    mean: np.ndarray
    stdev: np.ndarray
    mean_error: float
    stdev_error: float


def _combined_entries(
    x: np.ndarray, s: np.ndarray, sums: tuple[Array, ...], pairs: int
) -> _Entries:
    """With the influence of pair p on the variance v: a + b, b = -β l²/N and

    a = we² - 2m we + (m² - v) w.
    """
    plain, products, weighed, mass = map(np.asarray, sums)
    mass = np.where(mass > 0, mass, np.nan)  # no draw has a finite value
    one = np.ones_like(mass[0])
    scale = np.stack([one / mass[0], one / mass[0], one / (2 * pairs)])
    scale = scale.reshape(*scale.shape, *[1] * (x.ndim + 1 - scale.ndim))
    first, second, square = scale * plain
    products = scale[:, None] * scale[None] * products
    weighed = scale * weighed / mass[0]
    ww = mass[1] / mass[0] ** 2
    m, v = first, second - first**2
    l_l = products[2, 2] - square**2 / pairs
    a_l = products[1, 2] - 2 * m * products[0, 2] + (m**2 - v) * weighed[2]
    beta = np.where(l_l > 0, a_l / np.where(l_l > 0, l_l, 1.0), 0.0)
    a_a = (
        products[1, 1]
        + 4 * m**2 * products[0, 0]
        + (m**2 - v) ** 2 * ww
        - 4 * m * products[0, 1]
        + 2 * (m**2 - v) * (weighed[1] - 2 * m * weighed[0])
    )
    variance = v - beta * (square - s**2)
    variance = np.where(variance > 0, variance, v)
    of_mean = products[0, 0] - 2 * m * weighed[0] + m**2 * ww
    of_variance = a_a - 2 * beta * a_l + beta**2 * l_l
    return _with_errors(x, m, variance, of_mean, of_variance)


def _with_errors(
    x: np.ndarray,
    m: np.ndarray,
    variance: np.ndarray,
    of_mean: np.ndarray,
    of_variance: np.ndarray,
) -> _Entries:
    """Moments about x*, and the worst of their errors, from the variances of the estimates."""
    errors = _worst_errors(x, variance, of_mean, of_variance)
    return _Entries(x + m, np.sqrt(np.maximum(variance, 0.0)), *errors)


def _worst_errors(
    x: np.ndarray, variance: np.ndarray, of_mean: np.ndarray, of_variance: np.ndarray
) -> tuple[float, float]:
    """Of means in standard deviations, and of these, relative."""
    moves = variance > (ROUNDING * np.abs(x)) ** 2
    safe = np.where(moves, variance, 1.0)
    mean, stdev = (
        np.sqrt(np.max(np.where(moves, np.maximum(e, 0.0), 0.0), initial=0.0))
        for e in (of_mean / safe, of_variance / (2 * safe) ** 2)
    )
    return float(mean), float(stdev)
