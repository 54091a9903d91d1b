"""`assim compare`: cases judged by their evidence, if they assimilate the same observations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from assim.analysis.analyse import Analysis
from assim.case.case import Case
from assim.case.failure import CaseError, Exit, Fault
from assim.case.pose import Posed, pose
from assim.files.read.observations import Instrument
from assim.files.times import NON_PHYSICAL
from assim.findings.evidence import ComparedProblem, Evidence, compare, evidence_table, preferred
from assim.problem.predictive import flat_entry
from assim.run.finite import require_finite
from assim.run.terminal.directory import Results, writing
from assim.run.terminal.screen import Screen
from assim.show.cells import number_text
from assim.solve.minimise.status import Status
from assim.solve.posterior.importance import Importance
from assim.solve.posterior.laplace import Laplace
from assim.solve.posterior.tempering import Tempering

EPOCH = "2000-01-01"
PLACES = 6  # decimals of days, a tenth of a second, to which times are the same


class AssimilatedValue(NamedTuple):
    """When and where a value is assimilated, whatever its instrument is called.

    Times are its own and the ends of its interval, in days since 2000 or as numbers.
    """

    value: float
    times: tuple[float, ...]
    positions: tuple[float, ...]


def check_same(posed: Mapping[str, Posed]) -> None:
    """Raise CaseError where cases, by name, assimilate other values, or at other times or places.

    Dimensions count that all of them have.
    """
    known = [{*i.table.coordinates} for case in posed.values() for i in case.instruments]
    dims = sorted(set.intersection(*known))
    rows = {
        name: sorted(value for i in case.instruments for value in _values(i, case, dims))
        for name, case in posed.items()
    }
    first, *others = rows
    for name in others:
        if rows[name] != rows[first]:
            what = (
                f"assimilates other values ({len(rows[name])}) than {first} ({len(rows[first])}), "
                "or at other times or places: evidences compare only for the same observations, "
                "rejected ones included"
            )
            raise CaseError([Fault("observations", what)], name)


def _values(instrument: Instrument, posed: Posed, dims: list[str]) -> list[AssimilatedValue]:
    """Those of an instrument that are used."""
    table, used, unit = instrument.table, instrument.used, posed.setting.labels.time_unit
    clock = (unit, None) if unit == NON_PHYSICAL else ("days", EPOCH)
    stamps = [stamp or table.times for stamp in (table.times, table.starts, table.ends)]
    times = np.stack([stamp.to_model(*clock) for stamp in stamps], axis=1)[used]
    places = [table.coordinates[dim][used] for dim in dims]
    positions = np.stack(places, axis=1) if places else np.empty((len(times), 0))
    columns = (table.values[used], np.round(times, PLACES), positions)
    return [
        AssimilatedValue(value, tuple(when), tuple(where))
        for value, when, where in zip(*(column.tolist() for column in columns), strict=True)
    ]


Tables = dict[str, tuple[Evidence, ...]]


def compare_cases(cases: Sequence[Case], tempered: bool, out: Path | None, screen: Screen) -> Exit:
    """Compare cases by their evidence, by tempering too where asked, in comparison.json."""
    for case in cases:
        case.refuse_cycle("compare")
    posed = {str(case.path): pose(case) for case in cases}
    directory = out or Path("out") / "comparison"
    for case in cases:
        case.directory(directory)
    for ready in posed.values():
        _check_proper(ready)
    check_same(posed)
    results = Results(cases[0], directory, kind="comparison")
    with writing(results, screen, ["comparison.json"]):
        tables, settled, whole = Tables(), True, True
        for name, ready in posed.items():
            screen.say(f"{name}: {ready.case.title}", "bold")
            analysis = _analysed(ready, tempered, screen)
            settled &= analysis.solution.status is Status.CONVERGED
            whole &= not analysis.failures
            try:
                tables[name] = evidence_table(analysis)
            except ValueError as error:
                what = str(error).removeprefix("evidence_table: ")
                raise ready.case.fault("", what) from error
        judged = compare({name: preferred(table) for name, table in tables.items()})
        _show(tables, judged, screen)
        results.json("comparison", _content(tables, judged))
    if not settled:
        return Exit.NOT_CONVERGED
    return Exit.DONE if whole else Exit.INCOMPLETE


def _check_proper(posed: Posed) -> None:
    """See that the case has an evidence: every prior must have the integral one."""
    if posed.problem.digital_filter is not None:
        what = "makes a prior whose integral is not known, so that there is no evidence; drop it"
        raise posed.case.fault("problem.digital_filter", what)
    flat = flat_entry(posed.problem.as_forcing())
    if flat is not None:
        what = "is flat or improper, with which there is no evidence; give it a proper one"
        raise posed.case.fault("", f"the prior of {flat!r} {what}")
    if flat_entry(posed.problem) is not None:
        what = 'states have no prior of their own, and so no evidence; choose "forcing"'
        raise posed.case.fault("model_error.formulation", what)


def _analysed(posed: Posed, tempered: bool, screen: Screen) -> Analysis:
    own = posed.posterior if isinstance(posed.posterior, dict) else {}
    settings = next((method for method in own.values() if isinstance(method, Laplace)), Laplace())
    methods: dict[str, Any] = {"laplace": settings, "importance": Importance()}
    methods |= {"tempered": Tempering()} if tempered else {}
    analysis = posed.analysis(posterior=methods, report=screen.say)
    require_finite(analysis, posed.instruments)
    screen.failed(analysis.failures)
    solution = analysis.solution
    loops = f"{len(solution.loops)} outer loops from {solution.starts} first guesses"
    screen.say(f"J = {solution.cost:.6g} after {loops}. {solution.status.advice}")
    return analysis


def _show(tables: Tables, judged: tuple[ComparedProblem, ...], screen: Screen) -> None:
    screen.say()
    rows = [
        (name, e.method, f"{e.log_evidence:.3f}", number_text(e.stdev), e.trust)
        for name, table in tables.items()
        for e in table
    ]
    screen.table(("case", "method", "log p(y), nats", "±", ""), rows)
    screen.say()
    numbers = ("log_bayes_factor", "log_bayes_factor_stdev", "probability")
    verdicts = [
        (case.name, case.evidence.method, *(number_text(getattr(case, name)) for name in numbers))
        for case in judged
    ]
    screen.table(("case", "judged by", "log Bayes factor", "±", "probability"), verdicts)
    for case in judged:
        if not np.isfinite(case.evidence.log_evidence):
            screen.say(f"{case.name} has no evidence by any method, and is not judged.", "bold red")
    if any(case.evidence.trust.name != "CERTIFIED" for case in judged):
        screen.say(
            "Not every evidence is certified: run again with --tempered, whose independent runs "
            "measure its error."
        )


def _content(tables: Tables, judged: tuple[ComparedProblem, ...]) -> dict[str, Any]:
    def of_table(table: tuple[Evidence, ...]) -> dict[str, Any]:
        return {
            e.method: {"log_evidence": e.log_evidence, "stddev": e.stdev, "trust": str(e.trust)}
            for e in table
        }

    return {
        "evidence": {name: of_table(table) for name, table in tables.items()},
        "comparison": [
            {
                "case": case.name,
                "method": case.evidence.method,
                "log_bayes_factor": case.log_bayes_factor,
                "log_bayes_factor_stddev": case.log_bayes_factor_stdev,
                "probability": case.probability,
                "probability_stddev": case.probability_stdev,
            }
            for case in judged
        ],
    }
