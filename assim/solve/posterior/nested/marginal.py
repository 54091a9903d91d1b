"""The density of parameters and scales ψ, the trajectory z integrated out by Laplace's method."""

from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular

from assim.devices import program
from assim.solve.cost import DepartureFunction, Values, negative_log_density
from assim.solve.posterior.nested.pattern import Pattern

Array = jax.Array

SETTLED = 1e-10  # Newton decrement gᵀH⁻¹g/2, in nats, at which z* is found
HARDEST = 1e12  # damping at which a minimisation gives up
FIRST, LIGHT = 1e-4, 1e-3  # damping when the first step fails, and that which counts as none
ITERATIONS = 100  # at most


@runtime_checkable
class Nesting(DepartureFunction, Protocol):
    """A departure function that knows which entries of χ make its trajectory."""

    def of_trajectory(self) -> np.ndarray:
        """Which entries of χ are neither parameters nor error scales, shape of χ."""

    def as_states(self) -> "Nesting":
        """With states as the control; ValueError where it has no such form."""

    def as_forcing(self) -> "Nesting":
        """With model errors as the control."""

    def moved(self, chi: Array, to: Any) -> Array:
        """χ of the same trajectory and scalars in another form."""

    def log_constant(self) -> Array:
        """log p(y | χ) + ½ dᵀd + c."""


class Conditional(NamedTuple):
    """z given ψ: the minimum z*, its curvature, and how it was found."""

    z: Array
    root: Array  # lower Cholesky factor of H = ∂²φ/∂z² at z*
    phi: Array  # -log p(ψ, z*, y)
    log_density: Array  # log p(ψ, y) by Laplace's method, but for constants; -∞ where not found
    variance: Array  # diagonal of H⁻¹
    mismatch: Array  # of H on a vector that checks its pattern, relative
    curvatures: Array  # how often H was formed
    replaced: Array  # how often Gauss-Newton's stood in for it
    trials: Array  # evaluations of φ alone


class Marginal(eqx.Module):
    """ψ ↦ (d, c): J of it is -log of the nested Laplace density of ψ, a departure function too.

        z*(ψ) = argmin φ(ψ, z),   φ = J - v,   H = ∂²φ/∂z²
        -log p(ψ, y) ≈ φ(ψ, z*) + ½ log |H|

    Rue, Martino & Chopin (2009), J. R. Stat. Soc. B 71, 319; Kristensen et al. (2016), J. Stat.
    Softw. 70, 5. Exact where φ is quadratic in z. Differentiable to any order in both modes.

    Args:
        problem: the departure function of χ, made of ψ and z.
        psi_at, z_at: places of ψ and of z in χ.
        pattern: of H.
        start: z from which z* is sought.
        about, tilt: ψ where that is z*, and dz*/dψ there, shapes (p,) and (n, p), where they are
            known: z* is then sought from start + tilt (ψ - about), if that is nearer.
    """

    problem: Any
    psi_at: Array
    z_at: Array
    pattern: Pattern
    start: Array
    about: Array | None = None
    tilt: Array | None = None

    def __call__(self, psi: Array) -> Values:
        """Departures at z*(ψ), then z* by its prior; c with ½ log |H|."""
        z = conditional_mode(psi, self)
        value = self.problem(self.chi(psi, z))
        prior = jnp.sqrt(self.problem.weight()[self.z_at]) * z
        root = jnp.linalg.cholesky(self.hessian(psi, z)[0])
        half = jnp.sum(jnp.log(jnp.diagonal(root)))
        d = jnp.concatenate([value.normalised, prior])
        return Values(d, value.normaliser + half, jnp.zeros(()))

    def size(self) -> int:
        """Length of ψ."""
        return int(self.psi_at.size)

    def scalars(self, psi: Array) -> dict[str, Array]:
        """None: ψ alone counts."""
        del psi
        return {}

    def weight(self) -> Array:
        """Of ψ."""
        return self.problem.weight()[self.psi_at]

    def has_normaliser(self) -> bool:
        """½ log |H| depends on ψ."""
        return True

    def proper(self) -> bool:
        """As the problem is."""
        return bool(self.problem.proper())

    def workspace(self) -> int:
        """An evaluation holds H, and a trajectory a column of it."""
        n = int(self.z_at.size)
        return int(self.problem.workspace()) * self.pattern.products() + n * n

    def chi(self, psi: Array, z: Array) -> Array:
        """χ of ψ and z."""
        whole = jnp.zeros(self.problem.size(), z.dtype)
        return whole.at[self.psi_at].set(psi).at[self.z_at].set(z)

    def first(self, psi: Array) -> Array:
        """z from which z*(ψ) is sought."""
        if self.about is None or self.tilt is None:
            return self.start
        ahead = self.start + self.tilt @ (psi - self.about)
        nearer = self.phi(psi, ahead) < self.phi(psi, self.start)
        return jnp.where(nearer, ahead, self.start)

    def phi(self, psi: Array, z: Array) -> Array:
        """-log p(ψ, z, y); +∞ where it is not finite."""
        return negative_log_density(self.problem, self.chi(psi, z))

    def slope(self, psi: Array, z: Array) -> Array:
        """∂φ/∂z."""
        return jax.grad(partial(self.phi, psi))(z)

    def hessian(self, psi: Array, z: Array) -> tuple[Array, Array]:
        """H, and how far it is from itself on the vector that checks its pattern."""
        return self.pattern.matrix(lambda v: jax.jvp(partial(self.slope, psi), (z,), (v,))[1])

    def gauss_newton(self, psi: Array, z: Array) -> Array:
        """W + GᵀG of z."""
        weight = self.problem.weight()[self.z_at]
        departures = lambda z: self.problem(self.chi(psi, z)).normalised  # noqa: E731
        _, push = jax.linearize(departures, z)
        pull = jax.linear_transpose(push, z)
        return self.pattern.matrix(lambda v: weight * v + pull(push(v))[0])[0]


# ---- z*(ψ) ---------------------------------------------------------------------------------------


class _Curvature(NamedTuple):
    slope: Array
    h: Array
    convex: Array
    mismatch: Array


class _Progress(NamedTuple):
    z: Array
    phi: Array
    damping: Array
    curvature: _Curvature
    fresh: Array  # whether the curvature is that at z
    done: Array
    iteration: Array
    curvatures: Array
    replaced: Array


def conditional(marginal: Marginal, psi: Array, start: Array, in_use: Array | bool) -> Conditional:
    """z given ψ, by damped Newton steps from `start`; nothing is done where it is not in use."""

    def step(p: _Progress) -> _Progress:
        p = jax.lax.cond(p.fresh, lambda: p, lambda: _refreshed(marginal, psi, p))
        slope, h = p.curvature.slope, p.curvature.h
        root = jnp.linalg.cholesky(h + p.damping * jnp.diag(jnp.diagonal(h)))
        move = -cho_solve((root, True), slope)
        decrement = -(slope @ move) / 2
        settled = (decrement <= SETTLED) & (p.damping <= LIGHT)
        p = p._replace(done=settled, iteration=p.iteration + 1)
        return jax.lax.cond(settled, lambda: p, lambda: _tried(marginal, psi, p, p.z + move))

    def unfinished(p: _Progress) -> Array:
        return ~p.done & (p.iteration < ITERATIONS) & (p.damping < HARDEST)

    zero, n, no = jnp.zeros((), int), start.shape[0], jnp.array(False)
    blank = _Curvature(jnp.zeros(n), jnp.eye(n), no, jnp.zeros(()))
    phi = marginal.phi(psi, start)
    done = ~(jnp.asarray(in_use) & jnp.isfinite(phi))
    begin = _Progress(start, phi, jnp.zeros(()), blank, no, done, zero, zero, zero)
    end = jax.lax.while_loop(unfinished, step, begin)
    return _finished(end)


def _refreshed(marginal: Marginal, psi: Array, p: _Progress) -> _Progress:
    """With the exact Hessian at z, or Gauss-Newton's where that is not positive definite."""
    slope, push = jax.linearize(partial(marginal.slope, psi), p.z)
    h, mismatch = marginal.pattern.matrix(push)
    convex = jnp.all(jnp.isfinite(jnp.linalg.cholesky(h)))
    h = jax.lax.cond(convex, lambda: h, lambda: marginal.gauss_newton(psi, p.z))
    return p._replace(
        curvature=_Curvature(slope, h, convex, mismatch),
        fresh=jnp.array(True),
        curvatures=p.curvatures + 1,
        replaced=p.replaced + 1 - convex.astype(int),
    )


def _tried(marginal: Marginal, psi: Array, p: _Progress, new: Array) -> _Progress:
    """A step taken where φ does not rise by it, else more damping."""
    value = marginal.phi(psi, new)
    better = (value <= p.phi + 1e-9 * (1 + jnp.abs(p.phi))) & jnp.all(jnp.isfinite(new))
    lighter = jnp.where(p.damping > FIRST / 10, p.damping / 10, 0.0)
    return p._replace(
        z=jnp.where(better, new, p.z),
        phi=jnp.where(better, value, p.phi),
        damping=jnp.where(better, lighter, jnp.maximum(10 * p.damping, FIRST)),
        fresh=~better,
    )


def _finished(p: _Progress) -> Conditional:
    root = jnp.linalg.cholesky(p.curvature.h)
    inverse = solve_triangular(root, jnp.eye(p.z.size), lower=True)
    half = jnp.sum(jnp.log(jnp.diagonal(root)))
    good = p.done & p.curvature.convex & jnp.isfinite(half)
    return Conditional(
        p.z,
        root,
        p.phi,
        jnp.where(good, -p.phi - half, -jnp.inf),
        jnp.sum(inverse**2, axis=0),
        p.curvature.mismatch,
        p.curvatures,
        p.replaced,
        p.iteration + 1,
    )


@eqx.filter_custom_jvp
def conditional_mode(psi: Array, marginal: Marginal) -> Array:
    """z*(ψ), NaN where it is not found, with dz* = -H⁻¹ φ_zψ dψ by the implicit-function theorem.

    The rule is written in terms of z*(ψ) itself, so that derivatives of any order, forward and
    reverse, follow from it and none goes through the iterations.
    """
    solved = conditional(marginal, psi, marginal.first(psi), True)
    return jnp.where(jnp.isfinite(solved.log_density), solved.z, jnp.nan)


@conditional_mode.def_jvp
def _implicit(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    psi, marginal = primals
    z = conditional_mode(psi, marginal)
    return z, moved_mode(marginal, psi, z, tangents[0])


def moved_mode(marginal: Marginal, psi: Array, z: Array, direction: Array) -> Array:
    """dz* of dψ where z = z*(ψ)."""
    cross = jax.jvp(lambda psi: marginal.slope(psi, z), (psi,), (direction,))[1]
    return -jnp.linalg.solve(marginal.hessian(psi, z)[0], cross)


@program
def tilted(marginal: Marginal, psi: Array, z: Array) -> Marginal:
    """The same marginal with z* sought from the plane through z = z*(ψ) along which it moves."""
    columns = jax.lax.map(partial(moved_mode, marginal, psi, z), jnp.eye(psi.size))
    tilt = jnp.where(jnp.all(jnp.isfinite(columns)), columns.T, 0.0)
    places = lambda m: (m.start, m.about, m.tilt)  # noqa: E731
    none = lambda part: part is None  # noqa: E731
    return eqx.tree_at(places, marginal, (z, psi, tilt), is_leaf=none)
