"""From a case to the problem that it poses and the methods that answer it."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import assim
from assim.files.errors import DataError
from assim.files.observations import Instrument, to_observations
from assim.files.schema import hash_file
from assim.files.states import read_state
from assim.files.tables import ObservationTable as Rows
from assim.files.tables import open_observations
from assim.problem.arrays import State
from assim.problem.constraint import strong_constraint
from assim.problem.departure import Problem
from assim.problem.model import AbstractDynamics, ModelContractError
from assim.problem.observation import ErrorScale
from assim.problem.window import Window
from assim.run.case import Case
from assim.run.failure import CaseError, Fault, nearest
from assim.run.parts import make_parts
from assim.run.prior import constant, make_background
from assim.run.slots import Clock, make_window


@dataclass(frozen=True)
class Posed:
    """A case made ready to run.

    Args:
        case: where it comes from.
        problem: the question.
        minimiser: how J is minimised.
        posterior: settings of the posterior, or None.
        instruments: every instrument with the rows of its file and their fate.
        inputs: sha256 of the data files, by the case's name for them.
        truth: the true state at the window's start, where a twin experiment left one.
    """

    case: Case
    problem: Problem
    minimiser: Any
    posterior: Any
    instruments: tuple[Instrument, ...]
    inputs: dict[str, str]
    truth: State | None = None

    def rejected(self) -> dict[str, dict[str, int]]:
        """Rows of every instrument by fate: "used", and the reasons of those that are not."""
        window, labels = self.problem.window, self.problem.model.labels()
        return {
            i.observations.name: {"used": int(i.used.sum()), **i.rejected(window, labels)}
            for i in self.instruments
        }


@dataclass(frozen=True)
class Setting:
    """What can be made of a case without its data: the model, its clock and all plug-ins."""

    case: Case
    model: AbstractDynamics
    clock: Clock
    parts: dict[str, Any]

    @property
    def start(self) -> str | float:
        """Start of the window as files are asked for it."""
        start = self.clock.text(self.case.checked.window.start)
        assert start is not None
        return start


def set_up(case: Case) -> Setting:
    """Make the plug-ins of a case and check its names against the model.

    Raises:
        CaseError: every error of the case that can be seen without its data.
    """
    parts, faults = make_parts(case)
    faults = [*case.faults, *faults]
    model, clock = parts.get("model"), None
    if model is not None:
        faults += _check_labels(model)
    labelled = not any(fault.path == "model" for fault in faults)
    if model is not None and labelled:
        faults += _names(case, model)
    if model is not None and case.table is not None and not faults:
        try:
            model = _with_values(model, case)
            clock = Clock(model.labels().time_unit, case.table.window.start)
        except CaseError as error:
            faults += error.faults
    if faults or clock is None or model is None:
        raise CaseError(faults, str(case.path))
    return Setting(case, model, clock, parts)


def pose(case: Case) -> Posed:
    """Make the problem of a case.

    Raises:
        CaseError: every error of the case.
        DataError: every file that cannot be used.
    """
    setting = set_up(case)
    try:
        return _pose(setting)
    except CaseError as error:
        raise CaseError(error.faults, str(case.path)) from error.__cause__


def _pose(setting: Setting) -> Posed:
    case, model, parts = setting.case, setting.model, setting.parts
    trouble = _Trouble()
    background = trouble.attempt(make_background, case, model, parts, setting.start)
    truth = trouble.attempt(_truth, setting)
    labels = model.labels()
    tables = [
        trouble.attempt(open_observations, case.input_path(table.file), table.variable, labels)
        for table in case.checked.observations
    ]
    trouble.report()
    window = make_window(case.checked.window, model, setting.clock, tables)
    instruments = [
        trouble.attempt(_instrument, setting, number, rows, window)
        for number, rows in enumerate(tables)
    ]
    trouble.report()
    priors = {
        name: parts[f"parameters.{name}.prior"]
        for name, table in case.checked.parameters.items()
        if table.prior is not None
    }
    fields, covariances = background
    observed = [i.observations for i in instruments]
    problem = _problem(model, window, fields, covariances, observed, priors)
    inputs = {name: hash_file(path) for name, path in case.inputs().items()}
    minimiser, posterior = parts["minimiser"], parts["posterior"]
    return Posed(case, problem, minimiser, posterior, tuple(instruments), inputs, truth)


def _truth(setting: Setting) -> State | None:
    """The true state at the window's start, where a twin experiment left one."""
    path = setting.case.truth_path()
    return None if path is None else read_state(path, setting.model, time=setting.start)


class _Trouble:
    """Errors of several files, raised together."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.data: list[str] = []

    def attempt(self, work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return work(*arguments)
        except CaseError as error:
            self.faults += error.faults
        except DataError as error:
            self.data.append(str(error))
        return None

    def report(self) -> None:
        if self.faults:
            raise CaseError(self.faults)
        if self.data:
            raise DataError("\n".join(dict.fromkeys(self.data)))


def _instrument(setting: Setting, number: int, rows: Rows, window: Window) -> Instrument:
    table, path = setting.case.checked.observations[number], f"observations.{number}"
    error = table.error
    scale = None
    if error is not None and error.name is not None:
        scale = ErrorScale(error.name, setting.parts[f"{path}.error.prior"])
    given = "operator" in setting.case.tree["observations"][number]
    observations, flags = to_observations(
        rows,
        setting.model,
        window,
        setting.parts[f"{path}.operator"] if given else None,
        None if error is None else error.stdev,
        setting.parts.get(f"{path}.likelihood"),
        scale,
        table.name,
    )
    return Instrument(rows, observations, flags)


def _problem(model: AbstractDynamics, window: Window, *given: Any) -> Problem:
    """The problem, traced once so that plug-ins that break are reported as the case's errors."""
    try:
        problem = strong_constraint(model, window, *given)
    except ModelContractError as error:
        raise CaseError([Fault("model", str(error))]) from error
    except Exception as error:
        if _plugin_frames(error):
            raise CaseError([Fault("model", _traced(error))]) from error
        if isinstance(error, ValueError):
            raise CaseError([Fault("", str(error))]) from error
        raise
    try:
        jax.eval_shape(problem, jnp.zeros(problem.size()))
    except Exception as error:
        if not _plugin_frames(error):
            raise  # our own mistake, not the case's
        raise CaseError([Fault("observations", _traced(error))]) from error
    return problem


def _traced(error: Exception) -> str:
    """An error raised while a plug-in was traced, with the plug-in's own file and line."""
    frames = _plugin_frames(error)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}{where}"


def _plugin_frames(error: Exception) -> list[traceback.FrameSummary]:
    """The frames that are neither ours nor a library's."""
    home = str(Path(assim.__file__).parent)
    return [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(home) and "site-packages" not in frame.filename
    ]


def _check_labels(model: AbstractDynamics) -> list[Fault]:
    try:
        labels = model.labels()
        labels.shapes()
        unlabelled = sorted(set(model.parameters) ^ set(labels.parameters))
    except Exception as error:
        return [Fault("model", f"labels(): {_traced(error)}")]
    if unlabelled:
        return [
            Fault(
                "model",
                "`parameters` and labels().parameters must name the same "
                f"parameters; only one of them has {', '.join(unlabelled)}",
            )
        ]
    return []


def _names(case: Case, model: AbstractDynamics) -> list[Fault]:
    """Names of fields and parameters that the model does not have."""
    labels = model.labels()
    asked = [
        ("parameters", "parameter", labels.parameters),
        ("background.fields", "field", labels.state),
        ("twin.initial", "field", labels.state),
        ("twin.stdev", "field", labels.state),
    ]
    output = case.tree.get("output")
    shown = output.get("variables") if isinstance(output, dict) else None
    return [
        Fault("output.variables", f"the model has no field {name!r}; {nearest(name, labels.state)}")
        for name in (shown if isinstance(shown, list) else ())
        if isinstance(name, str) and name not in labels.state
    ] + [
        Fault(f"{path}.{name}", f"the model has no {kind} {name!r}; {nearest(name, known)}")
        for path, kind, known in asked
        for name in _keys_at(case.tree, path)
        if name not in known
    ]


def _keys_at(tree: Any, path: str) -> list[str]:
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return list(tree) if isinstance(tree, dict) else []


def _with_values(model: AbstractDynamics, case: Case) -> AbstractDynamics:
    """The model with the parameter values that the case fixes."""
    values = {
        name: constant(t.value, jnp.shape(model.parameters[name]), f"parameters.{name}.value")
        for name, t in case.checked.parameters.items()
        if t.value is not None
    }
    if not values:
        return model
    return eqx.tree_at(lambda m: m.parameters, model, {**model.parameters, **values})
