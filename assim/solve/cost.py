"""The cost function J of any departure function, and its derivatives."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp

Array = jax.Array

FORWARD_LIMIT = 16  # controls up to which the Jacobian is formed whole, by forward mode


class Value(Protocol):
    """What a departure function returns."""

    @property
    def normalised(self) -> Array:
        """Normalised departures d, shape (m,)."""

    @property
    def normaliser(self) -> Array:
        """c, a scalar; 0 where nothing but d depends on χ."""


class DepartureFunction(Protocol):
    """χ → (d, c), differentiable in both modes: all that a solver sees of a problem."""

    def __call__(self, chi: Array, /) -> Value:
        """Departures at χ."""

    def size(self) -> int:
        """Length of χ."""

    def weight(self) -> Array:
        """Diagonal of W, shape of χ: 1, or 0 where χ has no prior of its own."""

    def has_normaliser(self) -> bool:
        """Whether c depends on χ."""

    def workspace(self) -> int:
        """Numbers that one evaluation holds, to choose how many run together."""


@eqx.filter_jit
def cost(problem: DepartureFunction, chi: Array) -> Array:
    """J(χ) = ½ χᵀWχ + ½ dᵀd + c; +∞ where the departures are not finite."""
    value = problem(chi)
    j = jnp.sum(problem.weight() * chi**2) / 2 + jnp.sum(value.normalised**2) / 2 + value.normaliser
    return jnp.where(jnp.isfinite(j), j, jnp.inf)


def gradient(problem: DepartureFunction, chi: Array) -> Array:
    """∇J = Wχ + Gᵀd + ∇c, one adjoint integration."""
    return jax.grad(lambda chi: cost(problem, chi))(chi)


class Linearisation(NamedTuple):
    """J, its gradient and its Hessian's action at one χ, from one pass through the model."""

    cost: Array
    gradient: Array
    hessian: Callable[[Array], Array]


def exact_linearisation(problem: DepartureFunction, chi: Array) -> Linearisation:
    """With v ↦ ∇²J v, forward over reverse."""

    def both(chi: Array) -> tuple[Array, Array]:
        return jax.value_and_grad(lambda chi: cost(problem, chi))(chi)

    (j, g), push = jax.linearize(both, chi)
    return Linearisation(j, g, lambda v: push(v)[1])


def gauss_newton_linearisation(problem: DepartureFunction, chi: Array) -> Linearisation:
    """With v ↦ (W + GᵀG) v, one tangent-linear and one adjoint integration."""

    def parts(chi: Array) -> tuple[Array, Array]:
        value = problem(chi)
        return value.normalised, value.normaliser

    weight = problem.weight()
    (d, c), push, pull = _both_ways(parts, chi)
    j = jnp.sum(weight * chi**2) / 2 + jnp.sum(d**2) / 2 + c
    adjoint = pull((d, jnp.ones_like(c)))

    def hessian(v: Array) -> Array:
        departure, normaliser = push(v)
        return weight * v + pull((departure, jnp.zeros_like(normaliser)))

    finite = jnp.where(jnp.isfinite(j), j, jnp.inf)
    return Linearisation(finite, weight * chi + adjoint, hessian)


def _both_ways(function: Callable[[Array], Any], chi: Array) -> tuple[Any, Callable, Callable]:
    """Value, tangent linear and adjoint of f at χ.

    For few controls both come from the Jacobian of one forward pass, which is cheaper to compile
    and to run than a transposed pass.
    """
    n = chi.shape[0]
    if n > FORWARD_LIMIT:
        value, push = jax.linearize(function, chi)
        transpose = jax.linear_transpose(push, chi)
        return value, push, lambda cotangent: transpose(cotangent)[0]

    def column(tangent: Array) -> tuple[Any, Any]:
        return jax.jvp(function, (chi,), (tangent,))

    value, jacobian = jax.vmap(column, out_axes=(None, -1))(jnp.eye(n))

    def push_by_matrix(tangent: Array) -> Any:
        return jax.tree.map(lambda g: g @ tangent, jacobian)

    def pull_by_matrix(cotangent: Any) -> Array:
        parts = jax.tree.map(lambda g, w: jnp.tensordot(w, g, w.ndim), jacobian, cotangent)
        return sum(jax.tree.leaves(parts), jnp.zeros(n))

    return value, push_by_matrix, pull_by_matrix
