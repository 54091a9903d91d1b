"""Observations of one instrument: their errors, and subsets of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import BiasCorrection, Observations, Points
from assim.problem.arrays import Array, Coordinate, Grid, Label, Labels, Trajectory
from assim.problem.covariance import (
    AbstractCovariance,
    Autoregressive,
    Blocks,
    Dense,
    Diagonal,
    Diffusion,
    Joint,
    LowRank,
)
from assim.problem.likelihood import Gaussian
from assim.problem.operator import PointSample, ShapeError
from assim.problem.prior import Normal

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
    np.testing.assert_array_equal(o.covariance.axes[0], [0.5, 0.5, 2.0])


def formed(times, covariance):
    """R of an instrument with values at these times."""
    points = Points.at(times, {"x": np.zeros(len(times))})
    o = Observations("u", np.zeros(len(times)), points, PointSample("u"), covariance=covariance)
    factor = np.asarray(jax.vmap(o.covariance.sqrt)(jnp.eye(len(times)))).T
    return factor @ factor.T


@pytest.mark.parametrize("covariance", [Autoregressive(0.2), Diffusion(1.0, 0.2)])
@pytest.mark.parametrize("times", [[0.0, 0.2, 0.1], [0.0, 0.1, 0.1]], ids=["permuted", "repeated"])
def test_distances_of_times_that_do_not_increase_are_refused(covariance, times):
    words = r"error covariance of u: \w+: positions must increase.*sort the rows.*Blocks.*Dense"
    with pytest.raises(ValueError, match=words):
        formed(times, covariance)


CORRELATED = {
    "Autoregressive": (Autoregressive(0.2, [1.0, 2.0, 3.0, 4.0, 5.0]), Autoregressive),
    "Blocks": (
        Blocks([Autoregressive(0.2), Dense([[2.0, 1.0], [1.0, 3.0]]), Diagonal(0.5)], [2, 2, 1]),
        Blocks,
    ),
    "LowRank": (LowRank([[1.0, 2.0, 0.0, 1.0, 3.0]], stdev=0.5), LowRank),
    "Diffusion": (Diffusion(1.0, 0.2, 4), Dense),
}


@pytest.mark.parametrize("name", CORRELATED)
def test_a_subset_of_correlated_errors_is_their_block(name):
    """Rows and columns of R, in the same form where there is one."""
    covariance, kind = CORRELATED[name]
    times, keep = np.array([0.0, 0.1, 0.15, 0.4, 0.6]), np.array([True, False, True, True, False])
    points = Points.at(times, {"x": np.zeros(5)})
    o = Observations("u", np.zeros(5), points, PointSample("u"), covariance=covariance)
    some = o.subset(keep).covariance
    assert type(some) is kind
    factor = np.asarray(jax.vmap(some.sqrt)(jnp.eye(3))).T
    expected = formed(times, covariance)[np.ix_(keep, keep)]
    np.testing.assert_allclose(factor @ factor.T, expected, rtol=1e-10, atol=1e-12)
    assert o.subset(np.ones(5, bool)).covariance.size() == 5


def test_a_subset_of_many_correlated_errors():
    """No matrix of m × m is formed without being asked for."""
    times = np.arange(6000.0)
    points, keep = Points.at(times, {"x": np.zeros(6000)}), times % 2 == 0

    def some(covariance):
        o = Observations("u", times, points, PointSample("u"), covariance=covariance)
        return o.subset(keep).covariance

    np.testing.assert_allclose(some(Autoregressive(5.0)).steps, np.full(2999, 2 / 5))
    with pytest.raises(ValueError, match=r"subset: .*Diffusion covariance of 6000.*5000.*Blocks"):
        some(Diffusion(1.0, 2.0, 2, samples=2))


def test_times_increase_within_each_block():
    """Two stations, one after the other: each series has its own times."""
    times = np.array([0.0, 0.1, 0.05, 0.3])
    found = formed(times, Blocks([Autoregressive(0.2), Autoregressive(0.4, 3.0)], [2, 2]))
    first, second = np.exp(-0.1 / 0.2), np.exp(-0.25 / 0.4)
    expected = np.zeros((4, 4))
    expected[:2, :2] = [[1, first], [first, 1]]
    expected[2:, 2:] = 9 * np.array([[1, second], [second, 1]])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="positions must increase"):
        formed(times, Blocks([Autoregressive(0.2), Autoregressive(0.4)], [3, 1]))


def test_a_covariance_of_several_fields_is_refused():
    joint = Joint(["u"], Diagonal(1.0))
    with pytest.raises(ValueError, match=r"error covariance of u must be .* got Joint"):
        Observations("u", [1.0], Points.at([0.5]), PointSample("u"), covariance=joint)


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


class Odd(PointSample):
    """Reads a field, in another shape than its values have."""

    index: tuple = eqx.field(static=True, default=())

    def __call__(self, trajectory, points):
        return super().__call__(trajectory, points)[self.index]


class Columns(Gaussian):
    """Gaussian, in one column."""

    def departures(self, observed, predicted, covariance, scale):
        return super().departures(observed, predicted, covariance, scale)[:, None]


@pytest.mark.parametrize("index", [(slice(None), None), (None,), (0,), (slice(1),)])
def test_what_an_operator_or_predictor_gives_is_one_number_a_value(index):
    """Or it would be paired with all values: (3, 1) with (3,) is (3, 3)."""
    with pytest.raises(ShapeError, match=r"^u: Odd must give one number for each value, .*\(3,\)"):
        Observations("u", np.zeros(3), POINTS, Odd("u", index)).predict(TRAJECTORY)
    bias = BiasCorrection({"a": Normal(0.0, 1.0)}, {"a": Odd("u", index)})
    biased = Observations("u", np.zeros(3), POINTS, PointSample("u"), bias=bias)
    with pytest.raises(ShapeError, match="predictor of the bias 'a' must give"):
        biased.predict(TRAJECTORY, {"a": jnp.ones(())})


def test_what_a_likelihood_gives_is_one_departure_a_value():
    o = Observations("u", np.zeros(3), POINTS, PointSample("u"), likelihood=Columns())
    with pytest.raises(ShapeError, match=r"u: Columns must give .* got shape \(3, 1\)"):
        o.departures(TRAJECTORY, {})
