"""Two-level Lorenz-96 against its equations written out, and its budget of energy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.models import Lorenz96, Lorenz96TwoLevel
from assim.problem.window import Window, integrate


def state(k, j, seed=0):
    rng = np.random.default_rng(seed)
    return {"X": jnp.asarray(rng.normal(3, 2, k)), "Y": jnp.asarray(rng.normal(0, 0.3, k * j))}


def tendency(model, x, dt=1e-7):
    small = Lorenz96TwoLevel(model.n, model.fast, dt, model.parameters)
    step = small.step(x, small.parameters, 0.0)
    return {name: np.asarray(step[name] - x[name]) / dt for name in x}


def test_tendency_is_that_of_the_equations():
    """Written with indices as Lorenz has them: Y_{j,k}, and Y_{j+J,k} = Y_{j,k+1}."""
    big, small = 5, 3
    model, x = Lorenz96TwoLevel(big, small), state(5, 3)
    f, h, c, b = (float(model.parameters[name]) for name in "Fhcb")
    slow = lambda k: float(x["X"][k % big])  # noqa: E731
    fast = lambda j, k: float(x["Y"][(k * small + j) % (big * small)])  # noqa: E731
    expected_slow = [
        -slow(k - 1) * (slow(k - 2) - slow(k + 1))
        - slow(k)
        + f
        - h * c / b * sum(fast(j, k) for j in range(small))
        for k in range(big)
    ]
    expected_fast = [
        -c * b * fast(j + 1, k) * (fast(j + 2, k) - fast(j - 1, k))
        - c * fast(j, k)
        + h * c / b * slow(k)
        for k in range(big)
        for j in range(small)
    ]
    change = tendency(model, x)
    np.testing.assert_allclose(change["X"], expected_slow, atol=1e-4)
    np.testing.assert_allclose(change["Y"], expected_fast, atol=1e-4)


def test_budget_of_energy():
    """d/dt ½(Σ X² + Σ Y²) = F Σ X - Σ X² - c Σ Y²: advection and coupling only move energy."""
    model, x = Lorenz96TwoLevel(6, 4), state(6, 4)
    change = tendency(model, x)
    gain = sum(float(np.vdot(x[name], change[name])) for name in x)
    forced = 10 * jnp.sum(x["X"]) - jnp.sum(x["X"] ** 2) - 10 * jnp.sum(x["Y"] ** 2)
    assert abs(gain - forced) < 1e-5 * abs(forced)


def end(model, x, time):
    window = Window.at(model, [0.0, time])
    return jax.jit(lambda x: integrate(model, x, model.parameters, window).at_end())(x)


def test_converges_with_order_four():
    x = state(5, 4)
    *coarse, fine = (end(Lorenz96TwoLevel(5, 4, dt), x, 0.04) for dt in (4e-3, 2e-3, 2.5e-4))
    errors = [max(float(jnp.max(jnp.abs(each[n] - fine[n]))) for n in fine) for each in coarse]
    assert abs(np.log2(errors[0] / errors[1]) - 4) < 0.4, errors


def test_without_coupling_the_slow_variables_are_lorenz96():
    x = state(6, 2)
    parameters = {**Lorenz96TwoLevel().parameters, "h": jnp.zeros(()), "F": jnp.asarray(8.0)}
    slow = end(Lorenz96TwoLevel(6, 2, 0.005, parameters), x, 0.1)["X"]
    np.testing.assert_allclose(slow, end(Lorenz96(6, 0.005), {"x": x["X"]}, 0.1)["x"], rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Lorenz96TwoLevel(n=3), "Lorenz96TwoLevel: n must .* at least 4"),
        (lambda: Lorenz96TwoLevel(fast=0), "Lorenz96TwoLevel: fast must .* at least 1"),
        (lambda: Lorenz96TwoLevel(dt=0.0), "Lorenz96TwoLevel: dt must be positive"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
