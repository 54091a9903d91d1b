"""Instruments that are kept from the assimilation: their names, and what they may not change."""

from collections.abc import Mapping, Sequence

import numpy as np

from assim.files.observations import Instrument
from assim.files.tables import ObservationTable as Rows
from assim.files.windows import window_of
from assim.problem.departure import Problem
from assim.problem.model import AbstractDynamics
from assim.problem.predictive import observing
from assim.run.case import Case
from assim.run.failure import Fault
from assim.run.schema import ObservationTable
from assim.run.slots import Clock


def instrument_names(tables: Sequence[ObservationTable]) -> list[str]:
    """Names in results: as given, else the variable's, with a number where one is taken."""
    taken = [table.name or table.variable for table in tables if table.name or not table.held_back]
    found = []
    for table in tables:
        name = table.name or table.variable
        if table.held_back and table.name is None:
            first, number = f"{name}_held_back", 1
            name = first
            while name in taken:
                number += 1
                name = f"{first}_{number}"
            taken.append(name)
        found.append(name)
    return found


def table_faults(case: Case) -> list[Fault]:
    """What can be seen of instruments held back without their data."""
    if case.table is None:
        return []
    tables, faults = case.checked.observations, []
    names = instrument_names(tables)
    for number, (table, name) in enumerate(zip(tables, names, strict=True)):
        path = f"observations.{number}"
        others = [n for n, other in enumerate(names) if other == name and n != number]
        if table.held_back and any(n < number or not tables[n].held_back for n in others):
            what = f"observations.{others[0]} is called {name!r} too; give one of them another name"
            faults.append(Fault(f"{path}.name", what))
        if table.held_back and table.quality is not None and table.quality.threshold is not None:
            what = "readings that are held back have no background check; leave it out"
            faults.append(Fault(f"{path}.quality.threshold", what))
    return faults


def slot_faults(
    case: Case, model: AbstractDynamics, clock: Clock, rows: Sequence[Rows]
) -> list[Fault]:
    """Instruments held back that would change the slots, and with them the model errors."""
    table, tables = case.checked.window, case.checked.observations
    apart = [number for number, one in enumerate(tables) if one.held_back]
    if case.checked.model_error is None or table.times != "observations" or not apart:
        return []
    ends = clock.text(table.start), clock.text(table.end)
    assimilated = [one for number, one in enumerate(rows) if number not in apart]
    without = np.asarray(window_of(assimilated, model, *ends).edges)
    what = (
        'held back at times that no assimilated instrument has, which times = "observations" '
        "would give slots, and model errors, of their own; give window.slots or times of your own"
    )
    return [
        Fault(f"observations.{number}", what)
        for number in apart
        if not np.array_equal(
            np.asarray(window_of([*assimilated, rows[number]], model, *ends).edges), without
        )
    ]


def problem_faults(problem: Problem, held_back: Mapping[int, Instrument]) -> list[Fault]:
    """Error scales and biases that are not estimated, by the number of the instrument's table."""
    faults = []
    for number, one in held_back.items():
        try:
            observing(problem, one.observations)
        except ValueError as error:
            what = str(error).removeprefix("predictive: ")
            way = "name one of an assimilated instrument, or leave it out"
            faults.append(Fault(f"observations.{number}", f"{what}; {way}"))
    return faults
