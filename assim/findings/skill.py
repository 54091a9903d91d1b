"""How well the background and the analysis agree with the readings of every instrument."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from assim.analysis.analyse import Analysis
from assim.analysis.finding import AbstractFinding, Variable
from assim.findings.observables import readings_of
from assim.problem.observation import Observations
from assim.statistics.scores import Agreement, agreement


class InstrumentSkill(NamedTuple):
    """Agreement with the readings of one instrument that count.

    Args:
        units: of the readings; "" where they are not known.
        held_back: whether they were not assimilated, so that the agreement is honest.
        background: of the background, H(x^b) + b.
        analysis: of the analysis.
    """

    units: str
    held_back: bool
    background: Agreement
    analysis: Agreement


@dataclass(frozen=True)
class Skill(AbstractFinding):
    """Bias, error, correlation and efficiencies of every instrument, by its name."""

    name: ClassVar[str] = "skill"

    instruments: Mapping[str, InstrumentSkill]

    def variables(self) -> dict[str, Variable]:
        """None: these are few numbers, which the summary has."""
        return {}

    def summary(self) -> dict[str, Any]:
        """Agreement of background and analysis by instrument."""
        return {
            name: {
                "units": own.units,
                "held_back": own.held_back,
                "background": own.background._asdict(),
                "analysis": own.analysis._asdict(),
            }
            for name, own in self.instruments.items()
        }


def skill(analysis: Analysis, held_back: Iterable[Observations] = ()) -> Skill:
    """Agreement of background and analysis with readings: of the values that count.

    Args:
        analysis: an analysis.
        held_back: instruments that were not assimilated.
    """
    problem, others = analysis.problem, list(held_back)
    instruments = [*problem.observations, *others]
    predicted = []
    for simulation in (analysis.background, analysis.analysis):
        own = [simulation.predictions[o.name] for o in problem.observations]
        predicted.append([*own, *(readings_of(others, simulation) if others else ())])
    several = {}
    for number, o in enumerate(instruments):
        counted = np.asarray(o.counted())
        y = np.asarray(o.values)[counted]
        before, after = (
            agreement(np.asarray(columns[number])[counted], y) for columns in predicted
        )
        honest = number >= len(problem.observations)
        several[o.name] = InstrumentSkill(o.units or "", honest, before, after)
    return Skill(several)
