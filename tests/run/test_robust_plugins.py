"""A plug-in is what its place asks for, which is seen before anything is called."""

from pathlib import Path
from typing import Any, Literal, get_type_hints

import jax
import pytest

from assim.case.names import UnknownNameError, resolve
from assim.case.signature import admits, classes, words
from tests.run.toy import Toy, invoke

PLACES = {  # where a case names a plug-in, and what else the table needs
    "model": ({"path": "precious"}, "no model"),
    "model.rate": ({"path": "precious"}, "no plug-in"),
    "minimiser": ({"path": "precious"}, "no minimiser"),
    "posterior": ({"path": "precious"}, "no posterior"),
    "parameters.rate.prior": ({"path": "precious"}, "no prior"),
    "observations.0.operator": ({"path": "precious"}, "no operator"),
    "observations.0.likelihood": ({"path": "precious"}, "no likelihood"),
    "observations.0.covariance": ({"path": "precious"}, "no covariance"),
    "background.covariance": ({"path": "precious"}, "no covariance"),
    "background.covariance.localisation": ({"path": "precious"}, "no covariance"),
    "cycle.method": ({"path": "precious"}, "no scheme"),
    "cycle.method.inflation": ({"path": "precious"}, "no plug-in"),
    "quantities.q": ({}, "no quantity"),
    "findings.0": ({}, "no finding"),
}
OUTER = {
    "background.covariance.localisation": {"use": "Diagonal"},
    "cycle.method.inflation": {"use": "ETKF"},
    "model.rate": {"use": "toy.py:Decay"},
}
ELSEWHERE = ("os:remove", "os:system", "subprocess:Popen", "shutil:Error", "pathlib:Path")


def placed(toy: Toy, place: str, use: str) -> None:
    """Name a plug-in somewhere in the case."""
    arguments, _ = PLACES[place]
    *keys, last = place.split(".")
    node: Any = toy.case
    if place.startswith("cycle"):
        node |= {"cycle": {"windows": 2}, "posterior": "Laplace"}
        node["background"]["covariance"] = {"use": "Diagonal", "stdev": 1.0}
    if place.startswith("findings"):
        node["findings"], last = [], "0"
        node["findings"].append({"use": use, **arguments})
        return
    for key in keys:
        node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
    if place in OUTER:
        node |= OUTER[place]
    node[last] = {"use": use, **arguments}


@pytest.mark.parametrize("place", PLACES)
def test_nothing_else_is_called(toy: Toy, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write()
    monkeypatch.chdir(toy.folder)
    Path("precious").write_text("mine")
    for use in ELSEWHERE:
        placed(toy, place, use)
        toy.write_case()
        result = toy.run(command="check")
        assert result.exit_code == 2, result.output
        assert f"{place}.use: {use!r} is {PLACES[place][1]}" in result.stderr
    assert Path("precious").read_text() == "mine"


FUNCTIONS = """
from functools import partial, wraps
from os import remove
from shutil import copy

import jax

def plain(*given):
    pass

def decorator(function):
    @wraps(function)
    def wrapper(*given):
        return function(*given)
    return wrapper

compiled = jax.jit(plain)
wrapped = decorator(plain)
filled = partial(plain, 1)
borrowed = copy
"""


@pytest.mark.parametrize("kind", ["operator", "quantity", "finding"])
def test_a_function_is_one_of_the_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "own.py").write_text(FUNCTIONS)
    for name in ("plain", "compiled", "wrapped"):
        assert callable(resolve(kind, f"own.py:{name}", tmp_path))
    for name in ("remove", "copy", "borrowed", "filled", "jax"):
        with pytest.raises(UnknownNameError, match=r"function that is defined in own\.py"):
            resolve(kind, f"own.py:{name}", tmp_path)


def test_a_covariance_of_several_fields_may_be_one_s_own(tmp_path: Path) -> None:
    source = "import assim\n\nclass Own(assim.covariance.AbstractStateCovariance):\n    pass\n"
    (tmp_path / "own.py").write_text(source)
    assert resolve("covariance", "own.py:Own", tmp_path).__name__ == "Own"


@pytest.mark.parametrize("text", ["import sys\nsys.exit(0)", "raise SystemExit(3)"])
def test_a_file_that_ends_the_program(toy: Toy, text: str) -> None:
    toy.model += f"\n{text}\n"
    result = toy.write().run(command="check")
    assert result.exit_code == 2, result.output
    assert "model.use: importing toy.py failed: SystemExit" in result.stderr


def test_a_model_that_ends_the_program(toy: Toy) -> None:
    toy.model = toy.model.replace("leak = 0.1", "raise SystemExit(0)\n        leak = 0.1")
    result = toy.write().run()
    assert result.exit_code == 2, result.output
    assert "ended the program (SystemExit: 0)" in result.stderr


# ---- --no-plugins --------------------------------------------------------------------------------

IMPORTED = "\nfrom pathlib import Path\nPath(__file__).with_name('imported').write_text('')\n"


@pytest.mark.parametrize(
    ("command", "options"),
    [
        *[(command, []) for command in ("run", "check", "calibrate", "forecast", "twin")],
        ("compare", ["other.toml"]),
        ("run", ["--set", "cycle.windows=2"]),
    ],
)
def test_no_plugins_imports_nothing_of_others(
    toy: Toy, command: str, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.model += IMPORTED
    monkeypatch.chdir(toy.write().folder)
    (toy.folder / "other.toml").write_text((toy.folder / "case.toml").read_text())
    result = invoke(command, "case.toml", *options, "--no-plugins")
    assert result.exit_code == 2, result.output
    assert "model.use: 'toy.py:Decay' does not come with assim" in result.stderr
    assert not (toy.folder / "imported").exists()


def test_no_plugins_on_the_command_line(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.model += IMPORTED
    monkeypatch.chdir(toy.write().folder)
    result = invoke("init", "toy.py:Decay", "--no-plugins")
    assert result.exit_code == 2 and "does not come with assim" in result.stderr
    assert not (toy.folder / "imported").exists()
    allowed = invoke("init", "Lorenz63", "--no-plugins")
    assert allowed.exit_code == 0, allowed.output


@pytest.mark.parametrize("use", ["os:remove", "antigravity:x", "assim/../toy.py:Decay", "x.y:z"])
def test_no_plugins_in_any_place(toy: Toy, use: str) -> None:
    toy.write()
    for place in PLACES:
        if not place.startswith("model"):
            toy.case["model"] = {"use": "Lorenz63"}
        placed(toy, place, use)
        toy.write_case()
        result = toy.run("--no-plugins", command="check")
        assert result.exit_code == 2, result.output
        said = "does not come with assim"
        assert f"{use!r} {said}" in result.stderr or f"'toy.py:Decay' {said}" in result.stderr


# ---- types ---------------------------------------------------------------------------------------


class Part:
    pass


def asked(
    whole: int,
    number: float,
    array: jax.Array | float,
    word: Literal["a", "b"],
    several: list[str],
    table: dict[str, float],
    part: Part | None,
    parts: tuple[Part, ...],
    anything: Any,
) -> None:
    pass


def test_values_are_of_the_type_that_is_asked_for() -> None:
    hints = get_type_hints(asked)
    good = {
        "whole": [1, -3],
        "number": [1, 1.5],
        "array": [1, 0.5, [1, 2.0], [[1.0], [2.0]], []],
        "word": ["a"],
        "several": [[], ["x"]],
        "table": [{"x": 1.0}, {"use": "X"}],
        "part": [{"use": "X"}],
        "anything": ["x", 1, [], {}],
    }
    bad = {
        "whole": [1.0, "1", True, [1]],
        "number": ["1", True, [1.0]],
        "array": ["0.9", True, [1.0, "x"], [[True]], {}],
        "word": ["c", 1],
        "several": ["x", [1], {}],
        "table": [1.0, {"x": "1"}, []],
    }
    for name, values in good.items():
        assert all(admits(hints[name], value) for value in values), name
    for name, values in bad.items():
        assert not any(admits(hints[name], value) for value in values), name
    assert classes(hints["part"]) == classes(hints["parts"]) == (Part,)
    assert classes(hints["array"]) == classes(hints["anything"]) == ()
    assert words(hints["array"]) == "a number or a list of numbers"
    assert words(hints["word"]) == "one of 'a', 'b'"
