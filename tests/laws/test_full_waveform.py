"""What the case of full-waveform inversion brings along: its rock, its wavelets, its prior."""

import json
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import assim
from assim.case.case import read_case
from assim.case.pose import pose
from assim.run.cli import main

CASE = Path(__file__).parents[2] / "cases" / "full_waveform"
MADE = runpy.run_path(str(CASE / "make_data.py"))
SMOOTH = runpy.run_path(str(CASE / "smooth.py"))["Smooth"]
PLACES = tuple(assim.Coordinate(12.5 * (np.arange(n) + 0.5), "m") for n in (24, 30))


def ricker(t, frequency):
    a = (np.pi * frequency * t) ** 2
    return (1 - 2 * a) * np.exp(-a)


# ---- data ----------------------------------------------------------------------------------------


def test_the_source_is_the_slope_of_the_wavelet():
    t = np.linspace(-0.1, 0.1, 41)
    ends = [ricker(t + step, MADE["FREQUENCY"]) for step in (1e-6, -1e-6)]
    np.testing.assert_allclose(MADE["wavelet_slope"](t), (ends[0] - ends[1]) / 2e-6, atol=1e-6)


def test_smoothed_in_time_a_wavelet_is_one_of_lower_frequency():
    times = MADE["READ"][:, None] - 0.5
    low, far = MADE["smoothed"](ricker(times, MADE["FREQUENCY"]))
    factor = (MADE["LOW"] / MADE["FREQUENCY"]) ** 3
    np.testing.assert_allclose(low[far], factor * ricker(times[far], MADE["LOW"]), atol=1e-4)


def test_the_low_case_has_the_wavelets_of_its_file():
    low, full = (pose(read_case(CASE / f"{name}.toml")).problem for name in ("low", "case"))
    assert low.control.parameters == {}
    low, full = low.model.parameters, full.model.parameters
    factor = (MADE["LOW"] / MADE["FREQUENCY"]) ** 3
    assert float(low["frequency"]) == MADE["LOW"]
    assert float(full["frequency"]) == MADE["FREQUENCY"]
    assert float(low["amplitude"] / full["amplitude"]) == pytest.approx(factor)


@pytest.mark.parametrize("name", ["case", "low"])
def test_the_model_in_the_true_rock_explains_what_is_read(name):
    """Within the errors that the case states, and not in rock as the wrong first guess has it."""
    problem = pose(read_case(CASE / f"{name}.toml")).problem

    @jax.jit
    def square(state):
        return jnp.mean(problem(problem.guess(state, {})).normalised ** 2)

    def fit(file):
        with xr.open_dataset(CASE / file) as rock:
            return float(
                square(
                    {n: jnp.asarray(rock[n].values, float) for n in "puv"}
                    | {"speed": jnp.asarray(rock["speed"].values, float)}
                )
            )

    right, wrong = fit("truth.nc"), fit("start.nc")
    assert right < 1.15, right
    assert wrong > 2 * right, wrong


def test_rock_has_the_spread_and_the_correlation_of_the_prior():
    """Over many draws, at two places a length apart."""
    at = np.array([300.0, 300.0 + MADE["LENGTH"]]), np.array([250.0, 250.0])
    several = np.array([MADE["rock"](*at, seed) for seed in range(2000)]) - MADE["SPEED"]
    covariance = several.T @ several / len(several) / MADE["SPREAD"] ** 2
    np.testing.assert_allclose(covariance, [[1, np.exp(-0.5)], [np.exp(-0.5), 1]], atol=0.1)


# ---- prior ---------------------------------------------------------------------------------------


def test_smooth_errors_have_a_gaussian_correlation():
    prior = SMOOTH(120.0, 60.0).on((24, 30), PLACES)
    root = np.asarray(jax.vmap(prior.sqrt, out_axes=-1)(jnp.eye(prior.size())))
    variance = (root**2).sum(-1)
    np.testing.assert_allclose(variance, prior.variance(), rtol=1e-12)
    y, x = (np.asarray(axis.values) for axis in PLACES)
    square = (y[:, None] - y[12]) ** 2 + (x[None] - x[15]) ** 2
    exact = 120.0**2 * np.exp(-square / (2 * 60.0**2))
    np.testing.assert_allclose(root @ root[12, 15], exact, atol=0.02 * 120.0**2)
    assert prior.size() < 24 * 30 / 5


def test_smooth_errors_are_whitened_and_their_determinant_known():
    prior = SMOOTH(120.0, 60.0).on((24, 30), PLACES)
    w = jnp.asarray(np.random.default_rng(0).standard_normal(prior.size()))
    np.testing.assert_allclose(prior.whiten(prior.sqrt(w)), w, atol=1e-8)
    root = np.asarray(jax.vmap(prior.sqrt)(jnp.eye(prior.size()))).reshape(prior.size(), -1)
    half = np.linalg.slogdet(root @ root.T)[1] / 2
    assert float(prior.log_sqrt_determinant()) == pytest.approx(half, rel=1e-9)


def test_smooth_errors_need_two_axes():
    with pytest.raises(ValueError, match="Smooth: two axes with positions are needed, got 1"):
        SMOOTH(1.0, 1.0).on((24,), PLACES[:1])


# ---- a wrong first guess -------------------------------------------------------------------------


def run(name, out, *settings):
    """Exit code and summary of a case of the folder, of its minimum alone."""
    given = [text for each in settings for text in ("--set", each)]
    path = str(CASE / f"{name}.toml")
    result = CliRunner().invoke(main, ["run", path, "--out", str(out), "--quiet", *given])
    return result.exit_code, json.loads((out / "summary.json").read_text())


@pytest.mark.slow
def test_low_frequencies_lead_out_of_a_wrong_first_guess(tmp_path):
    """Which is told where they do not: J is ten times as large, and the exit code 4."""
    alone = 'posterior={use="none"}'
    wrong = ("minimiser.first_guess=start.nc", "minimiser.n_outer=4")
    code, skipped = run("case", tmp_path / "skipped", alone, *wrong)
    assert code == 4
    assert skipped["fit"]["verdict"] == "poor"
    assert skipped["cost"]["total"] > 3000
    assert run("low", tmp_path / "low")[0] == 0
    better = (f'minimiser.first_guess="{tmp_path}/low/analysis.nc"', "minimiser.tolerance=0.01")
    code, continued = run("case", tmp_path / "continued", alone, *better)
    assert code == 0
    assert continued["cost"]["total"] == pytest.approx(420.765, abs=0.05)
