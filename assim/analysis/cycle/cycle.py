"""Driving a scheme through its windows: one at a time, or all of them in one program."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.analysed import AnalysedWindow
from assim.analysis.cycle.batches import WITHIN, check_begun, in_batches, newest, placed
from assim.analysis.cycle.measures import Measures, measures
from assim.analysis.cycle.plan import Plan
from assim.analysis.cycle.scheme import AbstractScheme, Outcome
from assim.devices import program
from assim.problem.arrays import State
from assim.problem.constraint import check_fit
from assim.problem.cycled import Rows, in_carried_coordinates, of_window
from assim.problem.departure import Problem
from assim.problem.observation import Observations
from assim.problem.window import Window
from assim.solve.minimise.loop import strongly_typed

Array = jax.Array


@dataclass(frozen=True)
class Cycle:
    """What is the same for all windows of a cycle.

    Args:
        problem: of the first window, as it was posed; its observations say what instruments there
            are, and how many values of each a window has room for.
        scheme: how windows are analysed.
        plan: how they lie in time.
        seed: of all random draws.
    """

    problem: Problem
    scheme: AbstractScheme
    plan: Plan
    seed: int = 0

    @cached_property
    def _template(self) -> Problem:
        return in_carried_coordinates(self.problem)

    def check(self) -> None:
        """Refuse what cannot be cycled.

        Raises:
            ValueError: a problem or a plan that the scheme does not take, or that do not fit each
                other.
        """
        self.plan.check(self.problem.window)
        self.scheme.check(self.problem, self.plan)
        in_carried_coordinates(self.problem)

    def start(self) -> Any:
        """What the first window is given.

        Raises:
            ValueError: as `check`.
        """
        self.check()
        first = self.scheme.start(self.problem.as_forcing(), self.plan, self._key(-1))
        return strongly_typed(first)

    def window(
        self,
        carry: Any,
        number: int,
        edges: Array,
        rows: tuple[Rows, ...],
        truth: State | None = None,
    ) -> tuple[Any, AnalysedWindow, Measures]:
        """Analyse window k; compiled once for all windows whose arrays have the same shapes.

        Args:
            carry: what the window before handed on.
            number: k, from 0.
            edges: its slot edges.
            rows: its observations, of every instrument.
            truth: the true state at every slot edge, where it is known.

        Returns:
            what is handed on, the analysis, and what is kept of it in a few numbers.

        Raises:
            ValueError: slot edges or observations that are not those of a window of the plan.
        """
        self._check_window(number, edges, rows)
        given = (self.scheme, self.plan, carry, jnp.asarray(number), self._key(number))
        after, outcome, kept = _window(self._template, *given, edges, rows, truth)
        return after, self._analysed(outcome, edges), kept

    def scan(
        self,
        windows: int,
        edges: Array,
        batches: tuple[Rows, ...],
        truth: State | None = None,
    ) -> tuple[Any, Measures]:
        """Analyse all windows in one program, for experiments in memory.

        Args:
            windows: how many.
            edges: slot edges of the whole cycle, as `Plan.whole` has them.
            batches: observations of every instrument with a leading dimension of batches.
            truth: the true state at every slot edge of the cycle.

        Returns:
            what the last window hands on, and the measures with a leading dimension of windows.

        Raises:
            ValueError: fewer slot edges or batches than so many windows have, or as `check`.
        """
        slots = int(self.plan.first_slot(windows - 1)) + self.plan.slots
        held = min((len(instrument.weight) for instrument in batches), default=windows)
        if len(edges) <= slots or held < windows:
            raise ValueError(
                f"Cycle: {windows} windows have {slots + 1} slot edges and {windows} batches of "
                f"observations, got {len(edges)} and {held}"
            )
        keys = jax.vmap(self._key)(jnp.arange(windows))
        given = (self.scheme, self.plan, self.start(), keys, edges, batches, truth)
        return _scan(self._template, *given)

    def batches(self, observations: Sequence[Observations], edges: Array) -> tuple[Rows, ...]:
        """Observations of the whole cycle, cut into those of every shift of its windows.

        `Plan.rows` makes those of a window of them.

        Args:
            observations: of every instrument, in the order of the problem.
            edges: slot edges of the whole cycle.

        Returns:
            of every instrument, rows with a leading dimension of batches, each with room for the
            largest of them.

        Raises:
            ValueError: instruments that are not those of the problem, values that do not fit the
                model, are at times outside or begin before a window that has them, or errors that
                are correlated.
        """
        names = [o.name for o in self.problem.observations]
        if names != [o.name for o in observations]:
            raise ValueError(
                f"Cycle: expected observations of {', '.join(names)}, in this order, got "
                f"{', '.join(o.name for o in observations) or 'none'}"
            )
        reference, labels = self.problem.window.reference, self.problem.model.labels()
        whole, shift = np.asarray(edges), self.plan.shift
        for instrument in observations:
            check_fit(instrument, labels, Window(edges, 1, reference))
            check_begun(instrument, whole, self.plan)
        return tuple(in_batches(placed(o, labels), whole, shift) for o in observations)

    def _check_window(self, number: int, edges: Array, rows: tuple[Rows, ...]) -> None:
        """Refuse slot edges and observations of another window."""
        if len(edges) != self.plan.slots + 1 or len(rows) != len(self.problem.observations):
            raise ValueError(
                f"Cycle: window {number} has {self.plan.slots + 1} slot edges and observations of "
                f"{len(self.problem.observations)} instruments, got {len(edges)} and {len(rows)}"
            )
        first, last = float(edges[0]), float(edges[-1])
        slack = WITHIN * (last - first)
        for o, instrument_rows in zip(self.problem.observations, rows, strict=True):
            counted = np.asarray(instrument_rows.weight) > 0
            seen = instrument_rows.placed(o)
            times = np.stack([seen.points.ends, *seen.read_times()])[:, counted]
            if np.any((times < first - slack) | (times > last + slack)):
                raise ValueError(
                    f"Cycle: window {number} goes from {first:g} to {last:g}, got values of "
                    f"{o.name!r} from {times.min():g} to {times.max():g}; give it its own slot "
                    "edges (Plan.stretch) and observations (Plan.rows)"
                )

    def _analysed(self, outcome: Outcome, edges: Array) -> AnalysedWindow:
        """What the outcome of a window says, with its labels and times."""
        problem, names = self.problem, [o.name for o in self.problem.observations]
        return AnalysedWindow(
            problem.model.labels(),
            Window(edges, problem.window.steps, problem.window.reference),
            outcome.background,
            outcome.analysis,
            outcome.background_stdev,
            outcome.analysis_stdev,
            outcome.scalars,
            outcome.scalars_stdev,
            dict(zip(names, outcome.readings, strict=True)),
        )

    def _key(self, number: int | Array) -> Array:
        return jax.random.fold_in(jax.random.key(self.seed), number + 1)


def _analyse(
    template: Problem,
    scheme: AbstractScheme,
    plan: Plan,
    carry: Any,
    number: Array,
    key: Array,
    edges: Array,
    rows: tuple[Rows, ...],
    truth: State | None,
) -> tuple[Any, Outcome, Measures]:
    move = plan.move(number)
    carry, outcome = scheme.step(of_window(template, edges, rows), carry, move, key)
    fresh = None if plan.seen == 1 else newest(rows, edges, move.newest - plan.shift)
    return strongly_typed(carry), outcome, measures(outcome, move, truth, fresh)


_window = program(_analyse)


@program
def _scan(
    template: Problem,
    scheme: AbstractScheme,
    plan: Plan,
    start: Any,
    keys: Array,
    edges: Array,
    batches: tuple[Rows, ...],
    truth: State | None,
) -> tuple[Any, Measures]:
    arrays, rest = eqx.partition(start, eqx.is_array)

    def window_step(carry: Any, inputs: tuple[Array, Array]) -> tuple[Any, Measures]:
        number, key = inputs
        own, true = plan.stretch((edges, truth), number)
        rows = plan.rows(batches, number)
        given = (eqx.combine(carry, rest), number, key, own, rows, true)
        after, _, measured = _analyse(template, scheme, plan, *given)
        return eqx.filter(after, eqx.is_array), measured

    last, measured = jax.lax.scan(window_step, arrays, (jnp.arange(len(keys)), keys))
    return eqx.combine(last, rest), measured
