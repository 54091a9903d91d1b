"""Names of plug-ins: which there are, and what each stands for."""

import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from assim.arguments import hint, nearest

_WORDS = {"posterior": ("auto", "none"), "covariance": ("none",)}  # that name no class
_PLACES = {"model": "assim.models", "integrator": "assim.problem.integrator"}
_DESCRIBED = {  # models that a case describes
    "HostModel": "assim.couple.host_model:host_model",
    "ProcessModel": "assim.couple.process_model:process_model",
}
_RUNS_PROGRAMS = ("ProcessModel",)  # of these
_FUNCTIONS = ("model", "operator", "quantity", "finding")  # kinds that are, or may be, functions
_ALSO = {"covariance": "assim.problem.covariance:AbstractStateCovariance"}
_KINDS = {  # the class of every plug-in of a kind, and the names of those that come with assim
    "model": ("assim.problem.model:AbstractDynamics", ""),
    "integrator": ("assim.problem.model:AbstractIntegrator", "Adaptive FixedStep"),
    "prior": (
        "assim.problem.prior:AbstractPrior",
        "Normal LogNormal HalfNormal HalfCauchy TruncatedNormal Uniform Jeffreys",
    ),
    "covariance": (
        "assim.problem.covariance:AbstractCovariance",
        "Diagonal Dense Blocks Diffusion Spectral Kronecker Autoregressive GaspariCohn Sum LowRank "
        "Joint Regression",
    ),
    "operator": (
        "assim.problem.operator:AbstractOperator",
        "PointSample TimeIntegral TimeMean TimeDifference Function",
    ),
    "likelihood": (
        "assim.problem.likelihood:AbstractLikelihood",
        "Gaussian LogNormal StudentT Huber VariationalQC Poisson",
    ),
    "minimiser": (
        "assim.solve.minimise.loop:AbstractMinimiser",
        "GaussNewton NewtonCG LBFGS Adam FourDEnVar",
    ),
    "posterior": (
        "assim.solve.posterior.ensemble:AbstractPosterior",
        "Laplace SVGD Nested NUTS HMC MCLMC LAPS Importance Randomise Variational Tempering ESMDA",
    ),
    "scheme": (
        "assim.analysis.cycle.scheme:AbstractScheme",
        "FourDVar ThreeDVar OptimalInterpolation ETKF LETKF IEnKS",
    ),
}


class UnknownNameError(LookupError):
    """A name that stands for no plug-in of its kind."""


def kinds() -> tuple[str, ...]:
    """The kinds of plug-ins that have built-in names."""
    return tuple(_KINDS)


def names(kind: str) -> list[str]:
    """The built-in names of a kind of plug-in."""
    if kind != "model":
        return _KINDS[kind][1].split()
    models = importlib.import_module(_PLACES[kind])
    return sorted(name for name, value in vars(models).items() if inspect.isclass(value))


def words(kind: str) -> tuple[str, ...]:
    """What else a table of this kind may say: words that name no class."""
    return _WORDS.get(kind, ())


def load(reference: str) -> Any:
    """The object that "module:name" stands for."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


_of_others: ContextVar[bool] = ContextVar("_of_others", default=True)


@contextmanager
def built_in_only() -> Iterator[None]:
    """Import no plug-in that does not come with assim."""
    token = _of_others.set(False)
    try:
        yield
    finally:
        _of_others.reset(token)


def is_built_in_only() -> bool:
    """Whether plug-ins that do not come with assim are refused here."""
    return not _of_others.get()


def resolve(kind: str, use: Any, folder: Path, expected: tuple[type, ...] = ()) -> Any:
    """The class or function that `use` names: a built-in, "module:Class" or "file.py:Class".

    A class is one of the kind, or of those expected where the kind has no name; a function is one
    that the module itself defines. Nothing is called.

    Raises:
        UnknownNameError: nothing of this kind is called so, or it does not come with assim where
            that is asked for.
    """
    if not isinstance(use, str):
        raise UnknownNameError("is missing" if use is None else f"must be a text, got {use!r}")
    if ":" in use:
        return _of_kind(kind, *_imported(use, folder), use, expected)
    if kind in ("quantity", "finding"):
        raise UnknownNameError(f'must be "file.py:function", got {use!r}')
    if kind == "model" and use in _DESCRIBED:
        if use in _RUNS_PROGRAMS and not _of_others.get():
            raise UnknownNameError(f"{use!r} runs a program, and --no-plugins refuses it")
        return load(_DESCRIBED[use])
    if use not in names(kind):
        known = [*names(kind), *words(kind)]
        near = hint(use, known, "those that come with assim are")
        own = f'; one of your own is "file.py:{"function" if kind == "operator" else "Class"}"'
        raise UnknownNameError(f"no {kind} is called {use!r}; {near}{own}")
    return getattr(importlib.import_module(_PLACES.get(kind, f"assim.names.{kind}")), use)


def _of_kind(kind: str, module: Any, owner: Any, use: str, expected: tuple[type, ...]) -> Any:
    """What has been imported, if it is what its place asks for."""
    if kind in _FUNCTIONS and _is_function(module, owner):
        return owner
    if kind in _KINDS:
        asked = (load(_KINDS[kind][0]), *([load(_ALSO[kind])] if kind in _ALSO else []))
    else:
        asked = () if kind in _FUNCTIONS else expected or (load("equinox:Module"),)
    if inspect.isclass(owner) and issubclass(owner, asked):
        return owner
    must_be = [f"a subclass of {base.__module__}.{base.__name__}" for base in asked]
    if kind in _FUNCTIONS:
        must_be.append(f"a function that is defined in {use.rpartition(':')[0]}")
    raise UnknownNameError(f"{use!r} is no {kind}: it must be {' or '.join(must_be)}")


def _is_function(module: Any, owner: Any) -> bool:
    """Whether it is a function in Python, decorated or not, that the module defines."""
    function = inspect.unwrap(owner) if callable(owner) else owner
    return inspect.isfunction(function) and function.__module__ == module.__name__


def _imported(use: str, folder: Path) -> tuple[Any, Any]:
    """The module, and the object in it, that 'module:Class' or 'file.py:Class' names."""
    source, _, name = use.rpartition(":")
    file = source.endswith(".py")
    if not _of_others.get() and (file or source.partition(".")[0] != "assim"):
        raise UnknownNameError(f"{use!r} does not come with assim, and --no-plugins refuses it")
    module = _file(folder / source, source) if file else _module(source)
    if not hasattr(module, name):
        public = [key for key in vars(module) if not key.startswith("_")]
        near = nearest(name, public) if len(public) < 40 else "check its spelling"
        raise UnknownNameError(f"{source} has no {name!r}; {near}")
    return module, getattr(module, name)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and name.startswith(error.name):
            raise UnknownNameError(f"no module is called {name!r}") from None
        raise UnknownNameError(f"importing {name} failed: {said(error)}") from error


def _file(file: Path, source: str) -> Any:
    """A module loaded from a file, once for each state of the file."""
    if not file.is_file():
        raise UnknownNameError(f"there is no file {file}")
    name = f"assim_plugin_{file.stem}_{abs(hash((file.resolve(), file.stat().st_mtime_ns)))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        where = place(error, lambda name: name.startswith(str(file))) or str(file)
        raise UnknownNameError(f"importing {source} failed: {said(error)} ({where})") from error
    return module


def said(error: BaseException) -> str:
    """An error as Python names it, and what it says."""
    return f"{type(error).__name__}: {error}"


def place(error: BaseException, is_own: Callable[[str], bool]) -> str:
    """'file.py, line 3' of the innermost frame of `error` in such a file; '' where none is."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if is_own(f.filename)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def foreign_modules() -> list[Path]:
    """Files of all loaded modules that come neither with Python and its packages nor with assim."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    foreign = {file for file in files if isinstance(file, str) and is_foreign(file)}
    return sorted({Path(os.path.realpath(file)) for file in foreign})


@cache
def is_foreign(file: str) -> bool:
    """Whether code comes neither with Python and its packages nor with assim, and is in a file."""
    places = (file, os.path.realpath(file))
    return not file.startswith("<") and not any(place.startswith(_known()) for place in places)


@cache
def _known() -> tuple[str, ...]:
    """The folders of Python, of its packages and of assim, whichever links lead there."""
    places = {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix}
    named = {*places, str(Path(__file__).parents[1])}
    return tuple(f"{place}{os.sep}" for place in {*named, *map(os.path.realpath, named)})
