"""Every plug-in that a case names, made or reported wrong, whatever else is wrong with the case."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from assim.case import plugins
from assim.case.case import Case
from assim.case.failure import Fault

NONE = "none"  # of a posterior or a covariance: there is none
AUTO = "auto"  # of a posterior: what is needed


class Place(NamedTuple):
    """A table with `use`, where it stands and what it must be."""

    kind: str
    path: str
    table: dict[str, Any]
    extra: dict[str, Any]


def make_parts(case: Case) -> tuple[dict[str, Any], list[Fault]]:
    """The objects of all tables with `use`, by their path, and the faults of the others.

    Works on the raw tables, so that plug-ins are checked even where fixed tables have errors.
    """
    parts: dict[str, Any] = {}
    faults: list[Fault] = []
    for place in _places(case.tree):
        if place.table.get("use") == NONE and place.kind in {"posterior", "covariance"}:
            parts[place.path] = None
            continue
        if place.table.get("use") == AUTO and place.kind == "posterior":
            parts[place.path] = AUTO
            continue
        try:
            if place.kind == "quantity":
                use = place.table["use"]
                parts[place.path] = plugins.resolve(place.kind, use, place.path, case.folder)
                continue
            parts[place.path] = plugins.build(
                place.kind, place.table, place.path, case.folder, **place.extra
            )
        except plugins.PluginError as error:
            faults += error.faults
    return parts, faults


def _places(tree: dict[str, Any]) -> Iterator[Place]:
    """The tables with `use` in a case; those without are reported by the fixed tables."""
    yield from _place("model", "model", tree.get("model"))
    background = _table(tree, "background")
    yield from _place("covariance", "background.covariance", background.get("covariance"))
    for name in _table(background, "fields"):
        field, path = _table(background["fields"], name), f"background.fields.{name}"
        yield from _place("prior", f"{path}.prior", field.get("prior"))
        yield from _place("covariance", f"{path}.covariance", field.get("covariance"))
    for name in _table(tree, "parameters"):
        prior = _table(tree["parameters"], name).get("prior")
        yield from _place("prior", f"parameters.{name}.prior", prior)
    yield from _of_model_error(_table(tree, "model_error"))
    yield from _place("covariance", "cycle.covariance", _table(tree, "cycle").get("covariance"))
    yield from _of_observations(tree.get("observations"))
    for name in _table(tree, "quantities"):
        use = _table(tree["quantities"], name).get("use")
        if use is not None:
            yield Place("quantity", f"quantities.{name}", {"use": use}, {})
    minimiser = {"use": "GaussNewton", **_table(tree, "minimiser")}
    for own in ("starts", "first_guess", "stages"):
        minimiser.pop(own, None)
    yield Place("minimiser", "minimiser", minimiser, {})
    yield from _of_posterior(tree.get("posterior", {}))


def _of_posterior(given: Any) -> Iterator[Place]:
    """One table, a name, or a list of both."""
    for number, item in enumerate(given if isinstance(given, list) else [given]):
        path = f"posterior.{number}" if isinstance(given, list) else "posterior"
        table = {"use": item} if isinstance(item, str) else item
        if isinstance(table, dict):
            settings = {key: value for key, value in table.items() if key != "name"}
            yield Place("posterior", path, {"use": "Laplace", **settings}, {})


def _of_model_error(table: dict[str, Any]) -> Iterator[Place]:
    yield from _place("covariance", "model_error.covariance", table.get("covariance"))
    yield from _place("covariance", "model_error.in_time", table.get("in_time"))
    prior = _table(table, "amplitude").get("prior")
    yield from _place("prior", "model_error.amplitude.prior", prior)
    for name in _table(table, "fields"):
        path = f"model_error.fields.{name}.covariance"
        yield from _place("covariance", path, _table(table["fields"], name).get("covariance"))


def _of_observations(tables: Any) -> Iterator[Place]:
    for number, table in enumerate(tables if isinstance(tables, list) else []):
        if not isinstance(table, dict):
            continue
        path, variable = f"observations.{number}", table.get("variable")
        operator = table.get("operator", {"use": "PointSample"})
        yield from _place("operator", f"{path}.operator", operator, variable=variable)
        yield from _place(
            "likelihood", f"{path}.likelihood", table.get("likelihood", {"use": "Gaussian"})
        )
        yield from _place("prior", f"{path}.error.prior", _table(table, "error").get("prior"))
        yield from _place("covariance", f"{path}.covariance", table.get("covariance"))
        terms = table.get("bias")
        for index, term in enumerate(terms if isinstance(terms, list) else []):
            if isinstance(term, dict):
                here = f"{path}.bias.{index}"
                yield from _place("prior", f"{here}.prior", term.get("prior"))
                yield from _place("operator", f"{here}.predictor", term.get("predictor"))


def _place(kind: str, path: str, table: Any, **extra: Any) -> Iterator[Place]:
    if isinstance(table, dict) and "use" in table:
        yield Place(kind, path, table, extra)


def _table(tree: dict[str, Any], key: str) -> dict[str, Any]:
    found = tree.get(key)
    return found if isinstance(found, dict) else {}
