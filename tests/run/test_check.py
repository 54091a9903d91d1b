"""The derivative checks find the errors that they are for, and no others."""

import jax
import jax.numpy as jnp
import numpy as np

from assim.findings.derivatives import (
    adjoint_test,
    gradient_test,
    hessian_symmetry_test,
    tangent_linear_test,
)

X = {"a": jnp.array([0.3, -1.2, 0.7]), "b": jnp.array(0.4)}


def curved(x: dict) -> dict:
    return {"y": jnp.sin(x["a"]) * x["b"], "z": x["a"] ** 3}


def scalar(x: dict) -> jax.Array:
    return jnp.sum(jnp.sin(x["a"])) * jnp.exp(x["b"])


def test_right_derivatives_pass() -> None:
    tangent = tangent_linear_test(curved, X)
    assert tangent.passed
    assert abs(tangent.slope - 2) < 0.05
    assert tangent.decades >= 4
    assert adjoint_test(curved, X).relative < 1e-14
    assert gradient_test(scalar, X).passed
    assert hessian_symmetry_test(scalar, X).passed


def test_a_linear_map_passes_without_a_slope() -> None:
    result = tangent_linear_test(lambda x: 3 * x["a"] - x["b"], X)
    assert result.passed
    assert result.linear
    assert np.isnan(result.slope)


def test_a_nearly_linear_map_passes() -> None:
    assert tangent_linear_test(lambda x: x["a"] + 1e-7 * x["a"] ** 2, X).passed


def test_a_tangent_one_in_a_thousand_off_fails() -> None:
    def tangent(x: dict, v: dict) -> dict:
        return jax.tree.map(lambda y: 1.001 * y, jax.jvp(curved, (x,), (v,))[1])

    assert not tangent_linear_test(curved, X, tangent=tangent).passed


def test_a_gradient_off_in_one_entry_fails() -> None:
    def gradient(x: dict) -> dict:
        return {**jax.grad(scalar)(x), "b": jax.grad(scalar)(x)["b"] * 1.01}

    assert not gradient_test(scalar, X, gradient=gradient).passed


def test_an_adjoint_off_by_rounding_times_a_thousand_fails() -> None:
    def adjoint(x: dict, w: dict) -> dict:
        return jax.tree.map(lambda y: (1 + 1e-11) * y, jax.vjp(curved, x)[1](w)[0])

    assert not adjoint_test(curved, X, adjoint=adjoint).passed


def test_a_map_that_is_not_finite_fails() -> None:
    assert not tangent_linear_test(lambda x: jnp.log(-jnp.abs(x["a"])), X).passed


def noise(x: dict) -> jax.Array:
    return jnp.sin(1e9 * x["a"])


def test_noise_of_values_is_a_floor_only_where_enough_falls_above_it() -> None:
    exact = lambda x, v: 3 * x["a"] ** 2 * v["a"]  # noqa: E731
    cube = lambda size: lambda x: x["a"] ** 3 + size * noise(x)  # noqa: E731
    assert tangent_linear_test(cube(1e-9), X, tangent=exact).passed
    assert not tangent_linear_test(cube(0.02), X, tangent=exact).passed
    assert not tangent_linear_test(noise, X, tangent=lambda x, v: 0 * v["a"]).passed
    off = lambda x, v: 1.1 * exact(x, v)  # noqa: E731
    assert not tangent_linear_test(cube(0.02), X, tangent=off).passed


def test_a_wrong_tangent_fails_where_values_are_finite_nearby_alone() -> None:
    def near(x: dict) -> jax.Array:
        return jnp.where(jnp.max(jnp.abs(x["a"] - X["a"])) < 1e-7, x["a"] ** 3, jnp.nan)

    wrong = lambda x, v: 3.3 * x["a"] ** 2 * v["a"]  # noqa: E731
    assert not tangent_linear_test(near, X, tangent=wrong).passed
