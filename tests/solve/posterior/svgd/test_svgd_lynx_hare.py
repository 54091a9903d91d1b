"""SVGD of lynx and hare against moments of 10,000 published draws, plain SVGD beside it."""

import tomllib
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.case.case import read_case
from assim.case.pose import pose
from assim.solve.minimise.gauss_newton import NewtonCG
from assim.solve.minimise.loop import minimise
from assim.solve.posterior.ensemble import Trust
from assim.solve.posterior.laplace import Laplace, laplace
from assim.solve.posterior.svgd.svgd import SVGD

CASE = Path(__file__).parents[4] / "cases/lynx_hare"
EXPECTED = tomllib.loads((CASE / "expected.toml").read_text())
NAMES = ("alpha", "beta", "gamma", "delta", "hare", "lynx", "sigma_hare", "sigma_lynx")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def problem():
    return pose(read_case(CASE / "case.toml")).problem


@pytest.fixture(scope="module")
def around(problem):
    starts = jax.random.normal(jax.random.key(0), (16, problem.size())).at[0].set(0.0)
    solution = minimise(problem, NewtonCG(), starts)
    assert abs(solution.cost + 40.1511) < 1e-3
    return laplace(problem, solution.chi, Laplace(), jax.random.key(0), solution.state.hessian)


@eqx.filter_jit
def simulated(problem, chi):
    def one(chi):
        found = problem.simulate(chi)
        control = found.control
        scalars = {**control.state, **control.parameters, **control.scales}
        return {name: jnp.reshape(scalars[name], ()) for name in NAMES}, found.trajectory.states

    return jax.vmap(one)(chi)


def against(values, expected):
    """Ratio of standard deviations, and distance of means in reference standard deviations."""
    values = np.asarray(values)
    mean, stdev = np.asarray(expected["mean"]), np.asarray(expected["stddev"])
    return values.std(axis=0) / stdev, np.abs(values.mean(axis=0) - mean) / stdev


@pytest.mark.parametrize("seed", [1, 2])
def test_svgd(problem, around, seed, capsys):
    ensemble = SVGD().sample(problem, around, jax.random.key(seed))
    scalars, trajectory = simulated(problem, ensemble.members)
    found = {name: against(scalars[name], EXPECTED["quantities"][name]) for name in NAMES}
    fields = {n: against(trajectory[n], EXPECTED["trajectory"][n]) for n in ("hare", "lynx")}
    with capsys.disabled():
        print(
            "\n", {name: (round(float(a), 3), round(float(b), 3)) for name, (a, b) in found.items()}
        )
        print({n: (a.min(), a.max(), b.max()) for n, (a, b) in fields.items()}, ensemble.gradients)
    assert ensemble.trust is Trust.CERTIFIED, ensemble.advice
    for ratio, distance in (*found.values(), *fields.values()):
        assert np.all(np.abs(ratio - 1) < 0.05)
        assert np.all(distance < 0.05)


def test_plain(problem, around):
    ensemble = SVGD(plain=True).sample(problem, around, jax.random.key(1))
    scalars, _ = simulated(problem, ensemble.members)
    ratios = [against(scalars[name], EXPECTED["quantities"][name])[0] for name in NAMES]
    assert max(ratios) < 0.9
    assert ensemble.trust is Trust.DOUBTFUL
