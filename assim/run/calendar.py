"""When the windows of a case's cycle are."""

from assim.analysis.cycle.plan import Plan
from assim.problem.window import Window
from assim.run.schema import CaseTable


def plan_of(table: CaseTable) -> Plan:
    """How the windows of a case with a cycle lie."""
    cycle, slots = table.cycle, table.window.slots
    assert cycle is not None and slots is not None
    return Plan(slots, cycle.shift or slots, cycle.overlap)


def whole(table: CaseTable, first: Window) -> Window:
    """The stretch of time that all windows of a case cover together."""
    assert table.cycle is not None
    return plan_of(table).whole(first, table.cycle.windows)
