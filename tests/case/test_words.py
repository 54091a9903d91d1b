"""What a case says of wrong values: in our words, whatever checks them."""

import datetime
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from assim.case import case
from assim.case.plugins import Table
from assim.case.words import in_our_words

TODAY = datetime.date(2000, 1, 1)
WRONG = [
    *([], {}, "x", "", 1.5, -1, 0, True, [1.5], [{}], [["a"]], [1, "a"], [datetime.time(1)]),
    *({"a": []}, {"a": "b"}, {"x": 1}, {"x": {"y": {}}}, {"x": -1.0}, float("nan"), TODAY),
]
NOT_OURS = re.compile(
    r"\b(input|should|valid|validation|items?|dictionary|integer|string|boolean|instance|datetime"
    r"|pattern|greater|less|constrained)\b",
    re.IGNORECASE,
)


def tables(kind: type[Table] = Table) -> Iterator[type[Table]]:
    for more in kind.__subclasses__():
        yield more
        yield from tables(more)


def faults(kind: type[Table], tree: dict[str, Any]) -> dict[str, str]:
    try:
        kind.model_validate(tree)
    except ValidationError as error:
        return in_our_words(error, kind, tree)
    return {}


@pytest.mark.parametrize("kind", [*tables()], ids=lambda kind: kind.__name__)
def test_every_wrong_value_is_told_in_our_words(kind):
    assert issubclass(case.CaseTable, Table)
    for key in kind.model_fields:
        for value in WRONG:
            for path, what in faults(kind, {key: value}).items():
                assert not NOT_OURS.search(what.partition(", got ")[0]), f"{path}: {what}"


@pytest.mark.parametrize(
    ("key", "value", "path", "words"),
    [
        ("observations", [{"accept": []}], "observations.0.accept", "must be of 1 entry or more"),
        ("observations", [{"select": {"number": [1, 2]}}], "observations.0.select.number",
         'must be one label, "mean" or "all", got [1, 2]'),
        ("observations", [{"error": {"stdev": -1.0}}], "observations.0.error.stdev",
         "must be above 0, got -1.0"),
        ("minimiser", {"starts": 0}, "minimiser.starts", "must be at least 1 or 'auto', got 0"),
        ("window", {"times": [["a"]]}, "window.times.0", "must be a date, a number or a text"),
        ("window", {"start": 0, "times": [1, 2], "end": 2}, "window", "last of which is the end"),
        ("window", {"start": 0, "times": [1, 2], "steps": 2}, "window", "either times or steps"),
        ("window", {"slots": TODAY}, "window.slots", "must be a whole number, got 2000-01-01"),
        ("observations", [{"error": {"name": ""}}], "observations.0.error.name",
         "must be a name that a NetCDF file can have: not empty"),
        ("observations", [{"bias": [{"name": "a/b"}]}], "observations.0.bias.0.name", "got 'a/b'"),
        ("observations", [{"name": " x"}], "observations.0.name", "got ' x'"),
        ("model_error", {"amplitude": {"name": " "}}, "model_error.amplitude.name", "got ' '"),
        ("quantities", {"-q": {"use": "q.py:q"}}, "quantities.-q", "got '-q'"),
        ("posterior", [], "posterior", 'must name one method at least'),
        ("posterior", [{"name": "A b"}], "posterior.0.name", "must be of small letters, digits"),
    ],
)  # fmt: skip
def test_words_of_a_wrong_value(key, value, path, words):
    told = faults(case.CaseTable, {key: value})
    assert words in told[path]
    assert not [other for other in told if other.startswith(path) and other != path]
    assert key not in told or key == path
