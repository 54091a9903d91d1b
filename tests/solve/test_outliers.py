"""One gross error among good values, and a bias of one instrument: what the analysis makes of them.

The set-up is linear: a field of 40 points round a ring that does not change, background errors of
standard deviation σ_b = 1 K that are correlated over three grid points, and every point observed
once with σ_o = 0.3 K. The gross error is 20 σ_o = 6 K in one of the values. Huber's likelihood
lets it pull by k σ_a²/σ_o, with σ_a the analysis's standard deviation there (0.2 σ_b here); the
others take all its weight. That pull depends on the network: it is 0.18 σ_b here, and 0.25 σ_b with
σ_o = 0.5 K.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from assim import (
    AbstractModel,
    BiasCorrection,
    Coordinate,
    Label,
    Labels,
    Observations,
    Points,
    Window,
    analyse,
    finding,
    likelihood,
    strong_constraint,
)
from assim.files.read.quality import fails_background_check
from assim.problem.covariance import Dense
from assim.problem.operator import PointSample
from assim.problem.prior import Normal
from assim.solve.minimise.gauss_newton import GaussNewton

N, STDEV_B, STDEV_O = 40, 1.0, 0.3
WHERE = 17  # of the gross error


class Ring(AbstractModel):
    """A field that stays as it is."""

    parameters: dict = eqx.field(default_factory=dict)
    dt: float = eqx.field(default=1.0, static=True)

    def step(self, x, theta, t):
        del theta, t
        return x

    def labels(self):
        ring = Coordinate(np.arange(float(N)), period=float(N))
        return Labels({"T": Label(("x",), "K")}, {}, {"x": ring})


def covariance():
    apart = np.abs(np.subtract.outer(np.arange(N), np.arange(N)))
    apart = np.minimum(apart, N - apart)
    return STDEV_B**2 * (np.exp(-((apart / 3.0) ** 2) / 2) + 1e-6 * np.eye(N))


RNG = np.random.default_rng(3)
TRUTH = np.linalg.cholesky(covariance()) @ RNG.normal(size=N)
VALUES = TRUTH + STDEV_O * RNG.normal(size=N)
SPOILT = VALUES + 20 * STDEV_O * (np.arange(N) == WHERE)


def instrument(values, name="T", stdev=STDEV_O, **more):
    """Every point observed, as often as there are values."""
    times = np.size(values) // N
    points = Points.at(np.ones(N * times), {"x": np.tile(np.arange(float(N)), times)})
    return Observations(name, values, points, PointSample("T"), stdev, units="K", **more)


def pose(*observations):
    model = Ring()
    window = Window.regular(model, slots=1)
    background = {"T": np.zeros(N)}
    return strong_constraint(model, window, background, Dense(covariance()), list(observations))


def analysed(*observations):
    found = analyse(pose(*observations), GaussNewton(), posterior=None)
    assert found.solution.status.name == "CONVERGED"
    return found.analysis.control


KEEP = np.arange(N) != WHERE
UNKNOWN = np.where(KEEP, STDEV_O, 1e9)  # as if the spoilt value were not there


def shift(spoilt, without):
    """Largest change of the analysis by the spoilt value, in σ_b."""
    change = analysed(spoilt).state["T"] - analysed(without).state["T"]
    return float(np.max(np.abs(change))) / STDEV_B


def test_nothing_keeps_a_gross_error_out_of_a_gaussian():
    assert shift(instrument(SPOILT), instrument(SPOILT, stdev=UNKNOWN)) > 1.0


@pytest.mark.parametrize("kind", [likelihood.Huber(), likelihood.VariationalQC()])
def test_a_gross_error_hardly_moves_a_robust_analysis(kind):
    without = instrument(SPOILT, stdev=UNKNOWN, likelihood=kind)
    assert shift(instrument(SPOILT, likelihood=kind), without) < 0.2


@pytest.mark.slow
def test_a_gross_error_fails_the_background_check():
    problem = pose(instrument(SPOILT))
    innovation = SPOILT - problem.simulate(jnp.zeros(N)).predictions["T"]
    stdev = finding.innovation_stdev(problem)["T"]
    np.testing.assert_allclose(stdev, np.full(N, np.hypot(STDEV_B, STDEV_O)), rtol=1e-4)
    failed = fails_background_check(innovation, stdev, 4.0)
    np.testing.assert_array_equal(failed, ~KEEP)
    assert shift(instrument(SPOILT).subset(~failed), instrument(VALUES, stdev=UNKNOWN)) < 1e-9


def test_good_values_keep_their_weight():
    """Where no value is spoilt, quality control by the likelihood costs little."""
    plain = analysed(instrument(VALUES)).state["T"]
    robust = analysed(instrument(VALUES, likelihood=likelihood.VariationalQC())).state["T"]
    assert np.max(np.abs(plain - robust)) < 0.2 * STDEV_B


@pytest.mark.slow
def test_a_bias_is_recovered():
    """1 K in one of two instruments of 200 values each; by the prior the bias is 0 ± 2 K.

    The standard deviation of the estimate is σ_o √(2/200) = 0.03 K.
    """
    draw = np.random.default_rng(5).normal
    good, warm = (np.tile(TRUTH, 5) + b + STDEV_O * draw(size=5 * N) for b in (0.0, 1.0))
    bias = BiasCorrection({"offset": Normal(0.0, 2.0)})
    with_correction = analysed(instrument(good), instrument(warm, "warm", bias=bias))
    np.testing.assert_allclose(with_correction.biases["offset"], 1.0, rtol=0.1)
    uncorrected = analysed(instrument(good), instrument(warm, "warm"))
    errors = [np.mean(c.state["T"] - TRUTH) for c in (with_correction, uncorrected)]
    assert abs(errors[0]) < 0.15 < 0.35 < abs(errors[1])


def test_instruments_share_a_coefficient():
    """One offset seen with opposite signs: only together do they tell it from the state."""
    shared = {"offset": Normal(0.0, 2.0)}
    up = BiasCorrection(shared, {"offset": np.ones(N)})
    down = BiasCorrection(shared, {"offset": -np.ones(N)})
    truth = np.asarray(TRUTH)
    found = analysed(
        instrument(truth + 1.0, "up", bias=up), instrument(truth - 1.0, "down", bias=down)
    )
    assert list(found.biases) == ["offset"]
    np.testing.assert_allclose(found.biases["offset"], 1.0, rtol=0.01)
