"""From a case with a table [cycle] to the cycle that it poses."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from assim.analysis.cycle.cycle import Cycle
from assim.analysis.cycle.scheme import AbstractScheme
from assim.case import plugins
from assim.case.background import covariance_of, make_background
from assim.case.case import Case
from assim.case.cycle_table import CycleTable
from assim.case.failure import CaseError, Fault
from assim.case.model_error import make_model_error
from assim.case.observations import blank_bias, instrument_names, operator_of
from assim.case.pose import Trouble, priors_of, problem_of
from assim.case.setting import Setting
from assim.case.slots import make_window, plan_of, whole
from assim.problem.arrays import Array, Labels
from assim.problem.covariance import AbstractStateCovariance
from assim.problem.covariance.state import state_covariance
from assim.problem.model import AbstractDynamics
from assim.problem.observation import ErrorScale, Observations
from assim.problem.operator import Points
from assim.problem.window import Window


@dataclass(frozen=True)
class PosedCycle:
    """A cycle made ready to run.

    Args:
        setting: the case's model, clock and plug-ins.
        cycle: the first window's problem, the scheme and the plan.
        edges: slot edges of all windows.
        inputs: data files by the case's name for them, observations of single windows left out.
    """

    setting: Setting
    cycle: Cycle
    edges: Array
    inputs: Mapping[str, Path]

    @property
    def case(self) -> Case:
        """Where it comes from."""
        return self.setting.case

    @property
    def table(self) -> CycleTable:
        """The table [cycle]."""
        return cycle_table(self.case)

    @property
    def labels(self) -> Labels:
        """The model's."""
        return self.cycle.problem.model.labels()

    @property
    def reference(self) -> str | None:
        """Date of model time zero."""
        return self.cycle.problem.window.reference

    def newest(self, windows: int) -> np.ndarray:
        """Time of the newest observations of the first so many windows."""
        return self.cycle.plan.newest(self.edges, windows)


def pose_cycle(setting: Setting, background: Any = None) -> PosedCycle:
    """Make the cycle of a case.

    Args:
        setting: the case's model, clock and plug-ins.
        background: of every field with its covariance, where a twin experiment has made one.

    Raises:
        CaseError: every error of the case.
        DataError: every file that cannot be used.
    """
    case, model, parts = setting.case, setting.model, setting.parts
    check_tables(case)
    trouble = Trouble()
    scheme = trouble.attempt(make_scheme, case, model, parts)
    error = trouble.attempt(make_model_error, case, model, parts)
    given = background or trouble.attempt(make_background, case, model, parts, setting.start)
    trouble.report()
    first = make_window(case.checked.window, model, setting.clock, ())
    observed = [blank(setting, number, first) for number in range(len(case.checked.observations))]
    problem = problem_of(case, model, first, (*given, observed, priors_of(setting)), error)
    cycle = Cycle(problem, scheme, plan_of(case.checked), case.checked.runtime.seed)
    try:
        cycle.check()
    except ValueError as error:
        raise CaseError([Fault("cycle.method", str(error))]) from error
    inputs = {} if background is not None else {
        name: path for name, path in case.inputs().items() if path.is_file()
    }  # fmt: skip
    return PosedCycle(setting, cycle, whole(case.checked, first).edges, inputs)


def cycle_table(case: Case) -> CycleTable:
    """The table [cycle]."""
    table = case.checked.cycle
    assert table is not None
    return table


def blank(setting: Setting, number: int, window: Window) -> Observations:
    """An instrument with one value that stands for nothing: every window brings its own.

    Raises:
        CaseError: an instrument that does not fit the model, or whose errors are correlated.
    """
    case, parts, labels = setting.case, setting.parts, setting.model.labels()
    table, path = case.checked.observations[number], f"observations.{number}"
    operator = operator_of(setting, number)
    if f"{path}.covariance" in parts:
        what = "the errors of a cycle's observations are independent; give error.stdev instead"
        raise CaseError([Fault(f"{path}.covariance", what)])
    scale = None
    if table.error is not None and table.error.name is not None:
        scale = ErrorScale(table.error.name, parts[f"{path}.error.prior"])
    places = {dim: np.asarray(labels.coordinates[dim].values)[:1] for dim in operator.dims(labels)}
    start, end = np.asarray(window.edges)[[0, -1]]
    points = Points(
        jnp.full(1, end),
        jnp.full(1, start),
        jnp.full(1, end),
        {dim: jnp.asarray(place) for dim, place in places.items()},
        window.reference,
    )
    return Observations(
        instrument_names(case.checked.observations)[number],
        np.ones(1),
        points,
        operator,
        likelihood=parts.get(f"{path}.likelihood"),
        scale=scale,
        units=operator.units(labels) or "1",
        bias=blank_bias(case, parts, number),
        weight=np.zeros(1),
    )


def make_scheme(case: Case, model: AbstractDynamics, parts: dict[str, Any]) -> AbstractScheme:
    """How every window is analysed, with the minimiser of the case.

    Raises:
        CaseError: no such scheme, or arguments that it does not take.
        DataError: a file of the static covariance cannot be used.
    """
    table = cycle_table(case)
    minimiser = case.checked.minimiser
    extra = {
        "minimiser": parts["minimiser"],
        "starts": minimiser.starts,
        "stages": minimiser.stages,
        "static": _static(case, model, parts),
    }
    given = {"use": table.method.use, **(table.method.model_extra or {})}
    try:
        return plugins.build("scheme", given, "cycle.method", case.folder, **extra)
    except plugins.PluginError as error:
        raise CaseError(error.faults) from error


def _static(
    case: Case, model: AbstractDynamics, parts: dict[str, Any]
) -> AbstractStateCovariance | None:
    """The static covariance that the cycle has of its own."""
    table, labels = cycle_table(case), model.labels()
    if table.covariance is None:
        return None
    whole = parts.get("cycle.covariance")
    if isinstance(whole, AbstractStateCovariance):
        return whole
    found = {name: covariance_of(case, model, table, "cycle", parts, name) for name in labels.state}
    return state_covariance({n: c for n, c in found.items() if c is not None}, labels.state)


def check_tables(case: Case) -> None:
    """Refuse tables that a cycle has no use for.

    Raises:
        CaseError: one of them is there.
    """
    table, faults = case.checked, []
    for name in ("forecast_impact", "predictive", "quantities"):
        if case.tree.get(name):
            faults.append(Fault(name, "a cycle does not compute this; run the window alone"))
    if [one.use for one in table.posterior] != ["Laplace"]:
        what = "the posterior of a cycle's windows is Laplace's; drop the table"
        faults.append(Fault("posterior", what))
    if table.minimiser.first_guess is not None:
        faults.append(Fault("minimiser.first_guess", "every window starts from its background"))
    for number, one in enumerate(table.observations):
        if one.held_back:
            what = "a cycle assimilates every instrument; drop this one"
            faults.append(Fault(f"observations.{number}.held_back", what))
        if one.quality is not None and one.quality.threshold is not None:
            what = "a cycle has no background check; use a robust likelihood, as StudentT or Huber"
            faults.append(Fault(f"observations.{number}.quality.threshold", what))
    if faults:
        raise CaseError(faults, str(case.path))
