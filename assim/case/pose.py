"""From a case to the problem that it poses and the methods that answer it."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import assim
from assim.analysis.analyse import Analysis, analyse
from assim.case.background import constant, make_background
from assim.case.case import Case
from assim.case.failure import CaseError, Fault, nearest
from assim.case.forcings import with_inputs
from assim.case.model_error import make_model_error
from assim.case.observations import (
    background_checked,
    make_instrument,
    problem_faults,
    slot_faults,
    table_faults,
)
from assim.case.parts import make_parts
from assim.case.setting import Setting
from assim.case.slots import Clock, make_window
from assim.case.wanted import (
    ForecastMeasure,
    first_guess,
    impact_of,
    methods_of,
    posterior_faults,
    quantities_of,
)
from assim.files.errors import DataError
from assim.files.netcdf import hash_file
from assim.files.read.observations import Instrument
from assim.files.read.states import read_state
from assim.files.read.tables import open_observations
from assim.files.sources import Source
from assim.problem.arrays import Array, State
from assim.problem.constraint import strong_constraint, weak_constraint
from assim.problem.departure import Problem
from assim.problem.model import AbstractDynamics, ModelContractError
from assim.problem.model_error import ModelError
from assim.problem.prior import AbstractPrior
from assim.problem.scalars import Derived
from assim.problem.window import Window


@dataclass(frozen=True)
class Posed:
    """A case made ready to run.

    Args:
        case: where it comes from.
        problem: the question.
        minimiser: how J is minimised.
        posterior: ways to quantify uncertainty by name, "auto", or None.
        instruments: every instrument with the rows of its file and their fate.
        inputs: sha256 of the data files, by the case's name for them.
        truth: the true state at the window's start, where a twin experiment left one.
        first_guess: χ from which the minimisation starts, where the case gives a file for it.
        quantities: derived quantities to report.
        impact: the forecast on which the impact of observations is asked.
        held_back: instruments that are not assimilated.
    """

    case: Case
    problem: Problem
    minimiser: Any
    posterior: Any
    instruments: tuple[Instrument, ...]
    inputs: dict[str, str]
    truth: State | None = None
    first_guess: Array | None = None
    quantities: Mapping[str, Derived] = field(default_factory=dict)
    impact: ForecastMeasure | None = None
    held_back: tuple[Instrument, ...] = ()

    def rejected(self) -> dict[str, dict[str, int]]:
        """Rows of every instrument by fate: "used" or "held_back", and why the others are not."""
        return {
            i.observations.name: {"used": int(i.used.sum()), **i.rejected()}
            for i in self.instruments
        } | {
            i.observations.name: {"held_back": int(i.used.sum()), **i.rejected()}
            for i in self.held_back
        }


def analysed(posed: Posed, **given: Any) -> Analysis:
    """The analysis that a case asks for.

    Args:
        posed: the case, made ready to run.
        given: further arguments of `analyse`.
    """
    table = posed.case.checked
    return analyse(
        posed.problem,
        posed.minimiser,
        posed.posterior,
        starts=table.minimiser.starts,
        stages=table.minimiser.stages,
        seed=table.runtime.seed,
        first_guess=posed.first_guess,
        **given,
    )


def set_up(case: Case) -> Setting:
    """Make the plug-ins of a case and check its names against the model.

    Raises:
        CaseError: every error of the case that can be seen without its data.
        DataError: a time series of the model that cannot be used.
    """
    parts, faults = make_parts(case)
    faults = [*case.faults, *faults, *posterior_faults(case, parts), *table_faults(case)]
    model, clock = parts.get("model"), None
    if model is not None:
        faults += _check_labels(model)
    labelled = not any(fault.path == "model" for fault in faults)
    if model is not None and labelled:
        faults += _names(case, model)
    if model is not None and case.table is not None and not faults:
        try:
            clock = Clock(model.labels().time_unit, case.table.window.start)
            model = _with_values(with_inputs(model, case, clock), case)
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
    return pose_setting(set_up(case))


def pose_setting(
    setting: Setting, sources: Mapping[str, Source] | None = None, background: Any = None
) -> Posed:
    """Make the problem of a case that is set up.

    Args:
        setting: its model, clock and plug-ins.
        sources: observations by the names of files in the case, where they are elsewhere.
        background: of every field with its covariance, where the case's is not meant.

    Raises:
        CaseError: every error of the case.
        DataError: every file that cannot be used.
    """
    case = setting.case
    try:
        return _pose(setting, sources or {}, background)
    except CaseError as error:
        raise CaseError(error.faults, str(case.path)) from error.__cause__


def _pose(setting: Setting, sources: Mapping[str, Source], given: Any) -> Posed:
    case, model, parts = setting.case, setting.model, setting.parts
    trouble = Trouble()
    background = given or trouble.attempt(make_background, case, model, parts, setting.start)
    error = trouble.attempt(make_model_error, case, model, parts)
    truth = trouble.attempt(_truth, setting)
    labels = model.labels()
    files = [(table.file, table.variable) for table in case.checked.observations]
    opened = [(sources.get(file, case.input_path(file)), variable) for file, variable in files]
    tables = [trouble.attempt(open_observations, *one, labels) for one in opened]
    trouble.report()
    window = make_window(case.checked.window, model, setting.clock, tables)
    trouble.faults += slot_faults(case, model, setting.clock, tables)
    made = [
        trouble.attempt(make_instrument, case, model, parts, number, rows, window)
        for number, rows in enumerate(tables)
    ]
    trouble.report()
    apart = {n: one for n, one in enumerate(made) if case.checked.observations[n].held_back}
    instruments = [one for n, one in enumerate(made) if n not in apart]
    priors = priors_of(setting)

    def posed(instruments: Sequence[Instrument]) -> Problem:
        observed = [i.observations for i in instruments]
        return problem_of(case, model, window, (*background, observed, priors), error)

    problem = posed(instruments)
    checked = background_checked(problem, instruments)
    problem = problem if checked is instruments else posed(checked)
    trouble.faults += problem_faults(problem, apart)
    trouble.report()
    guess = first_guess(case, problem, setting.start)
    quantities = quantities_of(case, problem, parts)
    impact = impact_of(case, problem, setting.clock)
    inputs = {n: hash_file(path) for n, path in case.inputs().items() if n not in sources}
    methods = (parts["minimiser"], methods_of(case, parts))
    used, kept = tuple(checked), tuple(apart.values())
    return Posed(case, problem, *methods, used, inputs, truth, guess, quantities, impact, kept)


def priors_of(setting: Setting) -> dict[str, AbstractPrior]:
    """Priors of the parameters that are estimated."""
    return {
        name: setting.parts[f"parameters.{name}.prior"]
        for name, table in setting.case.checked.parameters.items()
        if table.prior is not None
    }


def _truth(setting: Setting) -> State | None:
    """The true state at the window's start, where a twin experiment left one."""
    path = setting.case.truth_path()
    return None if path is None else read_state(path, setting.model, time=setting.start)


class Trouble:
    """Errors of several files, raised together."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.data: list[str] = []

    def attempt(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """What the work returns; None, and its errors are kept, where it fails."""
        try:
            return work(*arguments)
        except CaseError as error:
            self.faults += error.faults
        except DataError as error:
            self.data.append(str(error))
        return None

    def report(self) -> None:
        """Raise what was kept: errors of the case first."""
        if self.faults:
            raise CaseError(self.faults)
        if self.data:
            raise DataError("\n".join(dict.fromkeys(self.data)))


def problem_of(
    case: Case,
    model: AbstractDynamics,
    window: Window,
    given: tuple[Any, ...],
    error: ModelError | None,
) -> Problem:
    """The problem, traced once so that plug-ins that break are reported as the case's errors."""
    weak = case.checked.model_error
    try:
        if error is None or weak is None:
            problem = strong_constraint(model, window, *given)
        else:
            problem = weak_constraint(
                model, window, *given, model_error=error, formulation=weak.formulation
            )
    except ModelContractError as broken:
        raise CaseError([Fault("model", str(broken))]) from broken
    except Exception as broken:
        if _plugin_frames(broken):
            raise CaseError([Fault("model", _traced(broken))]) from broken
        if isinstance(broken, ValueError):
            raise CaseError([Fault("", str(broken))]) from broken
        raise
    try:
        jax.eval_shape(problem, jnp.zeros(problem.size()))
    except Exception as broken:
        if not _plugin_frames(broken):
            raise  # our own mistake, not the case's
        raise CaseError([Fault("observations", _traced(broken))]) from broken
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
        ("model_error.fields", "field", labels.state),
        ("twin.initial", "field", labels.state),
        ("twin.stdev", "field", labels.state),
        ("twin.parameters", "parameter", labels.parameters),
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
