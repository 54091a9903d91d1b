"""What every way to analyse the windows of a cycle has in common."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.analysed import Reading, reading
from assim.analysis.cycle.inflation import Inflation
from assim.analysis.cycle.plan import Move, Plan
from assim.analysis.forecast import StartMembers
from assim.problem.arrays import State
from assim.problem.assumed import is_gaussian
from assim.problem.control import Physical, White
from assim.problem.covariance import AbstractStateCovariance
from assim.problem.cycled import OTHERS
from assim.problem.departure import Problem
from assim.solve.minimise.status import Status

Array = jax.Array


class Outcome(NamedTuple):
    """The analysis of one window.

    Args:
        background: every field at every slot edge, from the background.
        analysis: the same of the analysis.
        background_stdev: standard deviations of the first.
        analysis_stdev: and of the second.
        scalars: estimated parameters, error scales and bias coefficients in physical units.
        scalars_stdev: their standard deviations.
        readings: of every instrument, in the order of the problem.
        cost: J at the analysis.
        cost_background: its part from the background.
        normalised: |d|² of the departures at the background.
        signal: degrees of freedom for signal.
        number: of observations, as their weights count them.
        gaussian: whether 2J/m is expected to be 1: Gaussian errors of known scale,
            each of weight 0 or 1.
        inflation: factor on the standard deviations of the carried covariance.
        gradient_norm: |∇J| at the last linearisation.
        status: a `Status` as a number.
        failed_members: members that are left out, as they are not finite.
    """

    background: State
    analysis: State
    background_stdev: State
    analysis_stdev: State
    scalars: dict[str, Array]
    scalars_stdev: dict[str, Array]
    readings: tuple[Reading, ...]
    cost: Array
    cost_background: Array
    normalised: Array
    signal: Array
    number: Array
    gaussian: Array
    inflation: Array
    gradient_norm: Array
    status: Array
    failed_members: Array


class AbstractScheme(eqx.Module):
    """A way to analyse one window after the other; `step` is one traceable program.

    What it hands on is a tree of arrays whose shapes never change, so that one compilation serves
    a cycle, as a loop over files and inside `lax.scan` alike.
    """

    @abc.abstractmethod
    def check(self, problem: Problem, plan: Plan) -> None:
        """Refuse a problem, or windows that lie so, which this scheme does not take.

        Raises:
            ValueError: with the way out.
        """

    @abc.abstractmethod
    def start(self, problem: Problem, plan: Plan, key: Array) -> Any:
        """What the first window is given.

        Args:
            problem: of the first window, as it was posed.
            plan: how windows lie.
            key: of random draws.
        """

    @abc.abstractmethod
    def step(self, problem: Problem, carry: Any, move: Move, key: Array) -> tuple[Any, Outcome]:
        """Analyse one window.

        Args:
            problem: of the window, in carried coordinates (`in_carried_coordinates`).
            carry: what the window before handed on.
            move: where the window stands.
            key: of random draws.

        Returns:
            what is handed on, and the analysis.
        """

    def draws(
        self, problem: Problem, carry: Any, number: int, key: Array, newest: int
    ) -> StartMembers | None:
        """Members of what a window handed on, from which a forecast starts.

        Args:
            problem: of the window that would come next, as it was posed.
            carry: what the last one handed on.
            number: of draws; a scheme that hands on members gives these, whatever their number.
            key: of random draws.
            newest: number of the slot edge of the newest observations so far, where the draws are
                wanted; 0 where windows are separate.

        Returns:
            the members; None where nothing can be drawn from what this scheme hands on.
        """
        del problem, carry, number, key, newest
        return None

    def remarks(self, problem: Problem, plan: Plan) -> dict[str, str]:
        """What `assim check` says of a problem that is taken, by name.

        By default, which fields may not leave the bounds of their prior.

        Args:
            problem: of the first window, as it was posed.
            plan: how windows lie.
        """
        del plan
        return bounded_fields(problem)


class Seen(NamedTuple):
    """What one χ means, or the path of one member: all that is asked of a window.

    Args:
        states: every field at every slot edge.
        predictions: of every instrument.
        scalars: estimated parameters, scales and biases in physical units.
        z: where the next window starts, in one row; of a member at every slot edge; or None.
        departures: of a member, normalised, of all instruments.
    """

    states: State
    predictions: tuple[Array, ...]
    scalars: dict[str, Array]
    z: Any = None
    departures: Any = None


def in_physical_units(control: Physical, z: White) -> dict[str, Array]:
    """The scalars that are estimated, of those of a control."""
    kinds = {"biases": control.biases, "parameters": control.parameters, "scales": control.scales}
    return {name: kinds[kind][name] for kind in OTHERS for name in z[kind]}


class CycledMoments(NamedTuple):
    """Mean and standard deviations of what is seen, before and after the observations.

    Args:
        background: at χ = 0, or the mean of members.
        analysis: at the minimum, or the mean of members or draws.
        background_stdev: with z standing for nothing.
        analysis_stdev: likewise.
        columns: root of the covariance of z where the next window starts, rows of shape (k, n).
    """

    background: Seen
    analysis: Seen
    background_stdev: Seen
    analysis_stdev: Seen
    columns: Any = None


class Cost(NamedTuple):
    """J at the analysis, its part from the background, |∇J| and how the analysis ended."""

    total: Array
    background: Array
    gradient_norm: Array
    status: Array


def status(cost: Array, settled: Array | bool = True) -> Array:
    """A `Status` as a number."""
    ended = jnp.where(settled, Status.CONVERGED.value, Status.OUT_OF_LOOPS.value)
    return jnp.where(jnp.isfinite(cost), ended, Status.NON_FINITE.value)


def status_after(ended: Array, handed_on: Any) -> Array:
    """A `Status` as a number: NON_FINITE where what is handed on is not finite.

    So it is where the trajectory has left the support of the prior of a field.
    """
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(handed_on)]
    return jnp.where(jnp.all(jnp.stack(leaves)), ended, Status.NON_FINITE.value)


def observed(problem: Problem) -> Array:
    """How many observations a window has, as their weights count them."""
    return sum((o.count() for o in problem.observations), jnp.zeros(()))


def outcome(
    problem: Problem,
    moments: CycledMoments,
    cost: Cost,
    normalised: Array,
    degrees: Array,
    inflation: Array,
    failed: Array | int = 0,
) -> Outcome:
    """The analysis of a window; `normalised`, `inflation` as in `Outcome`; `degrees` for signal."""
    before, after, before_stdev, after_stdev, _ = moments
    scales = {name: before.scalars[name] for name in problem.control.scales}
    predicted = zip(problem.observations, *(m.predictions for m in moments[:4]), strict=True)
    return Outcome(
        before.states,
        after.states,
        before_stdev.states,
        after_stdev.states,
        after.scalars,
        after_stdev.scalars,
        tuple(reading(o, scales, *several) for o, *several in predicted),
        cost.total,
        cost.background,
        normalised,
        degrees,
        observed(problem),
        jnp.asarray(is_gaussian(problem)),
        inflation,
        cost.gradient_norm,
        cost.status,
        jnp.asarray(failed),
    )


def bounded_fields(problem: Problem) -> dict[str, str]:
    """A remark on every field whose prior has an upper bound, or a lower one that is not 0."""
    remarks = {}
    for name, prior in problem.control.fields.items():
        lower, upper = (np.asarray(end) for end in prior.support())
        if np.isfinite(upper).any() or np.any(np.isfinite(lower) & (lower != 0)):
            remarks[f"background.{name}"] = (
                f"its prior lies between {np.min(lower):g} and {np.max(upper):g}, and so must the "
                "field in every window: where the model leaves this, the analysis is not finite"
            )
    return remarks


# ---- what some schemes do not take --------------------------------------------------------------


def check_separate(called: str, plan: Plan) -> None:
    """Refuse windows that overlap."""
    if plan.batches != 1:
        raise ValueError(
            f"{called}: windows must not overlap, got windows of {plan.batches} batches; let the "
            "shift of the plan be its slots, or use IEnKS or FourDVar"
        )


def check_inflation(called: str, inflation: Inflation, problem: Problem, plan: Plan) -> None:
    """Refuse inflation that follows innovations whose sum of squares is not known."""
    if not inflation.adaptive:
        return
    if plan.seen > 1:
        raise ValueError(
            f"{called}: inflation cannot follow innovations where observations enter several "
            "windows, as most have been seen before; give it as a number, or let observations "
            'enter when they are newest (overlap = "newest")'
        )
    if not is_gaussian(problem):
        raise ValueError(
            f"{called}: inflation can follow innovations of Gaussian errors of known scale only, "
            "each of weight 0 or 1; give it as a number"
        )


def check_scales(called: str, problem: Problem) -> None:
    """Refuse error scales that are estimated."""
    if problem.control.scales:
        name = next(iter(problem.control.scales))
        raise ValueError(
            f"{called}: an error scale cannot be estimated, got {name!r}; fix it, or use FourDVar"
        )


def check_perfect(called: str, problem: Problem) -> None:
    """Refuse model error."""
    if problem.control.model_error is not None:
        raise ValueError(
            f"{called}: the model must be without error; leave model_error out, or use FourDVar"
        )


def check_independent(called: str, problem: Problem) -> None:
    """Refuse observation errors that are correlated."""
    for o in problem.observations:
        if not o.covariance.independent():
            raise ValueError(
                f"{called}: errors of observations must be independent, those of {o.name!r} are "
                f"{type(o.covariance).__name__}; give stdev, or use ETKF, IEnKS or FourDVar"
            )


def check_static(called: str, static: AbstractStateCovariance | None, problem: Problem) -> None:
    """Refuse a static covariance without a field of the background's, or with one with a prior."""
    control = problem.control
    if static is None:
        return
    for name in control.covariance.fields():
        if name not in static.fields():
            raise ValueError(
                f"{called}: the static covariance leaves {name!r} out, so that windows after the "
                "first would take the field as known, but the background has a covariance of it; "
                "name it there, too"
            )
    for name in control.fields:
        if name in static.fields():
            raise ValueError(
                f"{called}: the static covariance is of {name!r}, which has a prior of its own; "
                "leave it out there"
            )
