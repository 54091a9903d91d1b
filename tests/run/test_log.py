"""`assim run --log`: lines of JSON that tell the program that started the run how it goes."""

import json
from pathlib import Path

import pytest

from tests.cycle.files import Files
from tests.run.toy import Toy


def events(path):
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all("time" in line for line in lines)
    return lines


def of(lines, event):
    return [line for line in lines if line["event"] == event]


def test_a_window(tmp_path):
    toy, log = Toy(tmp_path).write(), tmp_path / "run.jsonl"
    done = toy.run("--quiet", "--log", str(log), "--set", "posterior.use=Laplace")
    assert done.exit_code == 0 and not done.output
    lines = events(log)
    assert lines[0]["event"] == "start" and lines[0]["set"] == ["posterior.use=Laplace"]
    assert [line["number"] for line in of(lines, "loop")][:2] == [1, 2]
    (result,) = of(lines, "result")
    summary = json.loads((toy.out / "summary.json").read_text())
    assert result["status"] == "converged" and result["posteriors"]["laplace"]["trust"]
    rate = summary["quantities"]["rate"]
    assert result["quantities"]["rate"]["mean"] == pytest.approx(rate["mean"])
    assert any(path.endswith("analysis.nc") for path in of(lines, "written")[0]["files"])
    assert lines[-1]["event"] == "end" and lines[-1]["exit"] == 0


def test_a_run_that_fails_says_why_and_the_log_goes_on(tmp_path):
    toy, log = Toy(tmp_path).write(), tmp_path / "run.jsonl"
    assert toy.run("--log", str(log), "--set", "window.slots=0").exit_code == 2
    (error,) = of(events(log), "error")
    assert "window.slots" in error["text"]
    assert toy.run("--log", str(log)).exit_code == 0
    assert len(of(events(log), "start")) == 2


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(tmp_path):
    toy = Toy(tmp_path).write()
    done = toy.run("--log", str(tmp_path / "nowhere" / "run.jsonl"))
    assert done.exit_code == 3 and "run.jsonl: no log can be written" in done.output
    assert not toy.out.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_ends_the_log_and_not_the_run(tmp_path):
    toy = Toy(tmp_path).write()
    assert toy.run("--log", "/dev/full").exit_code == 0
    assert (toy.out / "summary.json").exists()


def test_a_cycle(tmp_path):
    files, log = Files.made(tmp_path / "case", 3), tmp_path / "run.jsonl"
    assert files.run(tmp_path / "out", "--log", str(log)).exit_code == 0
    lines = events(log)
    windows = of(lines, "window")
    assert [line["number"] for line in windows] == [0, 1, 2]
    assert all(line["chi_squared"] > 0 and line["spread_analysis"]["x"] > 0 for line in windows)
    assert of(lines, "result")[0]["windows"] == 3
    assert lines[-1] == {**lines[-1], "event": "end", "exit": 0}
