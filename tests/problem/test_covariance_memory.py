"""Every covariance at a million points, in a process of its own: none forms a matrix of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, time
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from assim.problem.arrays import Coordinate
from assim.problem.covariance import *

N, SIDE = 10**6, 1000
line = Coordinate(np.arange(float(N)))
ring = Coordinate(np.arange(float(SIDE)), period=float(SIDE))
torus, plane = (ring, ring), (Coordinate(np.arange(float(SIDE))),) * 2
rng = np.random.default_rng(0)
sea = np.arange(N).reshape(SIDE, SIDE) % 97 > 5
lengths = 3 + np.sin(np.arange(N) / 50).reshape(SIDE, SIDE)
members = rng.normal(size=(5, SIDE, SIDE))
CASES = {
    "Diagonal": (Diagonal(1.0), (N,), (line,)),
    "Blocks": (Blocks([Diagonal(1.0), Autoregressive(5.0)], [N // 2, N // 2]), (N,), (line,)),
    "Autoregressive": (Autoregressive(5.0), (N,), (line,)),
    "Diffusion": (Diffusion(1.0, 5.0), (SIDE, SIDE), plane),
    "Diffusion, masked and variable": (
        Diffusion(1.0, lengths, mask=sea, samples=4), (SIDE, SIDE), plane
    ),
    "Spectral": (Spectral(1.0, 5.0, "Matern32"), (SIDE, SIDE), torus),
    "GaspariCohn": (GaspariCohn(5.0), (SIDE, SIDE), plane),
    "Kronecker": (Kronecker([Autoregressive(5.0), Diffusion(1.0, 5.0)]), (SIDE, SIDE), plane),
    "Ensemble": (Ensemble(members, GaspariCohn(5.0)), (SIDE, SIDE), plane),
    "LowRank": (LowRank(members, stdev=1.0), (SIDE, SIDE), plane),
    "Sum": (
        Sum([Diffusion(1.0, 5.0), Ensemble(members, GaspariCohn(5.0))]), (SIDE, SIDE), plane
    ),
}

@jax.jit
def there_and_back(c, w):
    field, transposed = jax.linear_transpose(c.sqrt, w), None
    return c.sqrt(w), field(c.sqrt(w))[0], c.variance()

def measure(given, shape, axes):
    start = time.perf_counter()
    c = given.on(shape, axes)
    there_and_back(c, jnp.ones(c.size()))[0].block_until_ready()
    # ru_maxrss of a new process is that of the one that started it, at least
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    peak = int(status["VmHWM"].split()[0]) / 2**20
    return {"seconds": time.perf_counter() - start, "peak_GiB": peak}

print(json.dumps({name: measure(*case) for name, case in CASES.items()}))
"""


@pytest.mark.slow
def test_a_million_points_fit_in_three_gibibytes():
    """A matrix of them would take 7,451 GiB; the peak is that of the process so far."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    for name, figures in found.items():
        print(f"{name:32s} {figures['seconds']:6.1f} s   peak {figures['peak_GiB']:.2f} GiB")
    assert max(figures["peak_GiB"] for figures in found.values()) < 3.0
