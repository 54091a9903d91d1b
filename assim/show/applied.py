"""What a run applied, in words, from the `applied` of its summary."""

from collections.abc import Iterator, Mapping
from typing import Any

from assim.show.finished import Run
from assim.show.page import Section, paragraph

NOTHING = " (it changed nothing)"


def lines(content: Mapping[str, Any]) -> list[str]:
    """A sentence for the constraint or the scheme, and one for each instrument."""
    if "scheme" in content:
        return [_scheme(content)]
    instruments = content["observations"].items()
    return [_constraint(content["constraint"]), *(_instrument(*pair) for pair in instruments)]


def _constraint(about: Mapping[str, Any]) -> str:
    size = f"{about['controls']:,} controls, {about['slots']:,} slots"
    if about["form"] == "strong":
        return f"Strong constraint: {size}."
    largest = about.get("largest")
    far = "" if largest is None else f"; the largest is {largest:.3g} of its standard deviations"
    kind = {"jump": "jumps", "tendency": "tendencies"}[about["acts"]]
    bounded = about.get("bounded")
    within = f", {', '.join(bounded)} within bounds" if bounded else ""
    return (
        f"Weak constraint: {size}, {about['errors']:,} {kind} of model error{within}, controlled "
        f"by {about['control']}{far}."
    )


def _instrument(name: str, about: Mapping[str, Any]) -> str:
    fate = "used" if about["assimilated"] else "held back"
    return (
        f"{name}: {about['used']:,} of {about['rows']:,} rows {fate}, {', '.join(_parts(about))}."
    )


def _parts(about: Mapping[str, Any]) -> Iterator[str]:
    kind = "independent" if about["independent"] else "correlated"
    scale = f" scaled by {about['scale']}" if "scale" in about else ""
    yield f"{about['likelihood']} errors, {kind}{scale}"
    for check, number in about["checks"].items():
        yield f"{check}: {number:,} rows{NOTHING * (number == 0)}"
    if "weights" in about:
        weights = about["weights"]
        same = weights["least"] == weights["most"] == 1
        yield (
            f"weights {weights['least']:.3g} to {weights['most']:.3g}, {weights['sum']:.4g} in all"
            f"{NOTHING * same}"
        )
    if "bias" in about:
        bias = about["bias"]
        units = "" if bias["units"] == "1" else f" {bias['units']}"
        yield (
            f"bias correction by {' and '.join(bias['coefficients'])}: mean {bias['mean']:.3g}, "
            f"at most {bias['largest']:.3g}{units}{NOTHING * (bias['largest'] == 0)}"
        )


def _scheme(about: Mapping[str, Any]) -> str:
    settings = "; ".join(f"{name} {_value(value)}" for name, value in about["settings"].items())
    size = f"{about['controls']:,} controls, {about['observations']:,.6g} observations"
    text = f"{about['scheme']} in {about['windows']:,} windows: {size}; {settings or 'no settings'}"
    if "failed_members" in about:
        failed = {key: f"{value:,.0f}" for key, value in about["failed_members"].items()}
        text += (
            f"; {failed['sum']} members were not finite and are left out, in "
            f"{failed['windows']} windows, at most {failed['most']} in one"
        )
    if "inflation" not in about:
        return text + "."
    factor = about["inflation"]
    still = NOTHING * (factor["least"] == factor["most"] == 1)
    return (
        f"{text}; inflation by {factor['mean']:.4g} on average, {factor['least']:.4g} to "
        f"{factor['most']:.4g}{still}."
    )


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def words(run: Run) -> list[str]:
    """The same as paragraphs; none of a summary that does not have it."""
    content = run.summary.get("applied")
    return [] if content is None else [paragraph(line) for line in lines(content)]


APPLIED = Section("What was applied", words)
