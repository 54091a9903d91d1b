"""Units as strings: the same unit may be spelt in several ways."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from assim.files.errors import DataError
from assim.problem.arrays import Label, Labels
from assim.problem.bounds import Bounds

_FACTOR = re.compile(r"([A-Za-z_%°µΩ]+)(?:\^|\*\*)?([+-]?\d+)?")


def _of_degrees(*names: str) -> str:
    """Spellings such as degree_C, degrees_C, degC and deg_C."""
    begins = ("deg", "deg_", "degree", "degree_", "degrees", "degrees_")
    return " ".join(f"{begin}{name}" for begin in begins for name in names)


_SPELLINGS = {
    "s": "second sec",
    "min": "minute",
    "h": "hour hr",
    "d": "day",
    "year": "yr",
    "m": "metre meter",
    "km": "kilometre kilometer",
    "g": "gram gramme",
    "kg": "kilogram kilogramme",
    "L": "l litre liter",
    "J": "joule",
    "W": "watt",
    "N": "newton",
    "Pa": "pascal Pascal",
    "hPa": "hectopascal mbar millibar",
    "degree": "degrees deg °",
    "degC": "°C celsius Celsius degc " + _of_degrees("C", "c", "Celsius", "celsius"),
    "degF": "°F fahrenheit Fahrenheit " + _of_degrees("F", "Fahrenheit", "fahrenheit"),
    "K": "°K kelvin Kelvin " + _of_degrees("K", "Kelvin", "kelvin"),
    "degrees_east": "degree_east degree_E degrees_E degreeE degreesE",
    "degrees_north": "degree_north degree_N degrees_N degreeN degreesN",
    "%": "percent",
}
_ALIASES = {name: unit for unit, names in _SPELLINGS.items() for name in names.split()}


def same_units(first: str, second: str) -> bool:
    """Whether two strings spell the same unit: "m s-1", "m/s" and "metres per second" do.

    Units that would have to be converted ("km", "m") are different.
    """
    return first.strip() == second.strip() or _factors(first) == _factors(second)


def check_units(where: str, got: object, expected: str) -> None:
    """Raise DataError unless a variable's `units` attribute spells the expected unit.

    A variable without units is dimensionless, as in CF.
    """
    text = "1" if got is None else str(got)
    if same_units(text, expected):
        return
    came, way = f"{text!r}", "convert the values, or correct the attribute `units` of the variable"
    if got is None:
        came, way = "no units attribute", f"add `units` = {expected!r} if the values are in that"
    raise DataError(f"{where}: expected units {expected!r}, got {came}; {way}")


def with_units(labels: Labels, units: Mapping[str, str]) -> Labels:
    """The labels of a model with other units of some of its fields."""
    own = labels.state.items()
    other = {name: replace(label, units=units.get(name, label.units)) for name, label in own}
    return replace(labels, state=other)


def of_model_error(name: str, labels: Labels, acts: str, bounds: Mapping[str, Bounds]) -> Label:
    """Label of the model error η of a field, by how it acts, and of the square root of its Q.

    A jump has the field's unit, between bounds none, a tendency that by the model's time.
    """
    label, time = labels.state[name], labels.time_unit
    if name in bounds:
        return Label(label.dims, "1", f"{bounds[name].words()} of {label.long_name}")
    if acts == "jump" or time == "1":
        return label
    units = f"{time}-1" if label.units == "1" else f"{label.units} {time}-1"
    return Label(label.dims, units, label.long_name)


def squared(units: str) -> str:
    """The square of a unit, as variances have it: "K2" of "K"."""
    factors = _factors(units)
    if isinstance(factors, str):
        return f"({units})2"
    return " ".join(f"{name}{2 * power}" for name, power in factors.items()) or "1"


def _factors(text: str) -> Counter | str:
    """Exponent of each factor; the text itself where it does not read as a product."""
    exponents: Counter = Counter()
    sign = 1
    text = text.replace("μ", "µ")  # the letter and the sign
    for token in re.findall(r"/|[^\s/.·]+", re.sub(r"(?<!\*)\*(?!\*)", " ", text)):
        if token in ("/", "per"):
            sign = -1
            continue
        match = _FACTOR.fullmatch(token)
        if match is None and token != "1":
            return text.strip()
        if match is not None:
            exponents[_canonical(match[1])] += sign * int(match[2] or 1)
        sign = 1
    return Counter({name: power for name, power in exponents.items() if power})


def _canonical(name: str) -> str:
    if name in _ALIASES:
        return _ALIASES[name]
    singular = name.removesuffix("s")
    return _ALIASES.get(singular, singular if singular == "year" else name)
