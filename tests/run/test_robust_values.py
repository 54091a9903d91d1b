"""Values of a case that no computation could use are refused by key, and sizes before memory."""

from pathlib import Path
from typing import Any

import pytest

from assim.case import failure
from assim.case.case import read_case
from assim.case.failure import CaseError
from assim.case.methods import PosteriorTable
from assim.case.toml import LONGEST, MAX_DEPTH, value_faults
from tests.run.test_bad_input import setting
from tests.run.toy import Toy

HUGE = 9223372036854775807
MANY = 1_000_000_000
PRIOR = "parameters.rate.prior"
NORMAL = {"use": "Normal", "mean": 0.1, "stdev": 0.1}
VALUES: dict[str, tuple[str, Any, str]] = {
    "tolerance of infinity": ("minimiser.tolerance", float("inf"), "finite"),
    "tolerance of a million": ("minimiser.tolerance", 1e6, "GaussNewton: tolerance must be"),
    "tolerance of one": ("minimiser.tolerance", 1.0, "GaussNewton: tolerance must be"),
    "mean as a text": (PRIOR, {**NORMAL, "mean": "0.9"}, "'0.9'"),
    "mean not a number": (PRIOR, {**NORMAL, "mean": float("nan")}, "finite"),
    "mean as a list": (PRIOR, {**NORMAL, "mean": [0.9]}, "must be the prior of one number"),
    "mean as a table": (PRIOR, {**NORMAL, "mean": {}}, "must be a number"),
    "mean as a truth": (PRIOR, {**NORMAL, "mean": True}, "must be a number"),
    "stdev of infinity": (PRIOR, {**NORMAL, "stdev": float("inf")}, "finite"),
    "stdev without end": (PRIOR, {**NORMAL, "stdev": HUGE}, "2^53"),
    "slots without end": ("window.slots", HUGE, "2^53"),
    "thirty digits": ("window.steps", 10**30, "2^53"),
    "less than all": ("runtime.seed", -(10**30), "2^53"),
    "error of infinity": ("observations.0.error", {"stdev": float("inf")}, "finite"),
    "bounds of nothing": ("observations.0.quality", {"lower": float("nan")}, "finite"),
    "a list of them": ("background.fields", {"x": {"value": [1.0, float("nan"), 1.0]}}, "finite"),
    "NUL in a name": ("observations.0.file", "a\0b.nc", "NUL"),
    "prior of a field": ("background.fields", {"x": {"prior": {**NORMAL, "mean": [1.0, 2.0]}}},
                         "must be the prior of values of shape (3,)"),
    "prior of a scale": ("observations.0.error", {"name": "s", "prior": {
        **NORMAL, "mean": [1.0, 2.0]}}, "must be the prior of one number"),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values_of_no_use_are_refused_by_their_key(toy: Toy, name: str) -> None:
    key, value, words = VALUES[name]
    setting(key, value)(toy)
    result = toy.write().run(command="check")
    assert result.exit_code == 2, result.output
    assert (
        key in result.stderr or "minimiser: GaussNewton: tolerance" in result.stderr
    ) and words in result.stderr
    assert "Traceback" not in result.stderr


def test_bounds_may_be_infinite() -> None:
    bounds = {"lower": -float("inf"), "upper": float("inf")}
    assert value_faults({"quality": bounds, "title": "", "window": {"slots": 2**53}}) == []
    assert [fault.path for fault in value_faults({"a": [{"b": float("inf")}]})] == ["a.0.b"]


def nested(kind: str, depth: int) -> str:
    if kind == "lists":
        return "a = " + "[" * depth + "]" * depth
    if kind == "tables":
        return "a = " + "{ a = " * depth + "1" + " }" * depth
    return ".".join(["a"] * depth) + " = 1" if kind == "keys" else f"[{'.'.join(['a'] * depth)}]"


@pytest.mark.parametrize("kind", ["lists", "tables", "keys", "headers"])
def test_tables_in_one_another(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "case.toml"
    for depth in (MAX_DEPTH + 3, 3000, 100_000):
        path.write_text(nested(kind, depth))
        with pytest.raises(CaseError, match=f"more than {MAX_DEPTH} deep"):
            read_case(path)
        path.write_text("a = 1")
        if kind != "headers":
            with pytest.raises(CaseError, match=f"more than {MAX_DEPTH} deep"):
                read_case(path, [nested(kind, depth).replace(" ", "")])


@pytest.mark.parametrize("content", [b"a = " + b"1" * 5000, b" " * (LONGEST + 1), b"\xff\xfe"])
def test_texts_that_are_no_case(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "case.toml"
    path.write_bytes(content)
    with pytest.raises(CaseError, match=r"not valid TOML|cannot read"):
        read_case(path)


# ---- sizes ---------------------------------------------------------------------------------------

RING = {"use": "AdvectionDiffusion", "dt": 20.0, "length": 1000.0}
SIZES: dict[str, tuple[str, Any]] = {
    "slots": ("window.slots", MANY),
    "steps": ("window.steps", MANY),
    "first guesses": ("minimiser.starts", MANY),
    "inner loops": ("minimiser.n_inner", 10 * MANY),
    "draws": ("predictive.draws", MANY),
    "members": ("posterior", {"use": "Laplace", "members": MANY}),
    "points": ("model", {**RING, "n": 10 * MANY}),
    "a billion points": ("model", {**RING, "n": MANY}),
    "windows": ("cycle.windows", 10 * MANY),
    "members of a cycle": ("cycle", {"windows": 2, "method": {"use": "ETKF", "members": MANY}}),
}


@pytest.mark.parametrize("name", SIZES)
def test_what_memory_cannot_hold_is_refused_with_the_figures(
    toy: Toy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure, "available", lambda: 24 * 2**30)
    monkeypatch.setattr("assim.case.pose.analyse", None)
    key, value = SIZES[name]
    if key.startswith("predictive"):
        toy.case |= {"posterior": "Laplace"}
    if key.startswith("cycle"):
        toy.case |= {"posterior": "Laplace"}
        toy.case["background"]["covariance"] = {"use": "Diagonal", "stdev": 1.0}
    setting(key, value)(toy)
    result = toy.write().run()
    assert result.exit_code == 2, result.output
    assert key in result.stderr
    assert "GiB of memory" in result.stderr and "this machine has 24 GiB" in result.stderr
    assert not toy.out.exists()


OWN = """
from typing import Annotated

import assim


class Own(assim.posterior.AbstractPosterior):
    since: int = 1970
    members: Annotated[int, "size"] = 10
    kept: Annotated[int, "size"] | None = None

    def name(self):
        return "own"

    def sample(self, problem, around, key, report=None):
        raise NotImplementedError
"""


@pytest.mark.parametrize("key", ["since", "members", "kept"])
def test_of_plug_ins_of_ones_own_sizes_count_alone(tmp_path: Path, key: str) -> None:
    (tmp_path / "own.py").write_text(OWN)
    table = PosteriorTable.loose({"use": "own.py:Own", key: 10**14}).locate("posterior", tmp_path)
    told = [str(fault) for fault in table.faults()]
    if key == "since":
        assert told == [] and table.counts() == {}
    else:
        assert len(told) == 1 and f"posterior.{key}: takes some" in told[0]
        assert table.counts() == {f"posterior.{key}": 10**14}


def test_the_memory_of_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2**28 < failure.available() < 2**50
    (tmp_path / "limit").write_text(str(2**20))
    monkeypatch.setattr(failure, "_GROUP_LIMIT", tmp_path / "limit")
    assert failure.available() == 2**20
    assert failure.excess(2**15) is None
    assert failure.excess(2**15 + 1) is not None
