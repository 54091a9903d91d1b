"""Two devices have the numbers of one, with states cut in two or members dealt out."""

import functools
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import assim
from assim.devices import in_space, over_members, program
from assim.models import LotkaVolterra, ShallowWater
from assim.solve.cost import cost, gauss_newton_linearisation, gradient
from tests.run.toy import Toy

pytestmark = pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
WAYS = [{"space": 2}, {"member": 2}]


def waves(n: int = 8) -> assim.Problem:
    """Shallow water seen at random places and times."""
    rng, dx = np.random.default_rng(0), 10e3
    model = ShallowWater(nx=n, ny=n, dx=dx, dt=60.0)
    window = assim.Window.regular(model, slots=2, steps=3)
    places = {dim: dx * n * rng.uniform(size=30) for dim in ("x", "y")}
    points = assim.Points.at(rng.choice(np.asarray(window.edges), 30), places)
    operator = assim.operator.PointSample("h")
    height = assim.Observations("h", np.full(30, 100.0), points, operator, stdev=0.1)
    wave = np.sin(2 * np.pi * np.arange(n) / n)
    background = {"h": 100 + wave[:, None] * wave, "u": np.zeros((n, n)), "v": np.zeros((n, n))}
    return assim.strong_constraint(
        model, window, background, assim.covariance.Diagonal(0.1), height
    )


def prey() -> assim.Problem:
    """Four parameters of a model with an adaptive integrator."""
    model, times = LotkaVolterra(), np.linspace(0.0, 8.0, 5)
    operator = assim.operator.PointSample("hare")
    points = assim.Points.at(jnp.asarray(times))
    hare = assim.Observations("hare", np.full(5, 20.0), points, operator, stdev=5.0)
    start = {"hare": jnp.asarray(30.0), "lynx": jnp.asarray(4.0)}
    priors = {n: assim.prior.LogNormal(float(v), 0.2) for n, v in model.parameters.items()}
    window = assim.Window.at(model, times)
    return assim.strong_constraint(model, window, start, None, hare, priors)


@functools.cache
def alone(posed) -> tuple[jax.Array, ...]:
    """On one device."""
    return numbers(posed())


def numbers(problem: assim.Problem) -> tuple[jax.Array, ...]:
    """J, its gradient and a Gauss–Newton product of six χ, in batches of two on each device."""

    def of_one(chi: jax.Array) -> tuple[jax.Array, ...]:
        product = gauss_newton_linearisation(problem, chi).hessian(chi)
        return cost(problem, chi), gradient(problem, chi), product

    chi = 0.1 * jax.random.normal(jax.random.key(1), (6, problem.size()))
    return program(lambda chi: over_members(of_one, chi, 2))(chi)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("posed", [waves, prey])
def test_the_same_numbers(posed, way):
    with assim.mesh(**way):
        shared = numbers(posed())
    for ours, theirs in zip(alone(posed), shared, strict=True):
        scale = np.max(np.abs(ours))
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12 * scale)


@pytest.mark.slow
def test_an_analysis_is_the_same():
    one = assim.analyse(prey(), posterior=assim.posterior.Laplace())
    with assim.mesh(member=2):
        shared = assim.analyse(prey(), posterior=assim.posterior.Laplace())
    np.testing.assert_allclose(shared.solution.chi, one.solution.chi, atol=1e-6)
    for name, quantity in one.quantities.items():
        assert shared.quantities[name].q50 == pytest.approx(quantity.q50, rel=1e-4)
        assert shared.quantities[name].q95 == pytest.approx(quantity.q95, rel=1e-4)


def test_neighbours_alone_are_exchanged():
    """A step sends the edges of halves, and gathers no field."""
    model = ShallowWater(nx=16, ny=16, dx=10e3, dt=60.0)
    state = {name: jnp.ones((16, 16)) for name in ("h", "u", "v")}
    step = lambda x: in_space(model.step(in_space(x), model.parameters, jnp.zeros(())))  # noqa: E731
    with assim.mesh(space=2):
        program = jax.jit(step).lower(state).compile().as_text()
    assert re.search(r"collective-permute", program)
    assert not re.search(r"all-gather|all-to-all", program)


def test_what_does_not_divide_stays_whole():
    with assim.mesh(space=2):
        odd = jax.jit(in_space)(jnp.ones((3, 5)))
        even = jax.jit(in_space)(jnp.ones((3, 4)))
    assert odd.sharding.is_fully_replicated
    assert even.sharding.spec == PartitionSpec(None, "space")


@pytest.mark.parametrize("way", [{"member": 0}, {"member": 99}, {"member": 9, "space": 9}], ids=str)
def test_more_devices_than_there_are(way):
    with pytest.raises(ValueError, match="mesh: member = "):
        assim.mesh(**way)


def test_a_case_may_ask_for_devices(tmp_path):
    costs = []
    for name, mesh in (("one", {}), ("two", {"member": 2})):
        toy = Toy(tmp_path / name)
        toy.case["runtime"] = {"mesh": mesh}
        with assim.mesh():  # at whose end there is no mesh, as before
            result = toy.write().run()
        assert result.exit_code == 0, result.output
        costs.append(json.loads((toy.out / "summary.json").read_text())["cost"]["total"])
    assert costs[0] == pytest.approx(costs[1], rel=1e-10)


def in_two_processes(folder: Path, *command: str) -> list[str]:
    """What both print, each with a device of its own."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    together = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    printed, processes = [folder / "printed0", folder / "printed1"], []
    for number, path in enumerate(printed):
        own = {**os.environ, **together, "JAX_PROCESS_ID": str(number)}
        with path.open("w") as file:
            processes.append(subprocess.Popen([sys.executable, *command], env=own, stdout=file))
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    return [path.read_text() for path in printed]


@pytest.mark.slow
def test_two_processes_have_the_numbers_of_one(tmp_path):
    script = """
from assim.run.terminal.runtime import configure
configure(shares={"space": 2}, together=True)
import json, jax, numpy as np
from tests.test_devices import numbers, minimum, waves
chi, j = minimum()
values = [np.asarray(value).tolist() for value in numbers(waves())]
print(json.dumps([jax.process_count(), j, chi, *values]))
"""
    printed = in_two_processes(tmp_path, "-c", script)
    chi, j = minimum()
    for text in printed:
        processes, their_j, their_chi, *theirs = json.loads(text.splitlines()[-1])
        assert processes == 2
        assert their_j == pytest.approx(j, rel=1e-10)
        np.testing.assert_allclose(their_chi, chi, atol=1e-6)
        for ours, values in zip(alone(waves), theirs, strict=True):
            scale = np.max(np.abs(ours))
            np.testing.assert_allclose(values, ours, rtol=1e-10, atol=1e-12 * scale)


def minimum() -> tuple[list[float], float]:
    """χ and J of a window of shallow water."""
    solution = assim.analyse(waves(), assim.minimiser.GaussNewton(), posterior=None).solution
    return np.asarray(solution.chi).tolist(), float(solution.cost)


def test_a_case_in_two_processes_is_written_once(tmp_path):
    toy = Toy(tmp_path)
    toy.case["runtime"] = {"mesh": {"member": 2}}
    case, log = str(toy.write().folder / "case.toml"), tmp_path / "log.jsonl"
    options = ["--out", str(toy.out), "--log", str(log)]
    printed = in_two_processes(tmp_path, "-m", "assim.run.cli", "run", case, *options)
    assert ["Wrote to" in text for text in printed] == [True, False]
    together = json.loads((toy.out / "summary.json").read_text())["cost"]["total"]
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events.count("start") == events.count("end") == 1
    toy.case["runtime"] = {}
    assert toy.write().run().exit_code == 0
    single = json.loads((toy.out / "summary.json").read_text())["cost"]["total"]
    assert together == pytest.approx(single, rel=1e-10)


@pytest.mark.parametrize(
    ("mesh", "words"),
    [({"member": 99}, "runtime.mesh: mesh: member = 99"), ({"spaces": 2}, "runtime.mesh")],
    ids=str,
)
def test_a_case_that_asks_for_too_many(tmp_path, mesh, words):
    toy = Toy(tmp_path)
    toy.case["runtime"] = {"mesh": mesh}
    with assim.mesh():
        result = toy.write().run()
    assert result.exit_code == 2
    assert words in result.output


def test_more_devices_than_cores_are_said(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with pytest.warns(UserWarning, match="2 devices of the CPU share 1 cores"), assim.mesh():
        pass


def test_too_few_threads_are_refused(monkeypatch):
    monkeypatch.setenv("PJRT_NPROC", "2")
    with pytest.raises(ValueError, match=r"2 devices .* a pool of 2 threads.*PJRT_NPROC.* = .8"):
        assim.mesh(member=2)


SEVERAL_STARTS = """
from assim.run.terminal.runtime import configure
configure(shares={"member": 2})
import jax
import numpy as np
import assim
from assim.models import Lorenz96
model = Lorenz96(n=40)
window = assim.Window.regular(model, slots=2, steps=2)
points = assim.Points.at(np.full(40, window.edges[-1]), {"site": np.arange(40.0)})
seen = assim.Observations("x", np.ones(40), points, assim.operator.PointSample("x"), stdev=1.0)
background = {"x": 8 * np.sin(np.arange(40.0))}
problem = assim.strong_constraint(model, window, background, assim.covariance.Diagonal(1.0), seen)
with assim.mesh(member=2):
    minimum = assim.analyse(problem, starts=4, posterior=None)
print(minimum.solution.status)
"""


def test_two_devices_that_factorise_do_not_wait_for_one_another():
    """Four searches, whose columns are not dealt out again, and factorisations on both devices."""
    without = {k: v for k, v in os.environ.items() if k not in ("PJRT_NPROC", "XLA_FLAGS")}
    printed = subprocess.run(
        [sys.executable, "-c", SEVERAL_STARTS],
        env=without, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert printed.stdout.strip() == "converged"
