"""What every way to analyse the windows of a cycle has in common."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.analysis.analysed import Reading
from assim.analysis.cycle.plan import Move, Plan
from assim.analysis.forecast import StartMembers
from assim.problem.arrays import Params, State
from assim.problem.assumed import error_variance
from assim.problem.departure import Problem

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
        """What `assim check` says of a problem that is taken, by name; nothing by default.

        Args:
            problem: of the first window, as it was posed.
            plan: how windows lie.
        """
        del problem, plan
        return {}


def observed(problem: Problem) -> Array:
    """How many observations a window has, as their weights count them."""
    return sum((o.count() for o in problem.observations), jnp.zeros(()))


def readings(
    problem: Problem,
    background: tuple[Array, ...],
    analysis: tuple[Array, ...],
    background_stdev: tuple[Array, ...],
    analysis_stdev: tuple[Array, ...],
    scales: Params | None = None,
) -> tuple[Reading, ...]:
    """Every instrument's readings, from predictions and their standard deviations.

    Args:
        problem: whose instruments these are.
        background: H(x^b), one entry an instrument.
        analysis: H(x^a).
        background_stdev: of the first.
        analysis_stdev: of the second.
        scales: error scales at the background, where they are estimated.
    """
    predicted = (background, analysis, background_stdev, analysis_stdev)
    return tuple(
        Reading(
            o.values,
            before,
            after,
            jnp.sqrt(o.likelihood.variance() * error_variance(o, before, scales or {})),
            before_stdev,
            after_stdev,
            o.powers(),
        )
        for o, before, after, before_stdev, after_stdev in zip(
            problem.observations, *predicted, strict=True
        )
    )
