"""Linear problems that do not change in time: the map from controls to observations, built once.

An adjoint for each value of the last time has the whole map; then new data have their exact
posterior without a run of the model (Henneking et al. 2025, arXiv:2504.16344).
"""

from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from assim.devices import over_members, program
from assim.problem.arrays import Array
from assim.problem.departure import Problem
from assim.problem.observation import Observations
from assim.solve.together import batch_size

DENSE = 1000  # entries of χ besides model errors, each of which costs a run of the tangent linear
CLOSE = {8: 1e-7, 4: 1e-3}  # relative difference that rounding makes, by bytes of a number


class Prediction(NamedTuple):
    """Mean and standard deviation of what an instrument reads without errors, shapes (m,)."""

    mean: Array
    stdev: Array


class TimeInvariant(eqx.Module):
    """d(χ) = d⁰ + Gχ of a linear problem whose every step, error and reading is the same.

        d_i = d⁰_i + Σ_(j ≤ i) F_(i-j) η_j + E_i ξ,        i = 1 … T

    with white model errors η_j of group j, n numbers each, and ξ all other controls. The blocks
    F_0 … F_(T-1), m × n for m values a time, come of m adjoints; products with G are convolutions
    in time, by FFT. Of GGᵀ every block follows from the one before, K_ij = K_(i-1)(j-1) + F_i F_jᵀ.
    """

    blocks: Array  # F, shape (T, m, n)
    spectrum: Array  # of F in time, zeros after it, shape (T + 1, m, n)
    others: Array  # E, shape (Tm, r)
    errors: Array  # entries of χ that are η, shape (T, n)
    rest: Array  # and those that are ξ, shape (r,)
    order: Array  # rows of d by time, shape (Tm,)
    reached: Array  # the state at the end, at random controls: model, priors and Q in numbers
    predicted: dict[str, Array]  # by every instrument at χ = 0
    observations: tuple[Observations, ...]
    gram: Array  # GGᵀ, shape (Tm, Tm)
    factor: Array  # C with CCᵀ = I + GGᵀ, lower
    log_constant: Array

    @staticmethod
    def of(problem: Problem) -> "TimeInvariant":
        """The map of a problem under weak constraint with model errors as its control.

        Every instrument reads the same places at the end of every group of slots. What is found is
        compared with the departures at random controls.

        Raises:
            ValueError: a problem that is not linear, changes in time, or is read unevenly.
        """
        _check(problem)
        errors, rest = _entries(problem)
        order = _by_time(problem, len(errors))
        zero = program(problem.simulate)(jnp.zeros(problem.size()))
        blocks, others = _sensitivities(problem, errors, rest, order)
        gram = _gram(blocks, blocks) + others @ others.T
        found = TimeInvariant(
            blocks,
            jnp.fft.rfft(blocks, 2 * len(blocks), axis=0),
            others,
            errors,
            rest,
            order,
            _reached(problem, _random(problem)),
            zero.predictions,
            problem.observations,
            gram,
            jnp.linalg.cholesky(gram + jnp.eye(len(gram))),
            problem.log_constant(),
        )
        found._compare(problem)
        return found

    @program
    def forward(self, chi: Array) -> Array:
        """Gχ, by time, shape (Tm,)."""
        times, _, _ = self.blocks.shape
        eta = jnp.fft.rfft(chi[self.errors], 2 * times, axis=0)
        product = jnp.einsum("fmn,fn->fm", self.spectrum, eta)
        convolved = jnp.fft.irfft(product, 2 * times, axis=0)[:times]
        return convolved.reshape(-1) + self.others @ chi[self.rest]

    @program
    def adjoint(self, d: Array) -> Array:
        """Gᵀd of departures by time, shape of χ."""
        times, values, _ = self.blocks.shape
        dual = jnp.fft.rfft(d.reshape(times, values), 2 * times, axis=0)
        product = jnp.einsum("fmn,fm->fn", jnp.conj(self.spectrum), dual)
        eta = jnp.fft.irfft(product, 2 * times, axis=0)[:times]
        chi = jnp.zeros(self.errors.size + self.rest.size, d.dtype)
        return chi.at[self.errors].set(eta).at[self.rest].set(self.others.T @ d)

    def posterior(self, values: Mapping[str, Array | np.ndarray] | None = None) -> "ExactPosterior":
        """p(χ | y) of other values of the same instruments; of the problem's own by default.

        Args:
            values: y by instrument, each of the shape that it has in the problem; NaN is missing,
                which costs a factorisation of Tm × Tm.

        Raises:
            ValueError: an instrument that is missing or unknown, or values of another shape.
        """
        own = {o.name: o.values for o in self.observations}
        given = own if values is None else {n: jnp.asarray(v, float) for n, v in values.items()}
        wanted = {name: value.shape for name, value in own.items()}
        if (shapes := {name: value.shape for name, value in given.items()}) != wanted:
            raise ValueError(f"posterior: expected values of shapes {wanted}, got {shapes}")
        d, known = _departures(self, given)
        factor = self.factor
        if not bool(jnp.all(known)):
            both = known[:, None] & known[None, :]
            factor = jnp.linalg.cholesky(jnp.where(both, self.gram, 0.0) + jnp.eye(known.size))
        return ExactPosterior(self, d, known, factor)

    def _compare(self, problem: Problem) -> None:
        chi = _random(problem)
        change = _change(problem, chi)[self.order]
        off = float(jnp.linalg.norm(self.forward(chi) - change) / jnp.linalg.norm(change))
        if not off < CLOSE[chi.dtype.itemsize]:
            raise ValueError(
                f"TimeInvariant: departures differ by {off:.1g} of their size from those of a "
                "linear problem that does not change in time: the model or an operator is not "
                "linear, a forcing, an error or Q changes with time, or errors are correlated"
            )


def _random(problem: Problem) -> Array:
    """Controls that differ in every entry."""
    return jax.random.normal(jax.random.key(0), (problem.size(),))


@program
def _reached(problem: Problem, chi: Array) -> Array:
    """All fields at the end of the window, in a row."""
    states = problem.simulate(chi).trajectory.states
    return ravel_pytree(jax.tree.map(lambda field: field[-1], states))[0]


@program
def _change(problem: Problem, chi: Array) -> Array:
    """d(χ) - d(0)."""
    return problem(chi).normalised - problem(jnp.zeros_like(chi)).normalised


class ExactPosterior(eqx.Module):
    """N(χ*, (I + GᵀG)⁻¹) of a linear problem, in the space of its observations.

        χ* = -Gᵀ K⁻¹ d⁰,        K = I + GGᵀ

    Args:
        map: G.
        departures: d⁰ by time, 0 for what is missing, shape (Tm,).
        known: which values are not missing, shape (Tm,).
        factor: of K, of the values that are known.
    """

    map: TimeInvariant
    departures: Array
    known: Array
    factor: Array

    def mean(self) -> Array:
        """χ*, of which the problem has the trajectory."""
        return -self.map.adjoint(_solved(self.factor, self.departures))

    def cost(self) -> Array:
        """J at χ*, ½ d⁰ᵀ K⁻¹ d⁰: 2J is a χ² variable of as many degrees as there are values."""
        return self.departures @ _solved(self.factor, self.departures) / 2

    def log_evidence(self) -> Array:
        """log p(y) = -J(χ*) - ½ log |K| + constants; NaN where values are missing."""
        volume = jnp.sum(jnp.log(jnp.diag(self.factor)))
        return jnp.where(jnp.all(self.known), self.map.log_constant - self.cost() - volume, jnp.nan)

    def draws(self, key: Array, number: int) -> Array:
        """Independent draws of χ, shape (number, n): each an analysis of perturbed data."""
        return _draws(self, jax.random.split(key, number))

    def predict(self, other: TimeInvariant) -> dict[str, Prediction]:
        """What instruments of another map would read, by name, as that has it.

        The other map is of the same problem with other observations, such as of what is to be
        warned of.

        Raises:
            ValueError: another problem: other controls, or another state at the end for the same.
        """
        mine = self.map
        same = mine.errors.shape == other.errors.shape and mine.rest.size == other.rest.size
        if not (same and bool(jnp.all(mine.errors == other.errors))):
            raise ValueError("predict: expected a map of the same controls, got one of others")
        off = jnp.linalg.norm(mine.reached - other.reached) / jnp.linalg.norm(mine.reached)
        if not off < CLOSE[mine.reached.dtype.itemsize]:
            raise ValueError(
                "predict: expected a map of the same problem with other observations, got one of "
                f"another model, background, B or Q: the same controls lead {off:.1g} elsewhere"
            )
        mean, variance = _moments(self, other)
        readings, start = {}, 0
        for o in other.observations:
            rows = slice(start, start := start + o.values.size)
            stdev = o.covariance.independent_stdev()
            assert stdev is not None
            centre = other.predicted[o.name] - stdev * mean[rows]
            readings[o.name] = Prediction(centre, stdev * jnp.sqrt(variance[rows]))
        return readings


def _check(problem: Problem) -> None:
    """Raise ValueError where the problem is of a kind that has no such map."""
    control = problem.control
    reason = ""
    if control.model_error is None or control.later:
        reason = 'no model errors are its control; use weak_constraint, formulation="forcing"'
    elif problem.has_normaliser() or control.model_error.scale is not None:
        reason = "an error scale is estimated; fix it"
    elif not bool(jnp.all(problem.weight() == 1)):
        reason = "a prior is flat; give each control one"
    elif problem.digital_filter is not None:
        reason = "a digital filter has a term of its own; leave it out"
    for o in problem.observations:
        gaussian = o.likelihood.chi_squared and not o.likelihood.logarithmic
        if not gaussian or o.covariance.independent_stdev() is None:
            reason = f"{o.name!r} has no independent Gaussian errors"
        elif o.weight is not None:
            reason = f"{o.name!r} has weights; leave out what does not count"
    if reason:
        raise ValueError(f"TimeInvariant: {reason}")


def _entries(problem: Problem) -> tuple[Array, Array]:
    """Places in χ of model errors, a row a group, and of all else."""
    parts = problem.control.split(jnp.arange(problem.size(), dtype=float))
    series = [np.asarray(v) for _, v in sorted(parts["model_error"].items())]
    errors = np.concatenate(series, axis=1).astype(int)
    rest = np.setdiff1d(np.arange(problem.size()), errors)
    if rest.size > DENSE:
        raise ValueError(
            f"TimeInvariant: {rest.size} controls are no model errors, of which {DENSE} may be; "
            "fix the initial state"
        )
    return jnp.asarray(errors), jnp.asarray(rest)


def _by_time(problem: Problem, times: int) -> Array:
    """Numbers of the departures by time, then by instrument and place."""
    numbers = np.cumsum([0, *(o.values.size for o in problem.observations)])[:-1]
    keys = []
    for instrument, (o, first) in enumerate(zip(problem.observations, numbers, strict=True)):
        rows = first + np.arange(o.values.size)
        where = np.column_stack([*map(np.asarray, o.points.coordinates.values()), rows * 0.0])
        places = np.unique(where, axis=0, return_inverse=True)[1].reshape(-1)
        ends = np.asarray(o.points.ends)
        edges = np.abs(ends[:, None] - np.asarray(problem.window.edges)).argmin(axis=1)
        keys.append(np.column_stack([edges, np.full_like(rows, instrument), places, rows]))
    table = np.concatenate(keys)
    table = table[np.lexsort(table.T[::-1])]
    counts = np.unique(table[:, 0], return_counts=True)[1]
    what = table[:, 1:3]
    if (
        counts.size != times
        or np.ptp(counts)
        or np.any(what != np.tile(what[: counts[0]], (times, 1)))
    ):
        raise ValueError(
            f"TimeInvariant: expected every instrument at the same places at each of the {times} "
            f"ends of groups of slots, got readings at {counts.size} times, {counts.min()} to "
            f"{counts.max()} each; leave out others, and give missing ones to `posterior` as NaN"
        )
    return jnp.asarray(table[:, 3])


@program
def _sensitivities(
    problem: Problem, errors: Array, rest: Array, order: Array
) -> tuple[Array, Array]:
    """F by one adjoint a value of the last time, E by one tangent linear run a column."""
    chi = jnp.zeros(problem.size())
    value, push = jax.linearize(lambda chi: problem(chi).normalised, chi)
    back, times = jax.linear_transpose(push, chi), len(errors)
    last = order[-(order.size // times) :]
    rows = lambda row: back(jnp.zeros_like(value).at[row].set(1.0))[0][errors]  # noqa: E731
    together = batch_size(problem)
    blocks = jnp.flip(over_members(rows, last, together).swapaxes(0, 1), axis=0)
    if not rest.size:
        return blocks, jnp.zeros((order.size, 0), chi.dtype)
    columns = over_members(lambda entry: push(chi.at[entry].set(1.0))[order], rest, together)
    return blocks, columns.T


@program
def _gram(first: Array, second: Array) -> Array:
    """Σ_k F_(i-k) F'_(j-k)ᵀ of two maps of the same controls, shape (Tm, Tm')."""
    times, m, n = first.shape
    flat = first.reshape(-1, n) @ second.reshape(-1, n).T
    products = flat.reshape(times, m, times, -1).swapaxes(1, 2)

    def add(above: Array, row: Array) -> tuple[Array, Array]:
        total = row.at[1:].add(above[:-1])
        return total, total

    _, rows = jax.lax.scan(add, jnp.zeros_like(products[0]), products)
    return rows.swapaxes(1, 2).reshape(flat.shape)


@program
def _departures(of: TimeInvariant, values: Mapping[str, Array]) -> tuple[Array, Array]:
    """d⁰ of other values by time, 0 where they are missing, and which are not."""
    parts, known = [], []
    for o in of.observations:
        predicted, there = of.predicted[o.name], jnp.isfinite(values[o.name])
        value = jnp.where(there, values[o.name], predicted)
        parts.append(eqx.tree_at(lambda o: o.values, o, value).normalised(predicted, {}))
        known.append(there)
    return jnp.concatenate(parts)[of.order], jnp.concatenate(known)[of.order]


@program
def _solved(factor: Array, d: Array) -> Array:
    """K⁻¹ d."""
    return jax.scipy.linalg.cho_solve((factor, True), d)


@program
def _draws(posterior: ExactPosterior, keys: Array) -> Array:
    """χ⁰ - Gᵀ K⁻¹ (d⁰ + Gχ⁰ + ε) of χ⁰ from the prior and errors ε."""
    to = posterior.map

    def draw(key: Array) -> Array:
        first, second = jax.random.split(key)
        chi = jax.random.normal(first, (to.errors.size + to.rest.size,))
        d = posterior.departures + to.forward(chi)
        d = jnp.where(posterior.known, d + jax.random.normal(second, d.shape), 0.0)
        return chi - to.adjoint(_solved(posterior.factor, d))

    return jax.lax.map(draw, keys)


@program
def _moments(posterior: ExactPosterior, other: TimeInvariant) -> tuple[Array, Array]:
    """G'χ* and diag G'(I + GᵀG)⁻¹G'ᵀ of another map, in the order of its departures."""
    of = posterior.map
    cross = _gram(other.blocks, of.blocks) + other.others @ of.others.T
    cross = jnp.where(posterior.known, cross, 0.0)
    mean = -cross @ _solved(posterior.factor, posterior.departures)
    half = jax.scipy.linalg.solve_triangular(posterior.factor, cross.T, lower=True)
    variance = jnp.maximum(jnp.diag(other.gram) - jnp.sum(half**2, axis=0), 0.0)
    back = jnp.zeros_like(mean)
    return back.at[other.order].set(mean), back.at[other.order].set(variance)
