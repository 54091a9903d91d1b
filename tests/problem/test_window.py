"""Windows: where slot edges may lie, and what a trajectory holds at them."""

import jax.numpy as jnp
import numpy as np
import pytest

from assim import Adaptive, FixedStep, Window
from assim.problem.window import integrate
from tests.problem.toy import BACKGROUND, Decay, Tendency


@pytest.mark.parametrize(
    ("edges", "words"),
    [
        ([], "at least two finite slot edges"),
        ([1.0], "at least two finite slot edges"),
        ([0.0, np.nan], "at least two finite slot edges"),
        ([0.0, np.inf], "at least two finite slot edges"),
        ([[0.0, 1.0]], "at least two finite slot edges"),
        ([0.0, 0.5, 0.5, 1.0], "edge 1 is 0.5 and edge 2 is 0.5; sort them"),
        ([0.0, 1.0, 0.5], "edge 1 is 1 and edge 2 is 0.5"),
        ([0.0, 0.3], "Decay: a slot of length 0.3 is not a whole number of steps dt = 0.25"),
        ([0.0, 0.1], "not a whole number of steps"),
        ([0.0, 0.25, 0.75], "same number of steps"),
    ],
)
def test_bad_edges(edges, words):
    with pytest.raises(ValueError, match=words):
        Window.at(Decay(), edges)


@pytest.mark.parametrize(("slots", "steps"), [(0, 1), (1, 0), (-2, 1)])
def test_bad_sizes(slots, steps):
    with pytest.raises(ValueError, match="slots and steps must be positive"):
        Window.regular(Decay(), slots, steps)


def test_no_regular_slots_without_a_time_step():
    ode = Tendency(lambda x, theta, t: x, 1, integrator=Adaptive())
    with pytest.raises(ValueError, match=r"Tendency has no time step.*Window\.at"):
        Window.regular(ode, 4)


def test_regular_is_at():
    """Also with edges that carry the rounding of decimal fractions."""
    regular = Window.regular(Decay(), 4, 3, start=10.0, reference="2000-01-01")
    given = Window.at(Decay(), 10 + 0.75 * np.arange(5), "2000-01-01")
    np.testing.assert_allclose(regular.edges, given.edges, rtol=1e-15)
    assert (regular.steps, regular.slots, regular.reference) == (3, 4, "2000-01-01")
    assert (given.steps, given.slots, given.reference) == (3, 4, "2000-01-01")
    rounded = Window.at(Decay(dt=0.1), np.cumsum(np.full(8, 0.1)))
    assert rounded.steps == 1


def test_steps_of_integrators():
    """An ODE takes any edges; fixed steps are as many as the longest slot needs."""
    edges = [0.0, 0.1, 1.3]
    function = lambda x, theta, t: -theta["rate"] * x  # noqa: E731
    assert Window.at(Tendency(function, 1, integrator=Adaptive()), edges).steps == 1
    assert Window.at(Tendency(function, 1, integrator=FixedStep(0.25)), edges).steps == 5


def test_trajectory_by_hand():
    """Three slots of two steps: every field at every edge, and the time it is given."""
    model = Decay()
    window = Window.regular(model, 3, 2, start=1.0)
    x = {name: jnp.asarray(value) for name, value in BACKGROUND.items()}
    trajectory = integrate(model, x, {"rate": jnp.asarray(0.8)}, window)
    factor = (1 - 0.8 * 0.25) ** (2 * np.arange(4))
    np.testing.assert_allclose(trajectory.times, [1.0, 1.5, 2.0, 2.5])
    np.testing.assert_allclose(trajectory.states["u"], factor[:, None] * BACKGROUND["u"])
    np.testing.assert_allclose(trajectory.states["total"], factor * 6.0)
    np.testing.assert_allclose(trajectory.at_start()["u"], BACKGROUND["u"])
    np.testing.assert_allclose(trajectory.at_end()["total"], 6 * factor[-1])
    assert trajectory.parameters["rate"] == 0.8
    assert trajectory.grid.dims_of("u") == ("x",)


def test_steps_know_the_time():
    """dx/dt = t is integrated exactly by the midpoint, and by Euler from the time it is given."""

    class Clock(Decay):
        def step(self, x, theta, t):
            return {name: value + self.dt * t for name, value in x.items()}

    model = Clock()
    window = Window.regular(model, 2, 3, start=4.0)
    x = {name: jnp.asarray(value) for name, value in BACKGROUND.items()}
    times = 4.0 + 0.25 * np.arange(6)
    end = integrate(model, x, model.parameters, window).at_end()
    np.testing.assert_allclose(end["total"], 6.0 + 0.25 * times.sum(), rtol=1e-14)
