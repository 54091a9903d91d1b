"""The evidence of an analysis by every method that gives one."""

from math import isfinite

from assim.analysis.analyse import Analysis
from assim.solve.evidence import Evidence, bic, of_laplace


def evidence_table(analysis: Analysis) -> tuple[Evidence, ...]:
    """log p(y) by Laplace, BIC and every other method of the analysis, constants included.

    BIC counts every entry of χ as a parameter and observations as their weights do.

    Raises:
        ValueError: the analysis has no posterior.
    """
    if analysis.laplace is None:
        raise ValueError("evidence_table: the analysis has no posterior; ask for one")
    problem, constant = analysis.problem, analysis.log_constant
    values = sum(float(o.count()) for o in problem.observations)
    own = (of_laplace(analysis.laplace), bic(problem, analysis.solution.chi, observations=values))
    nan = float("nan")
    others = (
        Evidence(
            one.kind if name in (o.method for o in own) else name,
            one.log_evidence,
            one.certificates.get("log_evidence_stdev", nan),
            one.trust,
        )
        for name, one in analysis.posteriors.items()
        if one.kind != "laplace" and isfinite(one.log_evidence)
    )
    return (*(one.completed(constant) for one in own), *others)
