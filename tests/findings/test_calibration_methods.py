"""Calibration where nothing is linear: methods that certify are uniform, plain SVGD is not.

A thousand simulations of each are the study `calibration`'s.
"""

import jax
import numpy as np
import pytest

from assim import ErrorScale, FixedStep, Observations, Points, Window, likelihood, strong_constraint
from assim.findings.calibration import calibrate
from assim.models import Lorenz63, LotkaVolterra
from assim.problem.covariance import Diagonal
from assim.problem.operator import PointSample
from assim.problem.prior import LogNormal, Normal, TruncatedNormal
from assim.solve.minimise.gauss_newton import NewtonCG
from assim.solve.posterior.chains.samplers import MCLMC, NUTS
from assim.solve.posterior.laplace import Laplace
from assim.solve.posterior.svgd.svgd import SVGD

pytestmark = pytest.mark.slow

SIMULATIONS = {"laplace": 200, "svgd": 100, "nuts": 70, "mclmc": 70}
METHODS = {
    "svgd": SVGD(polish=100),
    "svgd_plain": SVGD(plain=True, steps=200),
    "nuts": NUTS(chains=4, warm_up=60, accuracy=0.05),
    "mclmc": MCLMC(chains=4, warm_up=100, accuracy=0.05),
}


def lorenz():
    """Initial state and rho, from x and z at eight times 0.1 apart."""
    model = Lorenz63(dt=0.02)
    window = Window.regular(model, slots=8, steps=5)
    times = np.asarray(window.edges)[1:]
    observations = [
        Observations(name, np.zeros(8), Points.at(times), PointSample(name), 2.0) for name in "xz"
    ]
    start = {"x": 1.509, "y": -1.531, "z": 25.46}
    return strong_constraint(
        model, window, start, Diagonal(1.0), observations, {"rho": Normal(28.0, 1.0)}
    )


def lynx_hare():
    """The eight controls of lynx and hare with their priors, at fixed steps of a quarter year."""
    model, years = LotkaVolterra(FixedStep(0.25)), np.arange(21.0)
    observations = [
        Observations(
            name,
            np.ones(21),
            Points.at(years),
            PointSample(name),
            likelihood=likelihood.LogNormal(),
            scale=ErrorScale(f"sigma_{name}", LogNormal(np.exp(-1), 1.0)),
        )
        for name in ("hare", "lynx")
    ]
    rate, loss = TruncatedNormal(1.0, 0.5, 0.0), TruncatedNormal(0.05, 0.05, 0.0)
    return strong_constraint(
        model,
        Window.at(model, years),
        {name: LogNormal(10.0, 1.0) for name in ("hare", "lynx")},
        observations=observations,
        parameters={"alpha": rate, "beta": loss, "gamma": rate, "delta": loss},
    )


def calibrated(problem, method, number, key=1):
    calibration = calibrate(
        problem,
        method,
        number,
        jax.random.key(key),
        starts=1,
        minimiser=NewtonCG(tolerance=1e-4),
        together=10,
    )
    print(
        f"\n{calibration.verdict()} {calibration.redrawn} redrawn, {calibration.failed} failed, "
        f"{calibration.seconds:.0f} s"
    )
    for k, name in enumerate(calibration.names):
        shares = [calibration.coverage[level][k].covered for level in (0.5, 0.9)]
        print(f"  {name:12s} p = {calibration.p_values[k]:.3g}, within 50, 90 %: {shares}")
    assert calibration.failed <= 0.05 * number
    return calibration


def check_uniform(problem, method, number, density):
    """No control has a p of 1 % or less, nor the log density where `density` says so.

    The tests below have some thirty p-values, so with every fourth key one of them is that small
    though all methods are right. Then twice as many simulations of another key decide.
    """
    for key, simulations in [(1, number), (2, 2 * number)]:
        p_values = calibrated(problem, method, simulations, key).p_values
        if np.all((p_values if density else p_values[:-1]) > 0.01):
            return
    raise AssertionError(f"p-values of a second key are not above 1 %: {p_values}")


@pytest.mark.parametrize("name", SIMULATIONS)
def test_lorenz63_is_uniform(name):
    """The four controls; particles of SVGD lie on a shell, which their log density shows."""
    method = METHODS.get(name, Laplace())
    check_uniform(lorenz(), method, SIMULATIONS[name], density=name != "svgd")


def test_plain_svgd_is_not_on_lorenz63():
    """Four controls lose little each; the log density, which all of them move, shows it at once."""
    calibration = calibrated(lorenz(), METHODS["svgd_plain"], 100)
    assert calibration.p_values[-1] < 1e-6
    assert all(quantity.covered < 0.9 for quantity in calibration.coverage[0.9])
    assert not calibration.uniform


def test_lynx_and_hare_is_uniform():
    """The eight controls by particles; chains, an hour of them, are the study `calibration`'s."""
    check_uniform(lynx_hare(), METHODS["svgd"], 60, density=False)


def test_plain_svgd_is_not_on_lynx_and_hare():
    calibration = calibrated(lynx_hare(), METHODS["svgd_plain"], 60)
    assert calibration.p_values[-1] < 1e-6
    assert "too narrow" in calibration.verdict()
