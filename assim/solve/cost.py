"""The cost function J of any departure function, and its derivatives."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from assim.devices import program

Array = jax.Array

INDEFINITE = 1e-8  # share of the largest curvature below which a negative one is rounding
FORWARD_LIMIT = 16  # controls up to which the Jacobian is formed whole, by forward mode


class Value(Protocol):
    """What a departure function returns."""

    @property
    def normalised(self) -> Array:
        """Normalised departures d, shape (m,)."""

    @property
    def normaliser(self) -> Array:
        """c, a scalar: the normaliser of what estimated scales divide, else 0."""

    @property
    def volume(self) -> Array:
        """v, a scalar: ½ log |W + GᵀG| of the trajectory that scales act over, else 0."""


class Values(NamedTuple):
    """A `Value` in numbers."""

    normalised: Array
    normaliser: Array
    volume: Array


class DepartureFunction(Protocol):
    """χ → (d, c, v), differentiable in both modes: all that a solver sees of a problem."""

    def __call__(self, chi: Array, /) -> Value:
        """Departures at χ."""

    def size(self) -> int:
        """Length of χ."""

    def scalars(self, chi: Array, /) -> dict[str, Array]:
        """What of χ is published as a scalar, in physical units, by name; {} for χ alone."""

    def weight(self) -> Array:
        """Diagonal of W, shape of χ: 1, or 0 where χ has no prior of its own."""

    def has_normaliser(self) -> bool:
        """Whether c or v depends on χ."""

    def proper(self) -> bool:
        """Whether the prior integrates to one although W may have zeros.

        Then every coordinate without a weight has a departure of its own instead (the jump to a
        state of a sub-window), and ∫ exp(v - J) dχ is the evidence but for constants.
        """

    def workspace(self) -> int:
        """Numbers that one evaluation holds, to choose how many run together."""


@program
def cost(problem: DepartureFunction, chi: Array) -> Array:
    """J(χ) = ½ χᵀWχ + ½ dᵀd + c + v, what is minimised; +∞ where it is not finite.

    With v = ½ log |W + GᵀG| over the entries of χ for the trajectory, the mode over error scales
    and an amplitude is that of their marginal density.
    """
    value = problem(chi)
    return _finite(_density_terms(problem, chi, value) + value.volume)


def negative_log_density(problem: DepartureFunction, chi: Array) -> Array:
    """J - v: -log p(χ, y) but for constants, for weights and evidence; +∞ where not finite."""
    return _finite(_density_terms(problem, chi, problem(chi)))


def scored_density(problem: DepartureFunction, chi: Array) -> tuple[Array, Array]:
    """log p = v - J and its gradient, the score; -∞ and 0 where either is not finite."""
    j, slope = jax.value_and_grad(partial(negative_log_density, problem))(chi)
    fine = jnp.isfinite(j) & jnp.all(jnp.isfinite(slope))
    return jnp.where(fine, -j, -jnp.inf), jnp.where(fine, -slope, 0.0)


def _density_terms(problem: DepartureFunction, chi: Array, value: Value) -> Array:
    prior = jnp.sum(problem.weight() * chi**2) / 2
    return prior + jnp.sum(value.normalised**2) / 2 + value.normaliser


def _finite(j: Array) -> Array:
    return jnp.where(jnp.isfinite(j), j, jnp.inf)


def gradient(problem: DepartureFunction, chi: Array) -> Array:
    """∇J = Wχ + Gᵀd + ∇c + ∇v, one adjoint integration."""
    return jax.grad(partial(cost, problem))(chi)


class Linearisation(NamedTuple):
    """J, its gradient and its Hessian's action at one χ, from one pass through the model."""

    cost: Array
    gradient: Array
    hessian: Callable[[Array], Array]


def exact_linearisation(problem: DepartureFunction, chi: Array) -> Linearisation:
    """With v ↦ ∇²J v, forward over reverse."""
    (j, g), push = jax.linearize(jax.value_and_grad(partial(cost, problem)), chi)
    return Linearisation(j, g, lambda v: push(v)[1])


def gauss_newton_linearisation(problem: DepartureFunction, chi: Array) -> Linearisation:
    """With v ↦ (W + GᵀG) v, one tangent-linear and one adjoint integration.

    The curvatures of c and of the volume are left out, their gradients are not. For few controls
    both come from the Jacobian of one forward pass, which is cheaper to compile and to run than a
    transposed pass.
    """

    def parts(chi: Array) -> tuple[Array, Array]:
        value = problem(chi)
        return value.normalised, value.normaliser + value.volume

    weight = problem.weight()
    derivatives = _by_matrix if chi.size <= FORWARD_LIMIT else _by_transpose
    (d, c), product, pull = derivatives(parts, chi)
    j = jnp.sum(weight * chi**2) / 2 + jnp.sum(d**2) / 2 + c
    adjoint = pull((d, jnp.ones_like(c)))
    return Linearisation(_finite(j), weight * chi + adjoint, lambda v: weight * v + product(v))


_Parts = tuple[Array, Array]
# f = (d, c) at χ, v ↦ GᵀGv with G of d alone, and the adjoint of f
_Derivatives = tuple[_Parts, Callable[[Array], Array], Callable[[_Parts], Array]]


def _by_transpose(function: Callable[[Array], _Parts], chi: Array) -> _Derivatives:
    value, push = jax.linearize(function, chi)
    departures = lambda v: push(v)[0]  # noqa: E731 (c's curvature costs nothing this way)
    whole = jax.linear_transpose(push, chi)
    part = jax.linear_transpose(departures, chi)
    return value, lambda v: part(departures(v))[0], lambda cotangents: whole(cotangents)[0]


def _by_matrix(function: Callable[[Array], _Parts], chi: Array) -> _Derivatives:
    push = partial(jax.jvp, function, (chi,))
    value, (g, slope) = jax.vmap(push, out_axes=(None, -1))((jnp.eye(chi.size),))
    return (
        value,
        lambda v: (g @ v) @ g,
        lambda cotangents: cotangents[0] @ g + cotangents[1] * slope,
    )
