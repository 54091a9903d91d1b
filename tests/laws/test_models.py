"""Laws of models: contract, tangent linear, adjoint, gradient and second derivatives.

Every derivative is that of F(z), the trajectory over a short window as one vector, in z, the
initial state and the parameters as one vector. Two compiled functions a model serve all laws.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from assim.problem.model import check_model
from assim.problem.window import Window, integrate
from tests.registry import MODELS

# A quarter of a minute of compilation on one core, or half of one: run by `make test-slow`.
SLOW = {
    "lotka-volterra-kvaerno5-backpropagation",
    "lotka-volterra-kvaerno5-fixed",
    "rate-and-state-slip-inertia",
    "shallow-water-closed",
    "transport-levels",
}
# A root found to a tolerance leaves the second derivative of an implicit step with it.
SYMMETRY = {"lotka-volterra-kvaerno5-fixed": 1e-7}

EPSILONS = 10.0 ** -np.arange(1, 6)  # four decades


class Subject(NamedTuple):
    z: jax.Array
    scale: jax.Array  # a perturbation of this size is of order one for every entry
    push: Callable  # z, dz -> F(z), F'(z) dz
    second: Callable  # z, w, dz -> F'(z)ᵀ w, and its derivative along dz
    size: int  # of F(z)


@functools.cache
def subject(name):
    entry = MODELS[name]
    model = entry.make()
    window = Window.at(model, entry.edges)
    z, unravel = ravel_pytree((entry.state(), model.parameters))

    def run(z):
        x, theta = unravel(z)
        return ravel_pytree(integrate(model, x, theta, window).states)[0]

    def second(z, w, dz):
        return jax.jvp(lambda z: jax.vjp(run, z)[1](w)[0], (z,), (dz,))

    push = jax.jit(lambda z, dz: jax.jvp(run, (z,), (dz,)))
    value = push(z, jnp.zeros_like(z))[0]
    return Subject(z, 0.3 * jnp.abs(z) + 1e-2, push, jax.jit(second), value.size)


@pytest.fixture(
    params=[pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in MODELS]
)
def name(request):
    return request.param


def normal(size, seed):
    return jax.random.normal(jax.random.key(seed), (size,))


def slope(errors):
    return np.polyfit(np.log(EPSILONS), np.log(errors), 1)[0]


def test_keeps_its_contract(name):
    entry = MODELS[name]
    model, x = entry.make(), entry.state()
    check_model(model, x, model.parameters)
    labels = model.labels()
    assert labels.shapes() == {field: value.shape for field, value in x.items()}
    assert set(labels.parameters) == set(model.parameters)
    for label in (*labels.state.values(), *labels.parameters.values()):
        assert label.long_name
        assert set(label.dims) <= set(labels.coordinates)


def test_window_starts_at_the_initial_state(name):
    entry, one = MODELS[name], subject(name)
    value, _ = one.push(one.z, jnp.zeros_like(one.z))
    assert np.all(np.isfinite(value))
    assert one.size == len(entry.edges) * sum(v.size for v in entry.state().values())


def test_tangent_linear_has_slope_two(name):
    one = subject(name)
    dz = one.scale * normal(one.z.size, 1)
    value, tangent = one.push(one.z, dz)
    weight = 1 / (1 + jnp.abs(value))
    errors = []
    for epsilon in EPSILONS:
        moved, _ = one.push(one.z + epsilon * dz, dz)
        errors.append(float(jnp.linalg.norm(weight * (moved - value - epsilon * tangent))))
    assert abs(slope(errors) - 2) < 0.1, errors


def test_adjoint(name):
    one = subject(name)
    dz, w = one.scale * normal(one.z.size, 1), normal(one.size, 2)
    _, tangent = one.push(one.z, dz)
    adjoint, _ = one.second(one.z, w, dz)
    scale = jnp.linalg.norm(tangent) * jnp.linalg.norm(w)
    assert abs(jnp.vdot(tangent, w) - jnp.vdot(dz, adjoint)) <= 1e-12 * scale


def test_gradient_has_slope_two(name):
    """J = ½ |S F(z)|² with weights S that balance the fields."""
    one = subject(name)
    dz = one.scale * normal(one.z.size, 3)
    value, _ = one.push(one.z, dz)
    weight = 1 / (1 + value**2)
    cost = lambda value: 0.5 * jnp.sum(weight * value**2)  # noqa: E731
    gradient, _ = one.second(one.z, weight * value, dz)
    errors = []
    for epsilon in EPSILONS:
        moved, _ = one.push(one.z + epsilon * dz, dz)
        errors.append(float(abs(cost(moved) - cost(value) - epsilon * jnp.vdot(gradient, dz))))
    assert abs(slope(errors) - 2) < 0.1, errors


def test_second_derivative_is_symmetric(name):
    one = subject(name)
    w = normal(one.size, 4)
    a, b = one.scale * normal(one.z.size, 5), one.scale * normal(one.z.size, 6)
    along_a, along_b = one.second(one.z, w, a)[1], one.second(one.z, w, b)[1]
    scale = jnp.linalg.norm(along_a * b) + jnp.linalg.norm(along_b * a)
    assert abs(jnp.vdot(b, along_a) - jnp.vdot(a, along_b)) <= SYMMETRY.get(name, 1e-10) * scale


def test_second_derivative_is_that_of_the_adjoint(name):
    one = subject(name)
    w, dz = normal(one.size, 4), one.scale * normal(one.z.size, 5)
    _, along = one.second(one.z, w, dz)
    step = 1e-4
    ahead, behind = (one.second(one.z + s * dz, w, dz)[0] for s in (step, -step))
    difference = (ahead - behind) / (2 * step)
    error = jnp.linalg.norm((along - difference) * one.scale)
    assert error <= 1e-5 * jnp.linalg.norm(along * one.scale) + 1e-7
