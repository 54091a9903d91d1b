"""A run from the command line to finished files, and the ways in which it can end."""

import errno
import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from assim.run.terminal.screen import Screen
from tests.run.toy import MODEL, Toy, invoke, listed


@pytest.fixture(scope="module")
def finished(shared: Toy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A finished run with a posterior."""
    out = tmp_path_factory.mktemp("finished") / "results"
    options = ["--set", "posterior.use=Laplace", "--set", 'output.keep=["analysis","posterior"]']
    return shared.run("--out", str(out), *options), out


def test_a_run_says_what_it_did(finished: tuple[Any, Path]) -> None:
    result, out = finished
    assert result.exit_code == 0, result.stderr or result.exception
    said = ("Toy", "gradient norm", "rate", "5 %", "95 %", "day-1", "k̂", "Nash–Sutcliffe")
    for word in (*said, "Wrote to"):
        assert word in result.stdout
    assert str(out) in result.stdout


def test_a_run_keeps_the_files_that_it_is_asked_for(finished: tuple[Any, Path]) -> None:
    _, out = finished
    assert sorted(listed(out)) == ["analysis.nc", "posterior.nc", "summary.json"]


def test_summary(finished: tuple[Any, Path], shared: Toy) -> None:
    summary = json.loads((finished[1] / "summary.json").read_text())
    assert summary["status"] == "converged"
    assert {"import", "read", "minimise", "posterior", "write"} <= set(summary["seconds"])
    assert summary["observations"]["x"]["used"] == 12
    assert 0.02 < summary["quantities"]["rate"]["mean"] < 0.5


def test_files_carry_the_resolved_case(finished: tuple[Any, Path]) -> None:
    with xr.open_dataset(finished[1] / "analysis.nc") as file:
        case = tomllib.loads(file.attrs["assim_config"])
        inputs = file.attrs["assim_inputs"]
    assert case["posterior"]["use"] == "Laplace"
    assert "background.nc" in inputs
    assert "observations.nc" in inputs


def test_every_file_is_written_unless_chosen(shared: Toy, tmp_path: Path) -> None:
    result = shared.run("--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.stderr or result.exception
    found = set(listed(tmp_path / "out"))
    stages = ("background", "analysis", "trajectory", "feedback", "diagnostics")
    assert {f"{stage}.nc" for stage in stages} | {"summary.json"} <= found
    assert "posterior.nc" not in found


def test_not_converged(shared: Toy, tmp_path: Path) -> None:
    options = ["--set", "minimiser.n_outer=1", "--set", 'output.keep=["analysis"]']
    result = shared.run("--out", str(tmp_path), *options)
    assert result.exit_code == 4, result.stderr or result.exception
    assert "Not converged" in result.stdout
    assert (tmp_path / "analysis.nc").is_file()
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "out_of_loops"


@pytest.mark.parametrize("command", ["run", "check"])
def test_non_finite_model(toy: Toy, command: str) -> None:
    toy.model = MODEL.replace('{"x": y}', '{"x": jnp.where(t > 1.5, jnp.nan, y)}')
    result = toy.write().run(command=command)
    assert result.exit_code == 5, result.stderr or result.exception
    for word in ("not finite", "'x'", "2000-01-04", "rate = 0.1"):
        assert word in result.stderr
    assert not toy.out.exists()


def test_gradient_that_is_not_finite(toy: Toy) -> None:
    toy.model = MODEL.replace('{"x": y}', '{"x": y + jnp.sqrt(0 * theta["rate"])}')
    result = toy.write().run()
    assert result.exit_code == 5, result.stderr or result.exception
    assert "the cost is finite, but not its gradient" in result.stderr
    checked = toy.run(command="check")
    assert checked.exit_code == 2, checked.stderr or checked.exception
    assert "its gradient is not finite" in checked.stdout


def test_an_integration_out_of_steps(tmp_path: Path) -> None:
    case = tmp_path / "case.toml"
    assert invoke("init", "LotkaVolterra", "--out", str(case)).exit_code == 0
    assert invoke("twin", str(case)).exit_code == 0
    table = '{ use = "Adaptive", max_steps = 2 }'
    arguments = ("--out", str(tmp_path / "out"), "--set", f"model.integrator={table}")
    result = invoke("run", str(case), *arguments)
    assert result.exit_code == 5, result.stderr or result.exception
    assert "max_steps = 2" in result.stderr


def test_a_prior_may_exclude_the_default(toy: Toy) -> None:
    toy.case["parameters"]["rate"]["prior"] = {"use": "Uniform", "lower": 0.2, "upper": 0.4}
    result = toy.write().run(command="check")
    assert result.exit_code == 0, result.stdout
    assert "excludes the model's default" in result.stdout


def test_truth_is_read_before_anything_is_computed(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.case["twin"] = {}
    toy.write()
    (toy.folder / "truth.nc").write_bytes(b"CDF")
    monkeypatch.setattr("assim.case.pose.analyse", None)
    result = toy.run()
    assert result.exit_code == 3, result.stderr or result.exception
    assert "truth.nc" in result.stderr


def test_truth_is_one_of_the_inputs(toy: Toy) -> None:
    from assim.case.case import read_case
    from assim.case.pose import pose

    toy.case["twin"] = {}
    toy.write()
    toy.background.to_netcdf(toy.folder / "truth.nc")
    posed = pose(read_case(toy.folder / "case.toml"))
    assert "truth.nc" in posed.inputs
    np.testing.assert_array_equal(posed.truth["x"], [3.0, 2.0, 1.0])


def test_directory_that_cannot_be_written(
    shared: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("assim.case.pose.analyse", None)  # nothing may be computed
    result = shared.run("--out", str(tmp_path / "file" / "out"))
    assert result.exit_code == 3
    assert "cannot be written" in result.stderr


def test_disk_full_leaves_nothing_half_written(
    shared: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = xr.Dataset.to_netcdf

    def full(self: xr.Dataset, path: Any, **options: Any) -> Any:
        if "trajectory" in str(path):
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, path, **options)

    monkeypatch.setattr(xr.Dataset, "to_netcdf", full)
    result = shared.run("--out", str(tmp_path / "out"))
    assert result.exit_code == 3
    assert "No space left" in result.stderr
    assert not (tmp_path / "out").exists()


def test_interrupt(shared: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Screen, loop: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Screen, "loop", stop)
    result = shared.run("--out", str(tmp_path / "out"))
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert not (tmp_path / "out").exists()


def test_interrupt_after_an_earlier_run(
    shared: Toy, finished: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Screen, loop: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Screen, "loop", stop)
    shutil.copytree(finished[1], tmp_path / "out")
    before = listed(tmp_path / "out")
    result = shared.run("--out", str(tmp_path / "out"))
    assert result.exit_code == 130
    assert "nothing written" in result.stderr
    assert "analysis.nc" not in result.stderr
    assert listed(tmp_path / "out") == before


def test_internal_error_asks_for_a_report(
    shared: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assim.case.pose.analyse", lambda *a, **k: 1 / 0)
    result = shared.run("--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "please report" in result.stderr
    assert "ZeroDivisionError" in result.stderr


def test_watching_is_for_cycles(shared: Toy) -> None:
    result = shared.run("--watch", str(shared.folder))
    assert result.exit_code == 2
    assert "cycle" in result.stderr


def test_report_of_no_run(tmp_path: Path) -> None:
    result = invoke("report", str(tmp_path))
    assert result.exit_code == 3
    assert "summary.json" in result.stderr


def test_operator_as_a_function(toy: Toy) -> None:
    source = "from assim import operator\n\ndef half(trajectory, points):\n"
    source += "    return operator.sample(trajectory, 'x', points) / 2\n"
    toy.write()
    (toy.folder / "ops.py").write_text(source)
    from assim.case.case import read_case
    from assim.case.pose import pose

    path = toy.folder / "case.toml"
    plain = pose(read_case(path)).problem
    table = '{ use = "ops.py:half", needs = ["cell"], unit = "kg" }'
    halved = pose(read_case(path, [f"observations.0.operator={table}"])).problem
    chi = np.zeros(plain.size())
    expected = plain.simulate(chi).predictions["x"] / 2
    np.testing.assert_allclose(halved.simulate(chi).predictions["x"], expected)


def test_an_operator_that_gives_a_column_is_a_fault_of_the_case(toy: Toy) -> None:
    source = "from assim import operator\n\ndef column(trajectory, points):\n"
    source += "    return operator.sample(trajectory, 'x', points)[:, None]\n"
    toy.case["observations"][0]["operator"] = {"use": "ops.py:column", "needs": ["cell"]}
    toy.write()
    (toy.folder / "ops.py").write_text(source)
    for command in ("check", "run"):
        result = toy.run(command=command)
        assert result.exit_code == 2
        assert "one number for each value, shape (12,), got shape (12, 1)" in result.stderr
