"""What can be made of a case without its data: the model, its clock and all plug-ins."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import nearest
from assim.case.background import Background
from assim.case.case import Case, CaseTable
from assim.case.clock import Clock, text_of
from assim.case.failure import CaseError, Fault, naming, too_large
from assim.case.model import with_values
from assim.case.names import is_foreign, place
from assim.files.read.far import far_values, far_words, likely_fills
from assim.files.times import date_text
from assim.problem.arrays import Labels
from assim.problem.constraint import MisfitError, strong_constraint, weak_constraint
from assim.problem.departure import Problem
from assim.problem.forcing import ShortSeriesError, forcings, gaps
from assim.problem.model import AbstractDynamics, ModelContractError
from assim.problem.model_error import ModelError
from assim.problem.observation import Observations
from assim.problem.operator import ShapeError
from assim.problem.prior import AbstractPrior
from assim.problem.window import Window

_KEYS = {  # of the case, by the argument of a problem
    "covariance": "background",
    "digital_filter": "problem.digital_filter",
    "model_error": "model_error",
}
_NOTICEABLE = 0.01  # of a step: how far a file's type may move a value and nothing be said


@dataclass(frozen=True)
class Setting:
    """A case with its model and its clock, before any data but those that drive it are read.

    `notes` say how series that drive the model were read where a user may not expect it.
    """

    case: Case
    model: AbstractDynamics
    clock: Clock
    notes: tuple[str, ...] = ()

    @property
    def tables(self) -> CaseTable:
        """The checked tables of the case."""
        return self.case.checked

    @property
    def labels(self) -> Labels:
        """The model's."""
        return self.model.labels()

    @property
    def start(self) -> str | float:
        """Start of the window as files are asked for it."""
        return text_of(self.tables.window.start)

    def date(self, time: Any) -> str:
        """A model time for people."""
        return date_text(float(time), self.labels.time_unit, self.clock.reference)

    def window(self, observed: Sequence[Any] = ()) -> Window:
        """The window of the case, or the first of its cycle; `observed` as rows of instruments."""
        return self.tables.window.build(self.model, self.clock, observed)

    def remarks(self, edges: Any) -> list[str]:
        """What of the series that drive the model, between slot edges, a user may not expect."""
        from assim.files.units import Conversion

        first, last = float(edges[0]), float(edges[-1])
        remarks = list(self.notes)
        for name, forcing in forcings(self.model).items():
            for gap in gaps(forcing, first, last):
                span = f"{self.date(gap.start)} to {self.date(gap.end)}"
                times = f"{(gap.end - gap.start) / gap.step:.3g} times its usual step"
                remarks.append(f"model.{name}: no value from {span}, {times}: interpolated")
            share = forcing.rounding / float(np.median(np.diff(np.asarray(forcing.times))))
            if share > _NOTICEABLE:
                coarse = f"its file's type of time moves values by up to {share:.1%} of a step"
                remarks.append(f"model.{name}: {coarse}; store the times as float64")
            values = np.asarray(forcing.values)
            if (far := far_values(values)).any():
                remarks.append(f"model.{name}: {far_words(values, far)}: used as it is")
            else:
                every = likely_fills(values, Conversion(*forcing.conversion))
                fills = [fill for fill in every if fill.customary]
                remarks += [f"model.{name}: {fill.words()}: used as it is" for fill in fills]
        return remarks

    def background(self) -> Background:
        """Values or priors of all fields, and covariances of the Gaussian ones."""
        return self.tables.background.build(self.model, self.start)

    def model_error(self) -> ModelError | None:
        """The model error; None under strong constraint."""
        table = self.tables.model_error
        return None if table is None else table.build(self.model)

    def problem(
        self,
        window: Window,
        background: Background,
        observations: Sequence[Observations],
        error: ModelError | None,
    ) -> Problem:
        """The problem, traced once, so that plug-ins that break are errors of the case."""
        weak = self.tables.model_error
        given = (*background, observations, self.tables.priors())
        options: Any = self.tables.problem.terms()
        try:
            if error is None or weak is None:
                problem = strong_constraint(self.model, window, *given, **options)
            else:
                options |= {"model_error": error, "formulation": weak.formulation}
                problem = weak_constraint(self.model, window, *given, **options)
        except ShortSeriesError as short:
            what = self._too_short(short, observations)
            raise self.tables.fault(f"model.{short.series}", what) from short
        except ModelContractError as broken:
            raise self.tables.fault("model", str(broken)) from broken
        except MisfitError as misfit:
            raise self.tables.fault(_KEYS[misfit.part], _traced_if_own(misfit)) from misfit
        except Exception as broken:
            if _place(broken):
                raise self.tables.fault("model", _traced(broken)) from broken
            if isinstance(broken, ValueError):
                raise self.tables.fault("", str(broken)) from broken
            raise
        try:
            jax.eval_shape(problem, jnp.zeros(problem.size()))
        except ShapeError as broken:
            raise self.tables.fault("observations", str(broken)) from broken
        except Exception as broken:
            if not _place(broken):
                raise  # our own mistake, not the case's
            raise self.tables.fault("observations", _traced(broken)) from broken
        return problem

    def _too_short(self, short: ShortSeriesError, observations: Sequence[Observations]) -> str:
        """That a series does not span the window, in dates, and whose end the window's is."""
        has, needed = (" to ".join(map(self.date, ends)) for ends in (short.span, short.window))
        table, why, way = self.tables.window, "", "shorten the window, or give a longer series"
        if table.times == "observations" and table.end is None and short.span[1] < short.window[1]:
            names = {o.name for o in observations}
            files = dict.fromkeys(t.file for t in self.tables.observations if t.called in names)
            why = f", whose end is the last time of the observations ({', '.join(files)})"
            way = "see that these times have the right unit, give window.end or a longer series"
        return f"has values from {has} only, but the window runs from {needed}{why}; {way}"


def set_up(case: Case) -> Setting:
    """Make the plug-ins of a case and check its names against the model."""
    from assim.files.units import listening

    with naming(case.path), listening() as converted:
        tables, faults = case.tables, [*case.faults, *case.tables.faults()]
        model = tables.plain_model()
        if model is not None:
            broken = _labels_fault(model)
            faults += [Fault("model", broken)] if broken else _names(tables, model.labels())
        if not faults and model is not None:
            faults += too_large(_numbers(tables, model.labels())) + _prior_faults(tables, model)
            faults += tables.background.shared_faults(model.labels().state)
        if faults or model is None:
            raise CaseError(faults)
        clock = Clock(model.labels().time_unit, tables.window.start)
        driven = with_values(tables.model.driven(clock.reference), tables.parameters)
        notes = tables.model.remarks(model.labels().time_unit)
        notes += tables.background.remarks(model.labels())
        return Setting(case, driven, clock, tuple(dict.fromkeys([*converted, *notes])))


def _numbers(tables: CaseTable, labels: Labels) -> dict[str, float]:
    """How many numbers a window, and a cycle of windows, hold by the keys that ask for them."""
    state = sum(math.prod(labels.shape(name)) for name in labels.state)
    window, cycle = tables.window, tables.cycle
    slots = window.slots or 1
    numbers: dict[str, float] = {"window.slots": (slots + 1) * state}
    numbers["window.steps"] = window.steps * state
    if cycle is not None:
        every = 1 + state * cycle.twin
        numbers["cycle.windows"] = cycle.windows * (cycle.shift or slots) * every
    return numbers


def _prior_faults(tables: CaseTable, model: AbstractDynamics) -> list[Fault]:
    """Priors that give values of another shape than what they are the priors of has."""
    labels, errors = model.labels(), tables.model_error
    observed = [(t.error.prior, ()) for t in tables.observations]
    observed += [(term.prior, ()) for t in tables.observations for term in t.bias]
    amplitude = None if errors is None or errors.amplitude is None else errors.amplitude.prior
    parameters = tables.parameters.items()
    given = [(table.prior, jnp.shape(model.parameters[name])) for name, table in parameters]
    given += [(t.prior, labels.shape(name)) for name, t in tables.background.fields.items()]
    faults = []
    for table, shape in (*given, *observed, (amplitude, ())):
        if table is not None and (values := _values(table.build(), shape)) != shape:
            of = f"values of shape {shape}" if shape else "one number"
            faults.append(Fault(table.at(), f"must be the prior of {of}, got {values}"))
    return faults


def _values(prior: AbstractPrior, shape: tuple[int, ...]) -> tuple[int, ...] | str:
    """Shape of what a prior gives for a variable of this shape, or why it gives nothing."""
    try:
        given: tuple[int, ...] = jax.eval_shape(prior, jnp.zeros(shape)).shape
    except Exception as error:  # it may be the user's own
        return _traced(error)
    return given


def _labels_fault(model: AbstractDynamics) -> str | None:
    try:
        labels = model.labels()
        labels.shapes()
        unlabelled = sorted(set(model.parameters) ^ set(labels.parameters))
    except Exception as error:
        return f"labels(): {_traced(error)}"
    if not unlabelled:
        return None
    return (
        "`parameters` and labels().parameters must name the same parameters; only one of them has "
        f"{', '.join(unlabelled)}"
    )


def _names(tables: CaseTable, labels: Labels) -> list[Fault]:
    """Names of fields and parameters that the model does not have."""
    shown = tables.output.variables
    faults = [
        Fault("output.variables", f"the model has no field {name!r}; {nearest(name, labels.state)}")
        for name in (shown if isinstance(shown, list) else ())
        if isinstance(name, str) and name not in labels.state
    ]
    for path, kind, known in (
        ("parameters", "parameter", labels.parameters),
        ("background.fields", "field", labels.state),
        ("model_error.fields", "field", labels.state),
        ("model_error.bounds", "field", labels.state),
        ("problem.digital_filter.weight", "field", labels.state),
        ("twin.initial", "field", labels.state),
        ("twin.stdev", "field", labels.state),
        ("twin.parameters", "parameter", labels.parameters),
    ):
        faults += [
            Fault(f"{path}.{name}", f"the model has no {kind} {name!r}; {nearest(name, known)}")
            for name in _keys_at(tables, path)
            if name not in known
        ]
    return faults


def _keys_at(tables: CaseTable, path: str) -> list[str]:
    """The keys of a table that holds names; none where the case has it not."""
    here: Any = tables
    for key in path.split("."):
        here = getattr(here, key, None)
    return list(here) if isinstance(here, dict) else []


def _traced(error: Exception) -> str:
    """An error raised while a plug-in was traced, with the plug-in's own file and line."""
    where = _place(error)
    first_line = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {first_line}{f' ({where})' if where else ''}"


def _traced_if_own(misfit: MisfitError) -> str:
    """What does not fit, with the file and line of a plug-in of the user's own that says so."""
    cause = misfit.__cause__
    return _traced(cause) if isinstance(cause, Exception) and _place(cause) else str(misfit)


def _place(error: Exception) -> str:
    """Where it was raised, of files that are neither ours nor a library's."""
    return place(error, is_foreign)
