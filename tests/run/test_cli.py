"""The command line itself: how fast it answers, what it lists, what it starts."""

import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from assim.case.case import read_case
from tests.run.toy import Toy, invoke

_HEAVY = ("jax", "xarray", "numpy", "pydantic", "rich", "matplotlib", "assim.problem")


def test_help_answers_at_once() -> None:
    def seconds() -> float:
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "assim.run.cli", "--help"], check=True, capture_output=True
        )
        return time.perf_counter() - begin

    assert min(seconds() for _ in range(5)) < 0.3


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, assim.run.cli; print([m for m in {_HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_every_command_has_help() -> None:
    text = invoke("--help").stdout
    for command in ("run", "check", "twin", "calibrate", "init", "report", "forecast", "info"):
        assert command in text
        assert invoke(command, "--help").exit_code == 0


def test_info_lists_what_use_may_name() -> None:
    from assim.case.names import kinds, names, words

    result = invoke("info")
    assert result.exit_code == 0, result.stderr or result.exception
    listed = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    assert {"jax", "devices", "compile cache"} <= set(listed)
    for kind in kinds():
        assert listed[f"{kind}s"].split() == ", ".join((*names(kind), *words(kind))).split(), kind
    assert "Diffusion" in listed["covariances"] and "Nested" in listed["posteriors"]


def test_init_names_every_minimiser_and_posterior() -> None:
    from assim.case.names import names, words

    text = invoke("init", "Lorenz63").stdout
    for kind in ("minimiser", "posterior"):
        missing = [name for name in (*names(kind), *words(kind)) if f'"{name}"' not in text]
        assert not missing, kind


@pytest.mark.parametrize("model", ["Lorenz63", "LotkaVolterra", "AdvectionDiffusion"])
def test_init_makes_a_case_that_can_be_posed(model: str, tmp_path: Path) -> None:
    from assim.case.pose import pose

    case = tmp_path / "case.toml"
    assert invoke("init", model, "--out", str(case)).exit_code == 0
    made = invoke("twin", str(case))
    assert made.exit_code == 0, made.stderr or made.exception
    posed = pose(read_case(case))
    assert all(sum(counts.values()) == counts["used"] for counts in posed.rejected().values())


def test_init_shows_how_windows_follow_one_another(tmp_path: Path) -> None:
    """With the marks of [cycle] removed."""
    case = tmp_path / "case.toml"
    assert invoke("init", "Lorenz63", "--out", str(case)).exit_code == 0
    text = case.read_text()
    marked = ("# [cycle]", "# windows = ", "# method = ")
    assert all(mark in text for mark in marked)
    for mark in marked:
        text = text.replace(mark, mark.removeprefix("# "))
    case.write_text(text)
    given = read_case(case)
    assert not given.faults and given.checked.cycle is not None
    assert given.checked.cycle.windows == 10 and given.checked.cycle.method.use == "FourDVar"


def test_init_of_a_model_in_a_file(toy: Toy) -> None:
    toy.write()
    result = invoke("init", f"{toy.folder}/toy.py:Decay")
    assert result.exit_code == 0, result.stderr or result.exception
    assert "[parameters.rate]" in result.stdout
    folder = toy.folder / "cases" / "first"
    folder.mkdir(parents=True)
    case = folder / "case.toml"
    made = invoke("init", f"{toy.folder}/toy.py:Decay", "--out", str(case))
    assert made.exit_code == 0, made.stderr or made.exception
    assert 'use = "../../toy.py:Decay"' in case.read_text()  # wherever both are moved to
    assert not read_case(case).faults and read_case(case).checked.minimiser.starts == "auto"


NEEDY = """
import equinox as eqx
import jax.numpy as jnp
from assim import AbstractModel, Forcing, Label, Labels


class Needy(AbstractModel):
    inflow: Forcing
    size: int = eqx.field(static=True)
    gain: float
    calm: bool = True
    dt: float = 1.0
    parameters: dict = eqx.field(default_factory=dict)

    def labels(self):
        inputs = {"inflow": Label((), "m3 day-1", "rate of inflow")}
        return Labels(state={"x": Label((), "m3")}, inputs=inputs, time_unit="days")

    def step(self, x, theta, t):
        return {"x": x["x"] + self.gain * self.inflow(t)}
"""


def test_init_of_a_model_that_must_be_given_arguments(tmp_path: Path) -> None:
    (tmp_path / "needy.py").write_text(NEEDY)
    result = invoke("init", f"{tmp_path}/needy.py:Needy", "--out", str(tmp_path / "case.toml"))
    assert result.exit_code == 0, result.stderr or result.exception
    text = (tmp_path / "case.toml").read_text()
    series = {"file": "inflow.nc", "variable": "inflow"}
    model = tomllib.loads(text)["model"]
    assert model == {"use": "needy.py:Needy", "inflow": series, "size": 10, "gain": 1.0}
    assert "# rate of inflow, in m3 day-1; interpolation" in text
    assert "gain = 1.0  # must be given" in text


def test_init_of_no_model() -> None:
    result = invoke("init", "Lorenz97")
    assert result.exit_code == 2
    assert "Lorenz96" in result.stderr


def test_twin_overwrites_nothing(toy: Toy) -> None:
    toy.case["twin"] = {"initial": {"x": 2.0}, "stdev": 0.5}
    toy.case["observations"][0]["error"] = {"stdev": 0.1}
    refused = toy.write().run(command="twin")
    assert refused.exit_code == 3
    assert "--force" in refused.stderr
    forced = toy.run("--force", command="twin")
    assert forced.exit_code == 0, forced.stderr or forced.exception
    assert (toy.folder / "truth.nc").is_file()


@pytest.mark.parametrize("key", [{"accept": [1]}, {"select": {"number": 0}}, {"time": "t"}])
def test_keys_that_no_twin_has_a_use_for_are_refused(toy: Toy, key: dict[str, Any]) -> None:
    toy.case["twin"] = {"initial": {"x": 2.0}, "stdev": 0.5}
    toy.case["observations"][0] |= {"error": {"stdev": 0.1}, **key}
    words = f"observations.0.{next(iter(key))}: a twin experiment makes"
    refused = toy.write().run("--force", command="twin")
    assert refused.exit_code == 2 and words in refused.stderr
    toy.case |= {"cycle": {"windows": 2, "twin": True}, "posterior": "Laplace"}
    toy.case["background"]["covariance"] = {"use": "Diagonal", "stdev": 1.0}
    refused = toy.write().run(command="check")
    assert refused.exit_code == 2 and words in refused.stderr


def test_a_folder_is_no_case(toy: Toy) -> None:
    toy.write()
    for command in ("run", "check", "forecast"):
        result = invoke(command, str(toy.folder))
        assert result.exit_code == 2, result.output
        assert f"it is a folder; name the case in it, {toy.folder}/case.toml" in result.stderr
    (toy.folder / "case.toml").rename(toy.folder / "case.txt")
    assert "it is a folder; it holds no case (*.toml)" in invoke("run", str(toy.folder)).stderr


def test_results_go_to_a_directory(toy: Toy) -> None:
    toy.write()
    result = toy.run("--out", str(toy.folder / "toy.py"))
    assert result.exit_code == 3, result.output
    assert "toy.py: is a file, and results go to a directory" in result.stderr


def test_twin_needs_its_table(toy: Toy) -> None:
    result = toy.write().run(command="twin")
    assert result.exit_code == 2
    assert "twin: the table is missing" in result.stderr


def test_twin_observes_at_least_once(toy: Toy) -> None:
    toy.case["twin"] = {"initial": {"x": 2.0}, "stdev": 0.5, "every": 5}
    toy.case["observations"][0]["error"] = {"stdev": 0.1}
    result = toy.write().run("--force", command="twin")
    assert result.exit_code == 2, result.stderr or result.exception
    assert "twin.every: must be at most the number of slots, 4" in result.stderr


def test_twin_keeps_what_the_case_gives_and_can_be_read(toy: Toy) -> None:
    from assim.case.pose import pose

    toy.case["background"] = {"fields": {"x": {"value": [3.0, 2.0, 1.0]}}}
    toy.case["twin"] = {"initial": {"x": 20.0}, "spin_up": 3.0}
    toy.case["observations"][0] |= {"error": {"stdev": 0.1}, "likelihood": {"use": "LogNormal"}}
    result = toy.write().run("--force", command="twin")
    assert result.exit_code == 0, result.stderr or result.exception
    tree = toy.case["observations"][0]
    tree.pop("error")  # what the file says
    posed = pose(read_case(toy.write_case()))
    assert posed.truth is not None
    np.testing.assert_array_equal(posed.truth["x"], [3.0, 2.0, 1.0])


def test_twin_draws_from_a_likelihood_of_the_users_own(toy: Toy) -> None:
    """One that says the same as Poisson's needs no standard deviation, and gets the same counts."""
    toy.model += """

from assim.problem.likelihood import AbstractLikelihood, Poisson


class Counts(AbstractLikelihood):
    uses_covariance = False

    def departures(self, *given):
        return Poisson().departures(*given)

    def log_constant(self, *given):
        return Poisson().log_constant(*given)

    def log_constants(self, *given):
        return Poisson().log_constants(*given)

    def check(self, observed):
        return Poisson().check(observed)

    def sample(self, *given):
        return Poisson().sample(*given)
"""
    toy.case["background"] = {"fields": {"x": {"value": [30.0, 20.0, 10.0]}}}
    toy.case["twin"] = {"initial": {"x": 20.0}, "stdev": 0.5}
    made = {}
    for use in ("Poisson", "toy.py:Counts"):
        toy.case["observations"][0]["likelihood"] = {"use": use}
        result = toy.write().run("--force", command="twin")
        assert result.exit_code == 0, result.stderr or result.exception
        made[use] = xr.load_dataset(toy.folder / "observations.nc")
        assert made[use]["x"].attrs["errors_of"] == "value" and "x_stddev" not in made[use]
    np.testing.assert_array_equal(made["toy.py:Counts"]["x"], made["Poisson"]["x"])
    assert made["toy.py:Counts"]["x"].attrs["likelihood"] == "Counts"


def test_check_finds_a_wrong_derivative(toy: Toy) -> None:
    wrong = "y = broken(y)\n        return"
    toy.model = toy.model.replace('return {"x"', f'{wrong} {{"x"')
    toy.model += """

import jax

@jax.custom_jvp
def broken(y):
    return y

@broken.defjvp
def _(primals, tangents):
    return primals[0], 1.01 * tangents[0]
"""
    bad = toy.write().run(command="check")
    assert bad.exit_code == 2, bad.stderr or bad.exception
    assert "FAIL" in bad.stdout
    assert "tangent linear" in bad.stdout.splitlines()[-1]
