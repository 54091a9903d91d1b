"""What fails after the minimisation: everything else is written, and the exit code tells."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from assim.analysis import analyse, minimum
from assim.files.record import together
from assim.run import window
from assim.show import report
from tests.run.toy import Toy, invoke

OWN = """
import jax.numpy as jnp

import assim
from assim import Trust
from assim.solve.posterior.ensemble import Ensemble


class Raising(assim.posterior.AbstractPosterior):
    def name(self):
        return "raising"

    def sample(self, problem, around, key, report=None):
        raise RuntimeError("no such luck")


class Empty(assim.posterior.AbstractPosterior):
    def name(self):
        return "empty"

    def sample(self, problem, around, key, report=None):
        members = jnp.full((5, problem.size()), jnp.nan)
        return Ensemble(members, jnp.full(5, 0.2), Trust.CERTIFIED, "All is well.")


class Stopped(assim.posterior.AbstractPosterior):
    def name(self):
        return "stopped"

    def sample(self, problem, around, key, report=None):
        raise KeyboardInterrupt
"""
LAPLACE = {"use": "Laplace", "certificate": 500, "members": 60}
RAISED = "RuntimeError: no such luck (own.py, line"
NOT_FINITE = "ValueError: empty: expected finite members with weights that are not negative, got 5"


def run(toy: Toy, *posteriors: Any, code: int = 7) -> tuple[str, dict[str, Any], str]:
    """What was printed, the summary, and the report, of a run that is not complete."""
    toy.case["posterior"] = list(posteriors)
    toy.write()
    (toy.folder / "own.py").write_text(OWN)
    done = toy.run()
    assert done.exit_code == code, done.output
    page = toy.out / "report.html"
    text = page.read_text() if page.exists() else ""
    return " ".join(done.output.split()), json.loads((toy.out / "summary.json").read_text()), text


def stands(out: Path, *names: str) -> None:
    """These files are there, and what they hold of the minimum is finite."""
    for name in names:
        with xr.open_dataset(out / f"{name}.nc") as file:
            assert file.attrs["title"]
            if name in ("analysis", "trajectory"):
                assert np.isfinite(file["x"]).all()


def test_methods_that_fail_lose_no_other(toy):
    methods = [{"use": "own.py:Raising"}, LAPLACE, {"use": "own.py:Empty"}]
    said, summary, page = run(toy, *methods)
    assert summary["chosen"] == "laplace" and summary["quantities"]["rate"]["stddev"] > 0
    trusts = {name: about["trust"] for name, about in summary["posterior"].items()}
    assert trusts["raising"] == trusts["empty"] == "failed" != trusts["laplace"]
    assert summary["posterior"]["raising"]["advice"].startswith(RAISED)
    assert summary["posterior"]["empty"]["advice"].startswith(NOT_FINITE)
    assert set(summary["failures"]) == {"posterior_raising", "posterior_empty"}
    assert "raising has failed and is left out." in summary["choice"]
    for text in (said, page):
        assert "x: 12 of 12 rows used, Gaussian errors, independent." in text
    for text in (said, page.replace("&#x27;", "'")):
        assert RAISED in text and NOT_FINITE in text
    stands(toy.out, "analysis", "trajectory", "feedback", "diagnostics", "posterior")
    assert not [*toy.out.glob("*_raising.nc"), *toy.out.glob("*_empty.nc")]


def test_the_only_method_fails(toy):
    said, summary, page = run(toy, {"use": "own.py:Empty"})
    assert summary["status"] == "converged" and summary["chosen"] is None
    entry = {"method": "empty", "trust": "failed"}
    assert entry.items() <= summary["posterior"].items()
    assert NOT_FINITE in said and NOT_FINITE in page
    stands(toy.out, "analysis", "trajectory", "feedback", "diagnostics")
    assert not (toy.out / "posterior.nc").exists()


def test_an_interrupt_keeps_the_methods_before(toy):
    """Forecasts of the analysis before, which they replace, are stale."""
    toy.out.mkdir(parents=True)
    with together(toy.out, "forecast") as batch, batch.part("forecast.json") as path:
        path.write_text("{}")
    methods = [LAPLACE, {"use": "own.py:Stopped"}, {"use": "own.py:Raising"}]
    said, summary, _ = run(toy, *methods, code=130)
    assert summary["chosen"] == "laplace" and summary["quantities"]["rate"]["stddev"] > 0
    assert summary["failures"] == {"posterior_stopped": "interrupted"}
    assert "interrupted; written to" in said and "summary.json" in said
    assert "made again" in json.loads((toy.out / "forecast.json").read_text())["stale"]
    checked = invoke("check", str(toy.out))
    assert checked.exit_code == 0, checked.output
    assert "Failed, and left out: posterior stopped: interrupted" in checked.stdout
    assert "forecast.json is stale" in checked.stdout
    stands(toy.out, "analysis", "trajectory", "feedback", "diagnostics", "posterior")


def raising(*given: Any, **named: Any) -> None:
    raise RuntimeError("no such luck")


def stopping(*given: Any, **named: Any) -> None:
    raise KeyboardInterrupt


def once(end: type[BaseException], work: Callable[..., Any]) -> Callable[..., Any]:
    """The work, which the first call does not come to."""
    calls: list[int] = []

    def call(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise end("no such luck")
        return work(*given, **named)

    return call


@pytest.mark.parametrize("stage", ["laplace_of", "spread_of", "prior_of"])
def test_what_the_methods_start_from_fails(toy, monkeypatch, stage):
    monkeypatch.setattr(minimum if stage == "laplace_of" else analyse, stage, raising)
    said, summary, page = run(toy, LAPLACE)
    assert summary["posterior"]["trust"] == "failed"
    assert "what it starts from failed" in summary["posterior"]["advice"]
    assert "RuntimeError: no such luck" in said and "RuntimeError: no such luck" in page
    stands(toy.out, "analysis", "trajectory", "feedback", "diagnostics")


@pytest.mark.parametrize("stage", ["laplace_of", "spread_of", "prior_of", "evaluate"])
def test_an_interrupt_before_the_methods_keeps_the_minimum(toy, monkeypatch, stage):
    stops = once(KeyboardInterrupt, analyse.evaluate) if stage == "evaluate" else stopping
    monkeypatch.setattr(minimum if stage == "laplace_of" else analyse, stage, stops)
    said, summary, page = run(toy, LAPLACE, code=130)
    where = {"laplace_of": "posterior", "spread_of": "spread", "prior_of": "prior"}
    assert summary["failures"][where.get(stage, "spread")] == "interrupted"
    assert summary["status"] == "converged" and summary["posterior"]["trust"] == "failed"
    assert "interrupted; written to" in said and not page
    stands(toy.out, "analysis", "trajectory", "feedback", "diagnostics")


@pytest.mark.parametrize("end, code", [(RuntimeError, 7), (KeyboardInterrupt, 130)])
def test_first_guesses_that_follow_lose_none_before(toy, monkeypatch, end, code):
    """An error costs themselves alone; what follows from the minimum is found all the same."""
    monkeypatch.setattr(minimum, "next_batch", once(end, minimum.next_batch))
    said, summary, page = run(toy, LAPLACE, code=code)
    assert summary["status"] == "converged" and summary["starts"] == 4
    stands(toy.out, "analysis", "trajectory", "feedback", "diagnostics")
    if code == 7:
        assert "left out: first guesses: RuntimeError: no such luck" in said and page
        assert summary["quantities"]["rate"]["stddev"] > 0
    else:
        assert summary["failures"]["first_guesses"] == "interrupted"
        why = "what it starts from failed (first guesses: interrupted)"
        assert summary["posterior"]["advice"] == why


@pytest.mark.parametrize(
    ("place", "stage", "findings"),
    [
        ("goodness_of_fit", "fit", ["diagnostics"]),
        ("stiff_and_sloppy", "sloppy", ["diagnostics", "fit", "skill", "observables"]),
        ("summary", "write", ["diagnostics", "fit", "skill", "observables", "sloppy"]),
    ],
)
def test_an_interrupt_after_the_methods_keeps_them(toy, monkeypatch, place, stage, findings):
    """Of a finding that alone is lost; files are written once more."""
    monkeypatch.setattr(window, place, once(KeyboardInterrupt, getattr(window, place)))
    said, summary, _ = run(toy, LAPLACE, code=130)
    assert summary["quantities"]["rate"]["stddev"] > 0
    assert summary["failures"] == {stage: "interrupted"} and summary["findings"] == findings
    assert f"laplace ({summary['verdict']})" in said
    assert ("Whether the data fit was not tested" in said) == (stage == "fit")
    assert summary["verdict"] == "doubtful" or stage != "fit"
    stands(toy.out, "analysis", "trajectory", "feedback", "diagnostics", "posterior")


def test_an_interrupt_of_the_report_is_told(toy, monkeypatch):
    monkeypatch.setattr(report, "draw", stopping)
    said, summary, _ = run(toy, LAPLACE, code=130)
    assert summary["failures"] == {"report": "interrupted"} and "summary.json" in said
    again = toy.run()  # the summary is recorded as it is now
    assert again.exit_code == 130, again.output


def test_a_finding_a_file_and_the_report_fail(toy, monkeypatch):
    """Each costs itself alone."""
    monkeypatch.setattr(window, "consistency", raising)
    monkeypatch.setattr(window, "feedback_dataset", raising)
    monkeypatch.setattr(report, "draw", raising)
    said, summary, page = run(toy, LAPLACE)
    assert list(summary["failures"]) == ["consistency", "feedback.nc", "report"]
    assert "no such luck" in summary["failures"]["report"]
    assert not page and not (toy.out / "feedback.nc").exists()
    stands(toy.out, "analysis", "trajectory", "diagnostics", "posterior")
    for what in ("consistency", "feedback.nc", "report"):
        assert f"left out: {what}: " in said
