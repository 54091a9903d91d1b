"""Gradient methods from optax, which is imported when one of them is used: L-BFGS and Adam."""

import abc
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.arguments import Size
from assim.solve.cost import DepartureFunction, cost
from assim.solve.minimise.loop import AbstractMinimiser
from assim.solve.minimise.status import Status

if TYPE_CHECKING:
    import optax

Array = jax.Array


class GradientState(NamedTuple):
    """State of a gradient method: the best χ so far, and where the method itself is."""

    chi: Array
    cost: Array
    gradient_norm: Array
    inner_iterations: Array
    status: Array
    here: Array
    here_cost: Array
    here_gradient: Array
    optimiser: Any


class _AbstractGradientMethod(AbstractMinimiser):
    """What gradient methods share: all but the optimiser."""

    @abc.abstractmethod
    def _optimiser(self) -> "optax.GradientTransformationExtraArgs":
        """Of optax."""

    def init(self, problem: DepartureFunction, chi: Array) -> GradientState:
        """State at the first guess."""
        j, g = jax.value_and_grad(partial(cost, problem))(chi)
        norm = jnp.linalg.norm(g)
        finite = jnp.isfinite(j) & jnp.isfinite(norm)
        status = jnp.where(norm <= self.tolerance, Status.CONVERGED, Status.RUNNING)
        status = jnp.where(finite, status, Status.NON_FINITE)
        j = jnp.where(finite, j, jnp.inf)
        none, optimiser = jnp.zeros((), int), self._optimiser().init(chi)
        return GradientState(chi, j, norm, none, status, chi, j, g, optimiser)

    def step(self, problem: DepartureFunction, state: GradientState) -> GradientState:
        """Up to `n_inner` iterations, keeping the best point; a non-finite one ends the search."""
        function, optimiser = partial(cost, problem), self._optimiser()

        def unfinished(carry: GradientState) -> Array:
            return (carry.status == Status.RUNNING) & (carry.inner_iterations < self.n_inner)

        def iteration(carry: GradientState) -> GradientState:
            known = {"value": carry.here_cost, "grad": carry.here_gradient, "value_fn": function}
            gradient, here = carry.here_gradient, carry.here
            change, inner = optimiser.update(gradient, carry.optimiser, here, **known)
            there = here + change
            j, g = jax.value_and_grad(function)(there)
            return _moved(carry, there, j, g, inner, self.tolerance)

        fresh = state._replace(inner_iterations=jnp.zeros((), int))
        return jax.lax.while_loop(unfinished, iteration, fresh)


class LBFGS(_AbstractGradientMethod):
    """Limited-memory BFGS with a zoom line search (Nocedal & Wright 2006, algorithms 7.4, 3.5).

    Args:
        n_outer: most outer loops, each of `n_inner` iterations.
        n_inner: iterations between two looks at the status.
        memory: pairs of steps and gradient differences that are kept.
        tolerance: |∇J| at which to stop.
    """

    n_outer: int = eqx.field(default=50, static=True)
    n_inner: int = eqx.field(default=10, static=True)
    memory: Size = eqx.field(default=20, static=True)
    tolerance: float = eqx.field(default=1e-6, static=True)

    def _optimiser(self) -> "optax.GradientTransformationExtraArgs":
        import optax

        return optax.lbfgs(memory_size=self.memory)


class Adam(_AbstractGradientMethod):
    """Adam with a cosine-decayed step (Kingma & Ba 2015): rough, slow, hard to upset.

    Args:
        n_outer: outer loops, each of `n_inner` iterations.
        n_inner: iterations between two looks at the status.
        step_size: first step, in prior standard deviations.
        tolerance: |∇J| at which to stop.
    """

    n_outer: int = eqx.field(default=50, static=True)
    n_inner: int = eqx.field(default=40, static=True)
    step_size: float = eqx.field(default=0.05, static=True)
    tolerance: float = eqx.field(default=1e-6, static=True)

    def _optimiser(self) -> "optax.GradientTransformationExtraArgs":
        import optax

        total = self.n_outer * self.n_inner
        return optax.adam(optax.cosine_decay_schedule(self.step_size, total, alpha=1e-4))


def _moved(
    before: GradientState, there: Array, j: Array, g: Array, inner: Any, tolerance: float
) -> GradientState:
    """The state with the optimiser at another χ, where J and ∇J are `j` and `g`."""
    norm = jnp.linalg.norm(g)
    better = j < before.cost
    still = jnp.all(there == before.here) | ~jnp.isfinite(norm)
    status = jnp.where(still, Status.STAGNATED, Status.RUNNING)
    return GradientState(
        jnp.where(better, there, before.chi),
        jnp.where(better, j, before.cost),
        jnp.where(better, norm, before.gradient_norm),
        before.inner_iterations + 1,
        jnp.where(better & (norm <= tolerance), Status.CONVERGED, status),
        there,
        j,
        g,
        inner,
    )
