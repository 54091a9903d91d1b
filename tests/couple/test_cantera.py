"""Chemistry by Cantera, as the page on published codes has it, beside Cantera without assim."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.couple.real_codes import PAGE, check_posterior, lines, moments, ran, stated
from tests.docs.pages import under

ct = pytest.importorskip("cantera", reason="Cantera is not installed (the extra `codes`)")
TITLE = "Cantera, a function"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return ran(TITLE, tmp_path_factory.mktemp("cantera"), {"__name__": "__main__"})


@pytest.fixture(scope="module")
def gas():
    return ct.Solution("h2o2.yaml")


def burnt(gas, temperature, k):
    """Mass fractions of OH at the ends of slots, by one reactor that is never stopped."""
    gas.TPX = temperature, 1.5 * ct.one_atm, {"H2": 0.02, "O2": 0.01, "AR": 0.97}
    (branching,) = [
        n for n, reaction in enumerate(gas.reactions()) if reaction.equation == "H + O2 <=> O + OH"
    ]
    gas.set_multiplier(k, branching)
    reactor = ct.IdealGasConstPressureReactor(gas, clone=False)
    network = ct.ReactorNet([reactor])
    network.rtol, network.atol = 1e-10, 1e-18
    fractions = []
    for end in 4e-5 * np.arange(1, 11):
        network.advance(end)
        fractions.append(reactor.phase["OH"].Y[0])
    return np.array(fractions)


def reference(gas, readings):
    """Means and standard deviations of k and T, by J on a grid along the ridge that it has."""
    z, ridge = np.linspace(-4.5, 4.5, 21), np.linspace(-0.02, 0.32, 41)
    temperatures = 1300 + 15 * z
    points, log_density = np.empty((21, 41, 2)), np.empty((21, 41))
    for i, temperature in enumerate(temperatures):
        for j, along in enumerate(ridge):
            log_k = along + 8500 * (1 / temperature - 1 / 1300)
            misfit = (burnt(gas, temperature, np.exp(log_k)) - readings) / 1e-5
            log_density[i, j] = -0.5 * (misfit @ misfit + z[i] ** 2 + (log_k / 0.3) ** 2)
            points[i, j] = np.exp(log_k), temperature
    return moments(points, log_density)


def test_the_posterior_is_that_of_a_grid(page, gas):
    analysis = page["analysis"]
    expected = reference(gas, np.asarray(page["oh"].values))
    check_posterior("Cantera", ["k", "T"], analysis, expected)


def test_restarts_change_nothing(page, gas):
    """Slots joined are one reactor that runs through, but for what ignition makes of tolerances."""
    window, truth = page["window"], page["truth"]
    joined = page["model"].states(truth, {"k": jnp.asarray(1.2)}, window.edges, window.steps)
    np.testing.assert_allclose(joined["Y_OH"][1:], burnt(gas, 1290.0, 1.2), rtol=5e-5)


def test_calls_depend_on_their_arguments_alone(page):
    trials = page["model"].trials(page["truth"], {"k": jnp.asarray(1.2)}, 0.0)
    found = {trial.name: trial.passed for trial in trials}
    assert found["same again"] and found["no memory"] and found["arguments"] and found["results"]


def test_a_step_that_fails_is_a_member_that_failed(page):
    cold = {**page["truth"], "T": jnp.asarray(-1.0)}
    assert np.isnan(page["model"].step(cold, {"k": jnp.asarray(1.0)}, 0.0)["T"])


def test_lines():
    (file,) = [block for block in under(PAGE, TITLE) if block.file]
    assert int(stated("Cantera")[0][2]) == lines(file.text)
