"""Every covariance class as B, Q and R, and with every posterior method, by `assim run`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr

from tests.run.toy import Toy

N = 6  # points of the ring
LENGTH = 0.2  # of correlations, of a ring of length one
SPECTRAL = {"use": "Spectral", "stdev": 0.5, "length": LENGTH, "kind": "Matern32"}
DIAGONAL = {"use": "Diagonal", "stdev": 0.3}
LOW_RANK = [[0.3] * N, [0.1 * i for i in range(N)]]
CORRELATED = (0.25 * np.exp(-np.abs(np.subtract.outer(np.arange(N), np.arange(N))) / 2)).tolist()
COVARIANCES: dict[str, dict[str, Any]] = {
    "diagonal": DIAGONAL,
    "dense": {"use": "Dense", "matrix": CORRELATED},
    "blocks": {"use": "Blocks", "parts": [DIAGONAL, DIAGONAL], "lengths": [2, 4]},
    "diffusion": {"use": "Diffusion", "stdev": 0.5, "length": LENGTH},
    "spectral": SPECTRAL,
    "kronecker": {"use": "Kronecker", "factors": [SPECTRAL]},
    "gaspari_cohn": {"use": "GaspariCohn", "length": LENGTH},
    "low_rank": {"use": "LowRank", "vectors": LOW_RANK, "values": [1.0, 1.0], "stdev": 0.3},
    "sum": {"use": "Sum", "terms": [SPECTRAL, DIAGONAL]},
    "joint": {
        "use": "Joint",
        "names": ["tracer"],
        "covariance": {
            "use": "Kronecker",
            "factors": [{"use": "Dense", "matrix": [[1.0]]}, SPECTRAL],
        },
    },
}
METHODS: list[dict[str, Any]] = [
    {"use": "Laplace", "members": 200, "certificate": 500},
    {"use": "SVGD", "particles": 150},
    {"use": "NUTS"},
    {"use": "HMC"},
    {"use": "MCLMC"},
    {"use": "Importance"},
    {"use": "Randomise"},
    {"use": "Variational"},
    {"use": "Tempering"},
]
QUICK = "spectral-as-B"


@pytest.fixture(autouse=True)
def _forget_compiled() -> Iterator[None]:
    """Drop what a test compiled: hundreds of programs each exhaust the memory maps of a process."""
    yield
    jax.clear_caches()


def ring(folder: Path) -> Toy:
    """Linear advection of a tracer, seen at one point after another."""
    toy = Toy(folder)
    x = np.arange(N) / N
    state = ("x", 1 + np.sin(2 * np.pi * x), {"units": "1"})
    places = {"x": ("x", x, {"units": "m"})}
    toy.background = xr.Dataset({"tracer": state}, places)
    seconds = {"units": "seconds since 2000-01-01", "standard_name": "time"}
    rows = {
        "time": ("obs", 0.04 * (np.arange(N) + 1) / N, seconds),
        "x": ("obs", x, {"units": "m"}),
    }
    seen = 1.2 + np.cos(2 * np.pi * x)
    toy.observations = xr.Dataset({"tracer": ("obs", seen, {"units": "1"})}, rows)
    toy.case = {
        "title": "A ring",
        "model": {"use": "AdvectionDiffusion", "n": N},
        "window": {"start": "2000-01-01", "slots": 4},
        "background": {"file": "background.nc", "covariance": DIAGONAL},
        "observations": [
            {"file": "observations.nc", "variable": "tracer", "error": {"stdev": 0.4}}
        ],
        "posterior": [METHODS[0]],
    }
    return toy


def put(toy: Toy, place: str, covariance: dict[str, Any]) -> None:
    """The covariance as B, Q or R of the case."""
    if place == "B":
        toy.case["background"]["covariance"] = covariance
    elif place == "Q":
        toy.case["model_error"] = {"covariance": covariance, "every": 2}
    else:
        toy.case["observations"][0] = {
            "file": "observations.nc",
            "variable": "tracer",
            "covariance": covariance,
        }


PAIRS = [f"{name}-as-{place}" for name in COVARIANCES for place in "BQR"]
REFUSED = {  # as R: without an inverse, of a state, or on a ring, which times are not
    f"{name}-as-R" for name in ("gaspari_cohn", "sum", "joint", "spectral", "kronecker")
}

SLOW = [pytest.param(pair, marks=pytest.mark.slow) for pair in PAIRS if pair != QUICK]


def case(folder: Path, pair: str) -> Toy:
    """The ring with one covariance at one place."""
    toy, (name, place) = ring(folder), pair.split("-as-")
    put(toy, place, COVARIANCES[name])
    return toy


def of_file(toy: Toy, name: str) -> np.ndarray:
    """Standard deviations of a method, at every slot edge."""
    with xr.open_dataset(toy.out / f"{name}.nc") as file:
        return file["tracer_stddev"].values


@pytest.mark.parametrize(
    "pair",
    [pair if pair == QUICK else pytest.param(pair, marks=pytest.mark.slow) for pair in PAIRS],
)
def test_it_runs(tmp_path, pair):
    """From the file to the posterior, by the minimiser that forms no matrix too."""
    toy = case(tmp_path, pair)
    if pair in REFUSED:
        result = toy.write().run()
        assert result.exit_code in (2, 3), result.output
        return
    spreads = []
    for minimiser in ("GaussNewton", "NewtonCG"):
        toy.case["minimiser"] = {"use": minimiser}
        result = toy.write().run()
        assert result.exit_code == 0, result.output
        spreads.append(of_file(toy, "trajectory"))
    assert np.all(spreads[0] > 0)
    np.testing.assert_allclose(spreads[1], spreads[0], rtol=0.02)


def pairs_of(name: str) -> list[str]:
    """The places that a covariance can take."""
    return [pair for pair in PAIRS if pair.startswith(f"{name}-as-") and pair not in REFUSED]


def methods_at(pair: str) -> list[dict[str, Any]]:
    """Laplace and some of the others: over all its places a covariance meets every method."""
    name = pair.split("-as-")[0]
    pairs = pairs_of(name)
    first = (pairs.index(pair) + [*COVARIANCES].index(name)) % len(pairs)
    return [METHODS[0], *METHODS[1 + first :: len(pairs)]]


def test_every_covariance_meets_every_method():
    for name in COVARIANCES:
        met = [method["use"] for pair in pairs_of(name) for method in methods_at(pair)[1:]]
        assert sorted(met) == sorted(method["use"] for method in METHODS[1:])


@pytest.mark.slow
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair not in REFUSED])
def test_every_method_takes_it(tmp_path, pair):
    """The problem is linear and Gaussian, so that Laplace's standard deviations are exact."""
    toy = case(tmp_path, pair)
    toy.case["posterior"] = methods = methods_at(pair)
    result = toy.write().run()
    assert result.exit_code == 0, result.output
    summary = json.loads((toy.out / "summary.json").read_text())
    chosen = summary["chosen"]
    names = {n: "trajectory" + f"_{n}" * (n != chosen) for n in summary["posterior"]}
    assert len(names) == len(methods)
    exact = of_file(toy, names["laplace"])
    for name, about in summary["posterior"].items():
        assert about["trust"] != "failed", (name, about)
        if about["trust"] == "certified":
            np.testing.assert_allclose(of_file(toy, names[name]), exact, rtol=0.2, err_msg=name)
