"""Observations of one instrument: their errors, and subsets of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import BiasCorrection, Dense, Diagonal, Normal, Observations, Points, PointSample
from assim.problem.arrays import Array, Coordinate, Grid, Label, Labels, Trajectory
from assim.problem.covariance import AbstractCovariance

LABELS = Labels({"u": Label(("x",))}, coordinates={"x": Coordinate(np.arange(4.0))})
FIELD = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))
TRAJECTORY = Trajectory(jnp.arange(3.0), {"u": FIELD}, {}, Grid.of(LABELS))
POINTS = Points.at([0.5, 1.0, 2.0], {"x": np.array([0.0, 1.5, 3.0])})


class Told(AbstractCovariance):
    """White errors that tell the axes they were fitted to, and have no inverse if so asked."""

    axes: tuple = ()
    m: int = 3
    reason: str = ""

    def on(self, shape, axes=()):
        return Told(axes, shape[0], self.reason)

    def size(self):
        return self.m

    def sqrt(self, w):
        return w

    def whiten(self, field):
        return field

    def variance(self) -> Array:
        return jnp.ones(self.m)

    def no_inverse(self):
        return self.reason

    def log_sqrt_determinant(self):
        return jnp.zeros(())


def test_errors_are_one_where_none_are_given():
    o = Observations("u", np.zeros(3), POINTS, PointSample("u"))
    np.testing.assert_array_equal(o.covariance.stdev, np.ones(3))


def test_a_covariance_along_increasing_times():
    o = Observations("u", np.zeros(3), POINTS, PointSample("u"), covariance=Told())
    np.testing.assert_array_equal(o.covariance.axes[0].values, [0.5, 1.0, 2.0])
    again = Points.at([0.5, 0.5, 2.0], {"x": np.zeros(3)})
    o = Observations("u", np.zeros(3), again, PointSample("u"), covariance=Told())
    assert o.covariance.axes == ()


def test_a_covariance_without_an_inverse_is_refused():
    with pytest.raises(ValueError, match=r"error covariance of u: Told cannot be inverted, as it"):
        Observations(
            "u", np.zeros(3), POINTS, PointSample("u"), covariance=Told(reason="it is made up")
        )


@pytest.mark.parametrize("kind", ["stdev", "covariance"])
def test_a_subset_is_that_of_its_rows(kind):
    stdev, keep = np.array([0.1, 0.2, 0.4]), np.array([True, False, True])
    bias = BiasCorrection(
        {"a": Normal(0.0, 1.0), "b": Normal(0.0, 1.0)}, {"a": stdev, "b": PointSample("u")}
    )
    given = {"stdev": stdev} if kind == "stdev" else {"covariance": Dense(np.diag(stdev**2))}
    o = Observations("u", [1.0, 2.0, 3.0], POINTS, PointSample("u"), bias=bias, **given)
    some = o.subset(keep)
    beta = {"a": jnp.asarray(0.3), "b": jnp.asarray(-0.2)}
    whole, part = o.departures(TRAJECTORY, {}, beta), some.departures(TRAJECTORY, {}, beta)
    np.testing.assert_allclose(part, whole[keep], rtol=1e-12)
    assert jax.tree.structure(o.points) == jax.tree.structure(some.points)
    if kind == "stdev":
        assert isinstance(some.covariance, Diagonal)
