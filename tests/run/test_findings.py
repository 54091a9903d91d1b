"""A diagnostic of the user's own, from the case to the report, and one that fails."""

import json
from pathlib import Path

import pytest
import xarray as xr

from assim.files.record import together
from tests.run.toy import Toy

OWN = """
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from assim import finding

@dataclass(frozen=True)
class Misfit(finding.AbstractFinding):
    name: ClassVar[str] = "misfit"
    departures: dict

    def variables(self):
        largest = max(np.max(np.abs(d)) for d in self.departures.values())
        return {"misfit_largest": finding.Variable((), largest, "largest normalised departure")}

    def columns(self, instrument):
        return [finding.RowColumn("_misfit", self.departures[instrument], "departure of", True)]

def misfit(analysis):
    return Misfit({n: np.asarray(d) for n, d in analysis.departures.after.items()})

class Taken(finding.AbstractFinding):
    name = "cost"

    def variables(self):
        return {}

def taken(analysis):
    return Taken()

def nothing(analysis):
    return 1.0

def broken(analysis):
    raise RuntimeError("no such luck")
"""


def run(toy: Toy, *uses: str, code: int = 0) -> Path:
    toy.case["findings"] = [{"use": f"own.py:{use}"} for use in uses]
    toy.case["posterior"] = {"use": "Laplace"}
    toy.write()
    (toy.folder / "own.py").write_text(OWN)
    done = toy.run()
    assert done.exit_code == code, done.stderr or done.exception
    (toy.out / "said.txt").write_text(" ".join(done.stdout.split()))
    return toy.out


def test_a_finding_of_the_users_own_is_in_every_file_and_in_the_report(toy: Toy) -> None:
    toy.out.mkdir(parents=True)
    with together(toy.out, "forecast") as batch, batch.part("forecast.json") as path:
        path.write_text("{}")
    out = run(toy, "misfit")
    assert "stale" in json.loads((out / "forecast.json").read_text())
    assert "stale, and say so: forecast.json" in (out / "said.txt").read_text()
    written = json.loads((out / "summary.json").read_text())
    assert written["findings"][-1] == "misfit"
    with xr.open_dataset(out / "diagnostics.nc") as file:
        assert file["misfit_largest"].attrs["finding"] == "misfit"
        assert written["misfit"]["misfit_largest"] == float(file["misfit_largest"])
    with xr.open_dataset(out / "feedback.nc") as file:
        assert "x_misfit" in file
    assert "misfit largest" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("broken", "left out: finding own.py:broken: RuntimeError: no such luck (own.py, line"),
        ("taken", "summary.json has an entry of this name already"),
        ("nothing", "expected an assim.finding.AbstractFinding or None, got"),
    ],
)
def test_a_finding_that_fails_does_not_lose_the_analysis(use: str, words: str, toy: Toy) -> None:
    out = run(toy, use, code=7)
    assert words in (out / "said.txt").read_text()
    written = json.loads((out / "summary.json").read_text())
    assert written["findings"] == ["diagnostics", "fit", "skill", "observables", "sloppy"]
    assert list(written["failures"]) == [f"finding own.py:{use}"]


def test_a_function_that_is_not_there_is_an_error_of_the_case(toy: Toy) -> None:
    toy.case["findings"] = [{"use": "own.py:nowhere"}]
    toy.write()
    (toy.folder / "own.py").write_text(OWN)
    done = toy.run()
    assert done.exit_code == 2
    assert "findings.0.use" in done.stderr and "own.py has no 'nowhere'" in done.stderr
