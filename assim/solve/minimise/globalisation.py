"""How far to go in the Krylov space of an inner loop, so that J never rises."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from assim.solve.cost import DepartureFunction, cost
from assim.solve.krylov import Lanczos, Operator

Array = jax.Array

TRIALS = 25  # dampings or radii tried in one loop, each costs one evaluation of J
ACCEPTED, POOR, GOOD = 1e-4, 0.25, 0.75  # shares of the predicted decrease
BISECTIONS = 60


class Trial(NamedTuple):
    """A step that was tried."""

    chi: Array  # where it leads
    cost: Array  # J there
    control: Array  # damping μ or radius Δ for the next step
    length: Array  # |z| of the step, in the inner loop's space
    accepted: Array  # whether J falls enough
    tries: Array  # evaluations of J


class Model(NamedTuple):
    """The quadratic model of J in the eigenbasis of T: -slopeᵀc + ½ Σ curvature c²."""

    slope: Array  # gᵢ, shape (k,)
    curvature: Array  # tᵢ, ascending, shape (k,); of either sign

    def absolute(self) -> Array:
        """|tᵢ|, not below rounding."""
        size = jnp.abs(self.curvature)
        return jnp.maximum(size, 1e-12 * jnp.max(size))

    def decrement(self) -> Array:
        """Decrease that a full step would bring, ½ Σ gᵢ²/|tᵢ|."""
        return jnp.sum(self.slope**2 / self.absolute()) / 2


class Globalisation(NamedTuple):
    """A way to shorten steps, by one number that is carried from loop to loop."""

    first: Callable[[int], float]  # of n ↦ that number for the first step
    # of the model and the number ↦ coefficients c and the decrease they should bring
    step: Callable[[Model, Array], tuple[Array, Array]]
    # of the model, the number, the share of the predicted decrease and |c| ↦ the next
    after: Callable[[Model, Array, Array, Array], Array]
    # of the number and by how much the inner loop's space has stretched a step since
    carried: Callable[[Array, Array], Array]


def search(
    problem: DepartureFunction,
    chi: Array,
    here: Array,
    control: Array,
    pairs: Lanczos,
    ritz: tuple[Array, Array],
    back: Operator,
    way: Globalisation,
) -> Trial:
    """Shorten the step until J falls by a fair share of what the quadratic model predicts.

    In the eigenbasis of T every step costs one evaluation of J and no product. `here` is J at χ,
    where it was linearised, `control` the damping or radius, and `back` z ↦ δχ.
    """
    values, vectors = ritz
    reached = jnp.arange(values.shape[0]) < pairs.iterations
    model = Model(pairs.norm * vectors[0], values)

    def attempt(trial: Trial) -> Trial:
        coefficients, predicted = way.step(model, trial.control)
        z = pairs.basis.T @ jnp.where(reached, vectors @ coefficients, 0.0)
        there = chi + back(z)
        j = cost(problem, there)
        ratio = (here - j) / jnp.where(predicted > 0, predicted, 1.0)
        length = jnp.linalg.norm(coefficients)
        after = way.after(model, trial.control, ratio, length)
        accepted = (j < here) & (ratio > ACCEPTED)
        return Trial(there, j, after, length, accepted, trial.tries + 1)

    def unfinished(trial: Trial) -> Array:
        return ~trial.accepted & (trial.tries < TRIALS) & (pairs.norm > 0)

    none, no = jnp.zeros((), int), jnp.zeros((), bool)
    start = Trial(chi, here, control, jnp.zeros_like(here), no, none)
    return jax.lax.while_loop(unfinished, attempt, start)


# ---- Levenberg-Marquardt damping -----------------------------------------------------------------


def _damped(model: Model, damping: Array) -> tuple[Array, Array]:
    """C = g/(|t| + μ): downhill also along negative curvature (Dauphin et al. 2014)."""
    curvature = model.absolute()
    c = model.slope / (curvature + damping)
    return c, jnp.sum(model.slope * c - curvature * c**2 / 2)


def _next_damping(model: Model, damping: Array, ratio: Array, length: Array) -> Array:
    del length
    unit = jnp.max(model.absolute())
    smaller = jnp.where(damping > 1e-6 * unit, damping / 8, 0.0)
    larger = jnp.maximum(4 * damping, 1e-3 * unit)
    kept = jnp.where(ratio < POOR, larger, damping)
    return jnp.where(ratio > GOOD, smaller, kept)


# ---- trust region --------------------------------------------------------------------------------


def _within(model: Model, radius: Array) -> tuple[Array, Array]:
    """The least value of the quadratic model within |c| ≤ Δ, exactly.

    C = g/(t + λ) with λ ≥ max(0, -t₁) such that |c| = Δ, or λ = 0 within; along negative
    curvature always to the edge (Conn, Gould & Toint 2000, theorem 7.2.1 and section 7.3; in the
    Lanczos basis Gould, Lucidi, Roma & Toint 1999, SIAM J. Optim. 9, 504-525).
    """
    g, t = model
    floor = 1e-12 * jnp.max(jnp.abs(t))
    least = jnp.maximum(0.0, -t[0])

    def steps(multiplier: Array) -> Array:
        return g / jnp.maximum(t + multiplier, floor)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        outside = jnp.linalg.norm(steps(middle)) > radius
        return jnp.where(outside, middle, low), jnp.where(outside, high, middle)

    most = least + jnp.linalg.norm(g) / radius
    _, edge = jax.lax.fori_loop(0, BISECTIONS, halve, (least, most))
    free = (t[0] > 0) & (jnp.linalg.norm(steps(jnp.zeros(()))) <= radius)
    c = steps(jnp.where(free, 0.0, edge))
    rest = jnp.sqrt(jnp.maximum(radius**2 - jnp.sum(c[1:] ** 2), 0.0))  # the hard case included
    c = jnp.where(t[0] < 0, c.at[0].set(jnp.where(g[0] < 0, -rest, rest)), c)
    return c, jnp.sum(g * c - t * c**2 / 2)


def _next_radius(model: Model, radius: Array, ratio: Array, length: Array) -> Array:
    """Algorithm 6.1.1 of Conn, Gould & Toint (2000); wider only where the radius binds."""
    del model
    wider = jnp.where(length > 0.99 * radius, 2 * radius, radius)
    kept = jnp.where(ratio < POOR, jnp.minimum(length, radius) / 4, radius)
    return jnp.where(ratio > GOOD, wider, kept)


GLOBALISATIONS = {
    "damping": Globalisation(
        lambda n: 0.0, _damped, _next_damping, lambda damping, stretch: damping / stretch**2
    ),
    "trust_region": Globalisation(
        lambda n: n**0.5, _within, _next_radius, lambda radius, stretch: radius * stretch
    ),
}
