"""Several cases that explain the same observations, judged by their evidence: `assim compare`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assim.analysis.analyse import Analysis, analyse
from assim.analysis.evidence import evidence_table
from assim.files.schema import write_json
from assim.run.build import Posed, pose
from assim.run.case import Case
from assim.run.directory import interruptible, writable
from assim.run.failure import CaseError, Exit, Fault, NonFiniteError
from assim.run.finite import trouble_of
from assim.run.screen import Screen
from assim.solve.evidence import Compared, Evidence, compare, preferred
from assim.solve.importance import Importance
from assim.solve.laplace import Laplace
from assim.solve.status import Status
from assim.solve.tempering import Tempering

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
    posed = {str(case.path): pose(case) for case in cases}
    _check_same(posed)
    directory, written = out or Path("out") / "comparison", list[Path]()
    with writable(directory), interruptible(directory, written):
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
        screen.written(directory, written)
    return Exit.DONE if settled else Exit.NOT_CONVERGED


def _check_same(posed: dict[str, Posed]) -> None:
    """See that all cases assimilate the same values: only then do evidences compare."""
    values = {
        name: [np.asarray(o.values) for o in sorted(one.problem.observations, key=lambda o: o.name)]
        for name, one in posed.items()
    }
    first, *others = values
    for name in others:
        mine, theirs = values[name], values[first]
        same = len(mine) == len(theirs) and all(map(np.array_equal, mine, theirs))
        if not same:
            counts = [sum(v.size for v in values[n]) for n in (name, first)]
            what = (
                f"assimilates other values ({counts[0]}) than {first} ({counts[1]}): evidences "
                "compare only for the same observations, rejected ones included"
            )
            raise CaseError([Fault("observations", what)], name)


def _analysed(posed: Posed, tempered: bool, screen: Screen) -> Analysis:
    table = posed.case.checked
    own = posed.posterior if isinstance(posed.posterior, dict) else {}
    settings = next((one for one in own.values() if isinstance(one, Laplace)), Laplace())
    methods: dict[str, Any] = {"laplace": settings, "importance": Importance()}
    analysis = analyse(
        posed.problem,
        posed.minimiser,
        {**methods, "tempered": Tempering()} if tempered else methods,
        starts=table.minimiser.starts,
        stages=table.minimiser.stages,
        seed=table.runtime.seed,
        progress=screen.loop,
        report=screen.say,
        first_guess=posed.first_guess,
    )
    if analysis.solution.status is Status.NON_FINITE:
        trouble = trouble_of(posed.problem, analysis.analysis, analysis.solution.chi)
        raise NonFiniteError(f"{trouble}. {analysis.solution.status.advice}")
    return analysis


def _show(tables: Tables, judged: tuple[Compared, ...], screen: Screen) -> None:
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
    if any(one.evidence.trust.name != "CERTIFIED" for one in judged):
        screen.say(
            "Not every evidence is certified: run again with --tempered, whose independent runs "
            "tell its error."
        )


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"


def _content(tables: Tables, judged: tuple[Compared, ...]) -> dict[str, Any]:
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
