"""What was applied, in numbers and in words: what changed nothing says so."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from assim.files.read.quality import QualityControl
from assim.files.write.applied import applied, cycle_applied
from assim.show.applied import NOTHING, lines
from tests.files.toy import analysis


@pytest.fixture(scope="module")
def answer():
    return analysis()


def test_instruments(answer):
    instruments, result = answer
    content = applied(result, instruments)
    assert content["constraint"]["controls"] == result.problem.size()
    speed = content["observations"]["speed"]
    assert (speed["used"], speed["rows"], speed["scale"]) == (2, 5, "sigma")
    first, *others = lines(content)
    assert first.startswith("Strong constraint: ")
    assert others[1] == "speed: 2 of 5 rows used, Gaussian errors, independent scaled by sigma."


def test_checks_that_changed_nothing(answer):
    instruments, result = answer
    quality = QualityControl(lower=-100.0, threshold=3.0)
    asked = [dataclasses.replace(i, quality=quality) for i in instruments]
    flags = asked[0].flags.copy()
    flags[0] = 19
    asked[0] = dataclasses.replace(asked[0], flags=flags)
    _, first, second = lines(applied(result, asked))
    assert f"bounds: 0 rows{NOTHING}, background check: 1 rows." in first
    assert f"background check: 0 rows{NOTHING}." in second


def test_weights_and_bias():
    about = {
        "rows": 4,
        "used": 4,
        "assimilated": False,
        "likelihood": "Huber",
        "independent": False,
        "checks": {},
        "weights": {"least": 0.5, "most": 1.0, "sum": 3.5},
        "bias": {"coefficients": ["a", "b"], "mean": 0.25, "largest": 0.5, "units": "K"},
    }
    weak = {"form": "weak", "controls": 9, "slots": 6, "acts": "jump", "errors": 3}
    weak |= {"control": "model errors", "largest": 2.5}
    constraint, row = lines({"constraint": weak, "observations": {"T": about}})
    assert constraint == (
        "Weak constraint: 9 controls, 6 slots, 3 jumps of model error, controlled by model errors; "
        "the largest is 2.5 of its standard deviations."
    )
    assert row == (
        "T: 4 of 4 rows held back, Huber errors, correlated, weights 0.5 to 1, 3.5 in all, "
        "bias correction by a and b: mean 0.25, at most 0.5 K."
    )


def test_a_cycle():
    scheme = SimpleNamespace(members=20, radius={"x": 2.5}, inflation=object())
    cycle = SimpleNamespace(scheme=scheme, problem=SimpleNamespace(size=lambda: 40))
    ones = np.ones(3)
    measures = SimpleNamespace(
        inflation=ones, cost=ones, number=10 * ones, failed_members=np.zeros(3, int)
    )
    (line,) = lines(cycle_applied(cycle, measures))
    assert line == (
        "SimpleNamespace in 3 windows: 40 controls, 30 observations; members 20; radius x 2.5; "
        f"inflation by 1 on average, 1 to 1{NOTHING}."
    )
    measures.inflation = np.array([1.0, 1.2, 1.1])
    (line,) = lines(cycle_applied(cycle, measures))
    assert line.endswith("inflation by 1.1 on average, 1 to 1.2.")
    measures.failed_members = np.array([0, 3, 1])
    (line,) = lines(cycle_applied(cycle, measures))
    assert "; 4 members were not finite and are left out, in 2 windows, at most 3 in one" in line
