"""What some schemes of a cycle do not take, with the way out."""

from assim.analysis.cycle.inflation import Inflation
from assim.analysis.cycle.plan import Plan
from assim.problem.assumed import is_gaussian
from assim.problem.departure import Problem


def check_separate(called: str, plan: Plan) -> None:
    """Refuse windows that overlap."""
    if plan.batches != 1:
        raise ValueError(
            f"{called}: windows must not overlap, got windows of {plan.batches} batches; let the "
            "shift of the plan be its slots, or use IEnKS or FourDVar"
        )


def check_inflation(called: str, inflation: Inflation, problem: Problem, plan: Plan) -> None:
    """Refuse inflation that follows innovations whose sum of squares is not known."""
    if not inflation.adaptive:
        return
    if plan.seen > 1:
        raise ValueError(
            f"{called}: inflation cannot follow innovations where observations enter several "
            "windows, as most have been seen before; give it as a number, or let observations "
            'enter when they are newest (overlap = "newest")'
        )
    if not is_gaussian(problem):
        raise ValueError(
            f"{called}: inflation can follow innovations of Gaussian errors of known scale only, "
            "each of weight 0 or 1; give it as a number"
        )


def check_scales(called: str, problem: Problem) -> None:
    """Refuse error scales that are estimated."""
    if problem.control.scales:
        name = next(iter(problem.control.scales))
        raise ValueError(
            f"{called}: an error scale cannot be estimated, got {name!r}; fix it, or use FourDVar"
        )


def check_perfect(called: str, problem: Problem) -> None:
    """Refuse model error."""
    if problem.control.model_error is not None:
        raise ValueError(
            f"{called}: the model must be without error; leave model_error out, or use FourDVar"
        )


def check_independent(called: str, problem: Problem) -> None:
    """Refuse observation errors that are correlated."""
    for o in problem.observations:
        if not o.covariance.independent():
            raise ValueError(
                f"{called}: errors of observations must be independent, those of {o.name!r} are "
                f"{type(o.covariance).__name__}; give stdev, or use ETKF, IEnKS or FourDVar"
            )


def check_only_state(called: str, problem: Problem) -> None:
    """Refuse everything estimated but fields with a covariance."""
    control = problem.control
    check_scales(called, problem)
    others = {"parameter": control.parameters, "bias coefficient": control.biases}
    for what, priors in others.items():
        if priors:
            raise ValueError(
                f"{called}: a {what} cannot be estimated, got {next(iter(priors))!r}; fix it, or "
                "use FourDVar"
            )
    if control.fields:
        raise ValueError(
            f"{called}: a field cannot have a prior of its own, got {next(iter(control.fields))!r};"
            " give it a background and a covariance, or use FourDVar"
        )
    check_perfect(called, problem)
