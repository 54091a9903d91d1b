"""Driving a scheme through its windows: one at a time, or all of them in one program."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from assim.analysis.cycle.measures import Measures, measures
from assim.analysis.cycle.plan import Plan
from assim.analysis.cycle.scheme import AbstractScheme, Outcome
from assim.problem.arrays import State
from assim.problem.cycled import Rows, in_carried_coordinates, of_window
from assim.problem.departure import Problem
from assim.solve.minimise import strongly_typed

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
            ValueError: a problem or a plan that the scheme does not take.
        """
        self.scheme.check(self.problem, self.plan.batches)
        in_carried_coordinates(self.problem)

    def start(self) -> Any:
        """What the first window is given.

        Raises:
            ValueError: as `check`.
        """
        self.check()
        first = self.scheme.start(self.problem.as_forcing(), self.plan.batches, self._key(-1))
        return strongly_typed(first)

    def window(
        self,
        carry: Any,
        number: int,
        edges: Array,
        rows: tuple[Rows, ...],
        truth: State | None = None,
    ) -> tuple[Any, Outcome, Measures]:
        """Analyse window k; compiled once for all windows whose arrays have the same shapes.

        Args:
            carry: what the window before handed on.
            number: k, from 0.
            edges: its slot edges.
            rows: its observations, of every instrument.
            truth: the true state at every slot edge, where it is known.
        """
        given = (self.scheme, self.plan, carry, jnp.asarray(number), self._key(number))
        return _window(self._template, *given, edges, rows, truth)

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
            edges: slot edges of the whole cycle.
            batches: observations of every instrument with a leading dimension of batches.
            truth: the true state at every slot edge of the cycle.

        Returns:
            what the last window hands on, and the measures with a leading dimension of windows.
        """
        keys = jax.vmap(self._key)(jnp.arange(windows))
        given = (self.scheme, self.plan, self.start(), keys, edges, batches, truth)
        return _scan(self._template, *given)

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
    return strongly_typed(carry), outcome, measures(outcome, move, truth)


_window = eqx.filter_jit(_analyse)


@eqx.filter_jit
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

    def one(carry: Any, inputs: tuple[Array, Array]) -> tuple[Any, Measures]:
        number, key = inputs
        own, true = plan.stretch((edges, truth), number)
        rows = plan.rows(batches, number)
        given = (eqx.combine(carry, rest), number, key, own, rows, true)
        after, _, found = _analyse(template, scheme, plan, *given)
        return eqx.filter(after, eqx.is_array), found

    last, found = jax.lax.scan(one, arrays, (jnp.arange(len(keys)), keys))
    return eqx.combine(last, rest), found
