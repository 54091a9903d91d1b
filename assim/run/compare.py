"""`assim compare`: cases judged by their evidence, if they assimilate the same observations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from assim.analysis.analyse import Analysis
from assim.case.case import Case
from assim.case.failure import CaseError, Exit, Fault
from assim.case.methods import cannot_run
from assim.case.pose import Posed, pose
from assim.files.netcdf import write_json
from assim.files.read.observations import Instrument
from assim.files.times import NON_PHYSICAL
from assim.findings.evidence import ComparedProblem, Evidence, compare, evidence_table, preferred
from assim.problem.predictive import flat_entry
from assim.run.finite import require_finite
from assim.run.terminal.screen import Screen
from assim.solve.minimise.status import Status
from assim.solve.posterior.importance import Importance
from assim.solve.posterior.laplace import Laplace
from assim.solve.posterior.tempering import Tempering

EPOCH = "2000-01-01"
PLACES = 6  # decimals of days, a tenth of a second, to which times are the same


class AssimilatedValue(NamedTuple):
    """One value that is assimilated: when and where, whatever its instrument is called.

    Args:
        value: as observed.
        times: its time and the ends of its interval, days since 2000 or numbers.
        positions: along the dimensions that all cases have, by their names.
    """

    value: float
    times: tuple[float, ...]
    positions: tuple[float, ...]


def check_same(posed: Mapping[str, Posed]) -> None:
    """See that all cases assimilate the same values, at the same times and places.

    Args:
        posed: the cases by name.

    Raises:
        CaseError: a case whose readings are not those of the first.
    """
    known = [{*i.table.coordinates} for one in posed.values() for i in one.instruments]
    dims = sorted(set.intersection(*known))
    rows = {name: readings(one, dims) for name, one in posed.items()}
    first, *others = rows
    for name in others:
        if rows[name] != rows[first]:
            what = (
                f"assimilates other values ({len(rows[name])}) than {first} ({len(rows[first])}), "
                "or at other times or places: evidences compare only for the same observations, "
                "rejected ones included"
            )
            raise CaseError([Fault("observations", what)], name)


def readings(posed: Posed, dims: list[str]) -> list[AssimilatedValue]:
    """All values assimilated, in the order of value, time and place.

    Args:
        posed: the case.
        dims: dimensions along which positions count.
    """
    unit = posed.problem.model.labels().time_unit
    return sorted(
        reading for one in posed.instruments for reading in _of_instrument(one, unit, dims)
    )


def _of_instrument(one: Instrument, unit: str, dims: list[str]) -> list[AssimilatedValue]:
    table = one.table
    dated = unit != NON_PHYSICAL
    clocks = [stamp or table.times for stamp in (table.times, table.starts, table.ends)]
    numbers = [c.to_model("days" if dated else unit, EPOCH if dated else None) for c in clocks]
    times = np.round(np.stack(numbers, axis=1), PLACES)[one.used].tolist()
    places = [table.coordinates[dim][one.used].tolist() for dim in dims]
    values = table.values[one.used].tolist()
    return [
        AssimilatedValue(value, tuple(when), where)
        for value, when, where in zip(
            values, times, zip(*places, strict=True) if places else [()] * len(values), strict=True
        )
    ]


FILE = "comparison.json"
Tables = dict[str, tuple[Evidence, ...]]


def compare_cases(cases: Sequence[Case], tempered: bool, out: Path | None, screen: Screen) -> Exit:
    """Compare cases by their evidence, and write `comparison.json`.

    Args:
        cases: two or more that assimilate the same values.
        tempered: whether tempering is run besides Laplace and importance sampling.
        out: directory for the results; out/comparison where None.
        screen: where progress is shown.

    Raises:
        CaseError: errors of a case, or cases of different observations.
        DataError: errors of their files, or a directory that cannot be written.
        NonFiniteError: the model of a case is not finite at any first guess.
        Interrupted: by the user.
    """
    missing = cannot_run("Tempering") if tempered else None
    if missing is not None:
        raise CaseError([Fault("--tempered", missing)])
    for case in cases:
        case.refuse_cycle("compare")
    posed = {str(case.path): pose(case) for case in cases}
    for name, one in posed.items():
        _check_proper(name, one)
    check_same(posed)
    directory = out or Path("out") / "comparison"
    with screen.writing(directory) as written:
        (directory / FILE).unlink(missing_ok=True)
        tables, settled = Tables(), True
        for name, one in posed.items():
            screen.say(f"{name}: {one.case.checked.title or one.case.name}", "bold")
            analysis = _analysed(one, tempered, screen)
            settled &= analysis.solution.status is Status.CONVERGED
            tables[name] = evidence_table(analysis)
        judged = compare({name: preferred(table) for name, table in tables.items()})
        _show(tables, judged, screen)
        write_json(_content(tables, judged), directory / FILE)
        written.append(directory / FILE)
    return Exit.DONE if settled else Exit.NOT_CONVERGED


def _check_proper(name: str, posed: Posed) -> None:
    """See that the case has an evidence: every prior must have the integral one."""
    flat = flat_entry(posed.problem.as_forcing())
    if flat is not None:
        what = (
            f"the prior of {flat!r} is flat or improper, with which there is no evidence; give it "
            "a proper one"
        )
        raise CaseError([Fault("", what)], name)
    if flat_entry(posed.problem) is not None:
        what = 'states have no prior of their own, and so no evidence; choose "forcing"'
        raise CaseError([Fault("model_error.formulation", what)], name)


def _analysed(posed: Posed, tempered: bool, screen: Screen) -> Analysis:
    own = posed.posterior if isinstance(posed.posterior, dict) else {}
    settings = next((method for method in own.values() if isinstance(method, Laplace)), Laplace())
    methods: dict[str, Any] = {"laplace": settings, "importance": Importance()}
    methods |= {"tempered": Tempering()} if tempered else {}
    analysis = posed.analysis(posterior=methods, report=screen.say)
    require_finite(analysis)
    solution = analysis.solution
    loops = f"{len(solution.loops)} outer loops from {solution.starts} first guesses"
    screen.say(f"J = {solution.cost:.6g} after {loops}. {solution.status.advice}")
    return analysis


def _show(tables: Tables, judged: tuple[ComparedProblem, ...], screen: Screen) -> None:
    screen.say()
    rows = [
        (name, one.method, f"{one.log_evidence:.3f}", _number(one.stdev), one.trust)
        for name, table in tables.items()
        for one in table
    ]
    screen.table(("case", "method", "log p(y), nats", "±", ""), rows)
    screen.say()
    verdicts = [
        (
            one.name,
            one.evidence.method,
            _number(one.log_bayes_factor),
            _number(one.log_bayes_factor_stdev),
            _number(one.probability),
        )
        for one in judged
    ]
    screen.table(("case", "judged by", "log Bayes factor", "±", "probability"), verdicts)
    for one in judged:
        if not np.isfinite(one.evidence.log_evidence):
            screen.say(f"{one.name} has no evidence by any method, and is not judged.", "bold red")
    if any(one.evidence.trust.name != "CERTIFIED" for one in judged):
        screen.say(
            "Not every evidence is certified: run again with --tempered, whose independent runs "
            "tell its error."
        )


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"


def _content(tables: Tables, judged: tuple[ComparedProblem, ...]) -> dict[str, Any]:
    return {
        "evidence": {
            name: {
                one.method: {
                    "log_evidence": one.log_evidence,
                    "stddev": one.stdev,
                    "trust": str(one.trust),
                }
                for one in table
            }
            for name, table in tables.items()
        },
        "comparison": [
            {
                "case": one.name,
                "method": one.evidence.method,
                "log_bayes_factor": one.log_bayes_factor,
                "log_bayes_factor_stddev": one.log_bayes_factor_stdev,
                "probability": one.probability,
                "probability_stddev": one.probability_stdev,
            }
            for one in judged
        ],
    }
