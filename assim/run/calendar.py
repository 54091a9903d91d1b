"""When the windows of a cycle are: the stretch of time that they cover together."""

import jax.numpy as jnp
import numpy as np

from assim.analysis.cycle.plan import Plan
from assim.problem.window import Window
from assim.run.cycle_table import CycleTable
from assim.run.schema import CaseTable


def plan_of(table: CaseTable) -> Plan:
    """How the windows of a case with a cycle lie."""
    cycle, slots = table.cycle, table.window.slots
    assert cycle is not None and slots is not None
    return Plan(slots, cycle.shift or slots, cycle.overlap)


def whole(cycle: CycleTable, first: Window) -> Window:
    """The window of all windows: the slots of the first, repeated."""
    shift = cycle.shift or first.slots
    last = shift * max(0, cycle.windows - first.slots // shift) + first.slots
    edges = np.asarray(first.edges)
    length = (edges[-1] - edges[0]) / first.slots
    later = edges[0] + length * np.arange(first.slots + 1, last + 1)
    return Window(jnp.asarray(np.concatenate([edges, later])), first.steps, first.reference)
