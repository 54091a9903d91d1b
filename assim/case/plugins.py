"""Plug-ins of a case: `use = "name"` plus constructor arguments, one rule for all of them."""

import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assim.case.failure import Fault, nearest, place

_PACKAGES = {
    "model": "assim.models",
    "integrator": "assim.problem.integrator",
    "prior": "assim.problem.prior",
    "covariance": "assim.problem.covariance",
    "operator": "assim.problem.operator",
    "likelihood": "assim.problem.likelihood",
    "minimiser": "assim",
    "posterior": "assim",
    "scheme": "assim",
}
_WORDS = {"posterior": ("auto", "none"), "covariance": ("none",)}  # that name no class
_NAMES = {
    "integrator": "Adaptive FixedStep",
    "prior": "Normal LogNormal HalfNormal HalfCauchy TruncatedNormal Uniform Jeffreys",
    "covariance": "Diagonal Dense Blocks Diffusion Spectral Kronecker Autoregressive GaspariCohn "
    "Sum LowRank Joint Regression",
    "operator": "PointSample TimeIntegral TimeMean TimeDifference Function",
    "likelihood": "Gaussian LogNormal StudentT Huber VariationalQC Poisson",
    "minimiser": "GaussNewton NewtonCG LBFGS Adam",
    "posterior": "Laplace SVGD NUTS HMC MCLMC Importance Randomise Variational Tempering",
    "scheme": "FourDVar ThreeDVar OptimalInterpolation ETKF LETKF IEnKS",
}
_ABSTRACT = {
    "model": "assim.problem.model:AbstractDynamics",
    "integrator": "assim.problem.model:AbstractIntegrator",
    "prior": "assim.problem.prior:AbstractPrior",
    "covariance": "assim.problem.covariance:AbstractCovariance",
    "operator": "assim.problem.operator:AbstractOperator",
    "likelihood": "assim.problem.likelihood:AbstractLikelihood",
    "minimiser": "assim.solve.minimise.loop:AbstractMinimiser",
    "posterior": "assim.solve.posterior.ensemble:AbstractPosterior",
    "scheme": "assim.analysis.cycle.scheme:AbstractScheme",
}
# Arguments that are themselves plug-ins, or lists of them.
_NESTED = {
    "integrator": "integrator",
    "prior": "prior",
    "covariance": "covariance",
    "parts": "covariance",
    "factors": "covariance",
    "terms": "covariance",
    "operator": "operator",
    "likelihood": "likelihood",
    "localisation": "covariance",
}
_SERIES_KEYS = ("file", "variable", "interpolation")
_SIMPLE = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


class PluginError(ValueError):
    """A plug-in that cannot be made, with the faults that say why."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("; ".join(str(fault) for fault in faults))


def names(kind: str) -> list[str]:
    """The built-in names of a kind of plug-in."""
    if kind != "model":
        return _NAMES[kind].split()
    models = importlib.import_module(_PACKAGES["model"])
    return sorted(name for name, value in vars(models).items() if inspect.isclass(value))


def build(kind: str, table: dict[str, Any], path: str, folder: Path, **extra: Any) -> Any:
    """The object that a table with `use` describes.

    Args:
        kind: "model", "prior", "covariance", "operator", ...
        table: `use` and the constructor's arguments.
        path: dotted path of the table in the case.
        folder: folder of the case file.
        extra: arguments given where the constructor takes them and the table does not.

    Raises:
        PluginError: unknown name, unknown or missing arguments, or what the constructor raised.
    """
    arguments = {key: value for key, value in table.items() if key != "use"}
    found = resolve(kind, table.get("use"), path, folder)
    if kind == "operator" and inspect.isfunction(found):
        arguments, found = (
            {"function": found, **arguments},
            _load("assim.problem.operator:Function"),
        )
    faults: list[Fault] = []
    if kind == "model":
        arguments, faults = _with_series(found, arguments, path)
    known = _arguments(found)
    arguments |= {k: v for k, v in extra.items() if k in known and k not in arguments}
    faults += _argument_faults(found, known, arguments, path)
    for name, value in arguments.items():
        try:
            arguments[name] = _nested(name, value, f"{path}.{name}", folder)
        except PluginError as error:
            faults += error.faults
    if faults:
        raise PluginError(faults)
    return _construct(found, arguments, path)


def is_series(value: Any) -> bool:
    """Whether an argument is a time series in a file, as a `Forcing` is given in a case."""
    return isinstance(value, dict) and "file" in value and "use" not in value


def _with_series(
    found: Any, arguments: dict[str, Any], path: str
) -> tuple[dict[str, Any], list[Fault]]:
    """Arguments whose time series stand as blanks, until the model's time unit is known."""
    forcing, hints = _load("assim.problem.forcing:Forcing"), _hints(found)
    blanks, faults = {}, []
    for name, given in arguments.items():
        here, wanted = f"{path}.{name}", hints.get(name) is forcing
        if is_series(given):
            blanks[name] = forcing.constant(0.0)
            faults += _series_faults(given, here)
            if name in hints and not wanted:
                faults.append(Fault(here, "takes no time series, and so no `file`"))
        elif wanted and not isinstance(given, forcing):
            what = f'must be a time series, {{ file = "...", variable = "..." }}, got {given!r}'
            faults.append(Fault(here, what))
    return {**arguments, **blanks}, faults


def _series_faults(table: dict[str, Any], path: str) -> list[Fault]:
    """What is wrong with the table of a time series."""
    faults = []
    for key, value in table.items():
        if key not in _SERIES_KEYS:
            what = f"no such key; {nearest(key, _SERIES_KEYS)}"
        elif not isinstance(value, str):
            what = f"must be a text, got {value!r}"
        elif key == "interpolation" and value not in ("linear", "steps"):
            what = f'must be "linear" or "steps", got {value!r}'
        else:
            continue
        faults.append(Fault(f"{path}.{key}", what))
    if "variable" not in table:
        faults.append(Fault(f"{path}.variable", "this key is missing"))
    return faults


def _hints(found: Any) -> dict[str, Any]:
    """Types of the arguments; none where annotations cannot be evaluated."""
    try:
        return typing.get_type_hints(found.__init__ if inspect.isclass(found) else found)
    except Exception:  # annotations that cannot be evaluated say nothing
        return {}


def _construct(found: Callable, arguments: dict[str, Any], path: str) -> Any:
    try:
        return found(**arguments)
    except Exception as error:
        owner = getattr(found, "__name__", str(found))
        what = str(error) if isinstance(error, ValueError) else f"{owner} failed: {_said(error)}"
        raise PluginError([Fault(path, what)]) from error


def _nested(name: str, value: Any, path: str, folder: Path) -> Any:
    """An argument with the tables that have `use` replaced by what they describe."""
    if isinstance(value, dict) and "use" in value:
        kind = _NESTED.get(name)
        if kind is None and ":" not in str(value["use"]):
            raise PluginError([Fault(path, 'name a plug-in here in full, use = "module:Class"')])
        return build(kind or "plug-in", value, path, folder)
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [_nested(name, item, f"{path}.{i}", folder) for i, item in enumerate(value)]
    if isinstance(value, dict) and name in _NESTED:
        return {key: _nested(name, item, f"{path}.{key}", folder) for key, item in value.items()}
    return value


def resolve(kind: str, use: Any, path: str, folder: Path) -> Any:
    """The class or function that `use` names.

    Raises:
        PluginError: nothing of this kind is called so.
    """
    here = f"{path}.use"
    if not isinstance(use, str):
        what = "is missing" if use is None else f"must be a text, got {use!r}"
        raise PluginError([Fault(here, what)])
    if ":" in use:
        return _of_kind(kind, _imported(use, here, folder), use, here)
    if kind == "quantity":
        raise PluginError([Fault(here, f'must be "file.py:function", got {use!r}')])
    if use not in names(kind):
        hint = nearest(use, [*names(kind), *_WORDS.get(kind, ())], "those that come with assim are")
        own = f'; one of your own is "file.py:{"function" if kind == "operator" else "Class"}"'
        raise PluginError([Fault(here, f"no {kind} is called {use!r}; {hint}{own}")])
    return getattr(importlib.import_module(_PACKAGES[kind]), use)


def _of_kind(kind: str, found: Any, use: str, path: str) -> Any:
    if kind == "operator" and inspect.isfunction(found):
        return found
    abstract = _load(_ABSTRACT[kind]) if kind in _ABSTRACT else object
    if not callable(found) or (inspect.isclass(found) and not issubclass(found, abstract)):
        raise PluginError(
            [
                Fault(
                    path,
                    f"{use!r} is no {kind}: it must be a subclass of "
                    f"{abstract.__module__}.{abstract.__name__}",
                )
            ]
        )
    return found


def _imported(use: str, path: str, folder: Path) -> Any:
    """The object that 'module:Class' or 'file.py:Class' names."""
    source, _, name = use.rpartition(":")
    if source.endswith(".py"):
        module = _file(folder / source, source, path)
    else:
        module = _module(source, path)
    if not hasattr(module, name):
        public = [key for key in vars(module) if not key.startswith("_")]
        near = nearest(name, public) if len(public) < 40 else "check its spelling"
        raise PluginError([Fault(path, f"{source} has no {name!r}; {near}")])
    return getattr(module, name)


def _module(name: str, path: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and name.startswith(error.name):
            raise PluginError([Fault(path, f"no module is called {name!r}")]) from None
        raise PluginError([Fault(path, f"importing {name} failed: {_said(error)}")]) from error


def _file(file: Path, source: str, path: str) -> Any:
    """A module loaded from a file, once for each state of the file."""
    if not file.is_file():
        raise PluginError([Fault(path, f"there is no file {file}")])
    name = f"assim_plugin_{file.stem}_{abs(hash((file.resolve(), file.stat().st_mtime_ns)))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        where = place(error, str(file)) or str(file)
        raise PluginError(
            [Fault(path, f"importing {source} failed: {_said(error)} ({where})")]
        ) from error
    return module


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _load(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def _arguments(found: Callable) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(found).parameters
    return {name: p for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}


def _argument_faults(
    found: Callable, known: dict[str, inspect.Parameter], given: dict[str, Any], path: str
) -> list[Fault]:
    """Unknown, missing and mistyped arguments."""
    free = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(found).parameters.values())
    owner = getattr(found, "__name__", str(found))
    faults = [
        Fault(f"{path}.{name}", f"{owner} takes no such argument; {nearest(name, known)}")
        for name in given
        if name not in known and not free
    ]
    faults += [
        Fault(path, f"{owner} needs the argument {name!r}")
        for name, p in known.items()
        if name not in given and p.default is p.empty and p.kind is not p.VAR_POSITIONAL
    ]
    return faults + _type_faults(found, given, path)


def _type_faults(found: Callable, given: dict[str, Any], path: str) -> list[Fault]:
    hints = _hints(found)
    return [
        Fault(f"{path}.{name}", f"must be {_SIMPLE[hints[name]]}, got {value!r}")
        for name, value in given.items()
        if hints.get(name) in _SIMPLE and not _is(value, hints[name])
    ]


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
