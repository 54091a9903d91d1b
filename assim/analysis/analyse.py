"""Where question and method meet: analyse() and its Analysis."""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from assim.analysis.analysed import AnalysedWindow, Reading, reading
from assim.analysis.evaluation import Departed, Spread, evaluate, fixed, spread_of
from assim.analysis.failures import (
    FIRST_GUESSES,
    OF_METHOD,
    Failures,
    StoppedAnalysis,
    insisting,
    interrupted,
    stopping,
)
from assim.analysis.finding import AbstractFinding
from assim.analysis.methods import Methods, Named, base_settings, named, none_started, run_methods
from assim.analysis.minimum import about_minimum, checked_minimiser, search_of
from assim.analysis.posterior import Posterior, PosteriorRequest, at_minimum, prior_of
from assim.analysis.store import AbstractStore
from assim.problem.arrays import Params, State
from assim.problem.control import Physical
from assim.problem.departure import Problem, Simulation
from assim.problem.scalars import Derived, check_derived
from assim.solve.minimise.gauss_newton import GaussNewton
from assim.solve.minimise.loop import (
    AbstractMinimiser,
    Progress,
    Solution,
    minimise_quasi_static,
)
from assim.solve.minimise.search import both
from assim.solve.minimise.status import Status
from assim.solve.posterior.ensemble import Report
from assim.solve.posterior.laplace import Laplace
from assim.solve.posterior.laplace_posterior import LaplacePosterior
from assim.solve.posterior.marginal import Pushed, Quantity

Array = jax.Array


@dataclass(frozen=True, repr=False)
class Analysis:
    """The answer to a data-assimilation problem.

    Args:
        problem: the question.
        solution: the minimisation: χ, cost, status, history of loops, minima met.
        laplace: Laplace approximation about χ, from which every method starts; None where no
            posterior was asked for, or where the model is not finite at the minimum.
        background: control, trajectory and predictions at χ = 0.
        analysis: the same at the minimum.
        cost_background: terms of J at χ = 0.
        cost_analysis: terms of J at the minimum.
        prior_stdev: prior standard deviations of what is estimated.
        chi_squared: χᵀWχ + dᵀd = 2(J - c - v) at the minimum, jumps between states included.
        log_constant: log p(y | χ) + ½ dᵀd + c, which completes the evidence; NaN where a
            likelihood is no normalised density at the minimum.
        posteriors: what each method found, by its name; empty without a posterior.
        chosen: name of the one that is reported: of those trusted most that which assumes
            least, chains before particles, weights and Gaussians.
        choice: how it was chosen, in a sentence; "" where only one was asked for.
        prior_draws: draws from the prior, NaN where there is none.
        derived_map: derived quantities at the minimum, where there is no posterior.
        departures: of every instrument from background and analysis; None without a posterior.
        spread: what the tangent linear at the minimum tells; None without a posterior.
        findings: what else was asked for, by name, as `consistency` and others find it.
        seconds: wall time by stage.
        failures: why a stage after the minimisation failed, by stage as in `seconds`; what it
            would have found is missing, and everything else stands.
    """

    problem: Problem
    solution: Solution
    laplace: LaplacePosterior | None
    background: Simulation
    analysis: Simulation
    cost_background: dict[str, float]
    cost_analysis: dict[str, float]
    prior_stdev: Physical
    log_constant: float
    chi_squared: float = float("nan")
    posteriors: dict[str, Posterior] = field(default_factory=dict)
    chosen: str = ""
    choice: str = ""
    prior_draws: Physical | None = None
    derived_map: dict[str, Quantity] = field(default_factory=dict)
    departures: Departed | None = None
    spread: Spread | None = None
    findings: Mapping[str, AbstractFinding] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failures: Failures = field(default_factory=dict)

    def __repr__(self) -> str:
        solution = self.solution
        parts = [f"{solution.status.name.lower()}, J = {solution.cost:.6g}"]
        parts += [f"{name} {posterior.trust}" for name, posterior in self.posteriors.items()]
        parts += [f"{stage} failed" for stage in self.failures]
        known = {n: q for n, q in self.quantities.items() if np.isfinite(q.stddev) and not q.note}
        parts += [f"{name} = {q.mean:.4g} ± {q.stddev:.3g}" for name, q in known.items()]
        noted = {name: q for name, q in self.quantities.items() if q.note}
        parts += [f"{name} = {q.q50:.4g} (median)" for name, q in noted.items()]
        return f"Analysis({', '.join(parts)})"

    @property
    def posterior(self) -> Posterior | None:
        """The posterior that is reported."""
        return self.posteriors.get(self.chosen)

    @property
    def quantities(self) -> dict[str, Quantity]:
        """Its scalars; without one those derived alone, at the minimum."""
        return self.derived_map if self.posterior is None else self.posterior.quantities

    @property
    def state_stdev(self) -> State:
        """Its standard deviation of every initial field (zero where fixed)."""
        return {} if self.posterior is None else self.posterior.state_stdev

    @property
    def trajectory_stdev(self) -> State:
        """The same at every slot edge."""
        return {} if self.posterior is None else self.posterior.trajectory_stdev

    @property
    def model_error_stdev(self) -> State:
        """The same of η; empty under strong constraint."""
        return {} if self.posterior is None else self.posterior.model_error_stdev

    @property
    def predicted_stdev(self) -> State:
        """The same of Hx, by instrument, shape (m,); without it that of the tangent linear."""
        if self.posterior is not None:
            return self.posterior.predicted_stdev
        variances = {} if self.spread is None else self.spread.moments.variance
        return {name: jnp.sqrt(value) for name, value in variances.items()}

    @property
    def draws(self) -> Physical | None:
        """Its members in physical units."""
        return None if self.posterior is None else self.posterior.draws

    @property
    def derived(self) -> dict[str, Pushed]:
        """Derived quantities of its members."""
        return {} if self.posterior is None else self.posterior.derived

    def with_findings(self, *findings: AbstractFinding | None) -> "Analysis":
        """The analysis with these findings; those of the same name make way.

        Args:
            findings: None stands for one that does not apply to this analysis.

        Raises:
            TypeError: one is no finding.
        """
        for finding in findings:
            if not isinstance(finding, AbstractFinding | None):
                raise TypeError(
                    "with_findings: expected an assim.finding.AbstractFinding or None, got "
                    f"{type(finding).__name__}"
                )
        named = {finding.name: finding for finding in findings if finding is not None}
        return dataclasses.replace(self, findings={**self.findings, **named})

    def analysed_window(self, posterior: Posterior | None = None) -> AnalysedWindow:
        """Fields at every slot edge, parameters and readings, as a cycle has them of its windows.

        Args:
            posterior: whose standard deviations they have; the one that is reported where None.
        """
        posterior = posterior or self.posterior
        parameters = {name: jnp.asarray(value) for name, value in self.parameters().items()}
        quantities = self.quantities
        return AnalysedWindow(
            self.problem.model.labels(),
            self.problem.window,
            self.background.trajectory.states,
            self.analysis.trajectory.states,
            {},
            {} if posterior is None else posterior.trajectory_stdev,
            parameters,
            {n: jnp.asarray(quantities[n].stddev) for n in parameters if n in quantities},
            self._readings(),
        )

    def _readings(self) -> dict[str, Reading]:
        """Of every instrument; the spread of its background's predictions is not known."""
        before, after = self.background.predictions, self.analysis.predictions
        scales, readings = self.background.control.scales, {}
        for o in self.problem.observations:
            unknown = jnp.full(before[o.name].shape, jnp.nan)
            stdev = self.predicted_stdev.get(o.name, unknown)
            readings[o.name] = reading(o, scales, before[o.name], after[o.name], unknown, stdev)
        return readings

    def parameters(self) -> Params:
        """Every model parameter at the minimum."""
        return self.analysis.control.parameters

    def log_evidence(self) -> float:
        """log p(y) by Laplace's method; NaN without a posterior, or where there is no evidence."""
        if self.laplace is None:
            return float("nan")
        return self.laplace.log_evidence + self.log_constant


def analyse(
    problem: Problem,
    minimiser: AbstractMinimiser | None = None,
    posterior: Methods = Laplace(),  # noqa: B008 (an immutable record of settings)
    *,
    starts: int | None = None,
    stages: int = 1,
    first_guess: Array | None = None,
    quantities: Mapping[str, Derived] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    report: Report | None = None,
    store: AbstractStore | None = None,
) -> Analysis:
    """Minimise J and quantify the uncertainty about the minimum.

    Args:
        problem: what is asked, as from `strong_constraint`.
        minimiser: how J is minimised; Gauss-Newton where not given.
        posterior: how uncertainty is quantified: settings of one method, a list of them, a
            mapping from names of your own, "auto" for Laplace and, where it is not certified,
            what else is needed; or None for the minimum alone.
        starts: first guesses: the prior median, and starts - 1 draws from the prior; all are
            minimised together and the lowest minimum is kept. None for as many as it takes: one
            for more than 64 controls, else four, and more while they disagree or the data do not
            fit (`assim.solve.minimise.search.next_batch`), and where J descends again on a line
            through the minimum (along every control up to 20, else along parameters, scales,
            biases and small fields, `assim.solve.posterior.valleys`).
        stages: steps in which the window is lengthened, each minimised from the minimum of the
            one before (quasi-static); 1 for the whole window at once.
        first_guess: χ in place of the prior median, shape (n,).
        quantities: scalar functions of the trajectory whose posterior is wanted, by name.
        seed: of every random draw.
        progress: called with a `Loop` after every outer loop.
        report: called with a line at a time while a posterior is sampled.
        store: where outer loops, and what a method has drawn, are kept as they come, and taken from
            where they are there.

    Raises:
        StoppedAnalysis: a KeyboardInterrupt after the first minimum; it has the analysis so far.
        ValueError: something else than a minimiser, fewer than one start or stage, a first guess
            that does not fit, a derived quantity with the name of another, or two methods of one.
    """
    minimiser = checked_minimiser(minimiser or GaussNewton())
    check_derived(problem, quantities or {})
    methods = named(posterior)
    keys = jax.random.split(jax.random.key(seed), 4)
    seconds: dict[str, float] = {}
    failures = Failures()
    with timed(seconds, "minimise"):
        windows = (problem,) if stages == 1 else problem.lengthened(stages)
        to_minimum = partial(minimise_quasi_static, windows, minimiser)
        solve = partial(to_minimum, progress=progress, checkpoints=store)
        search = search_of(problem, starts, first_guess, keys[0], report)
        solution = solve(search.first())
        with stopping(failures, FIRST_GUESSES):  # which leaves what was reached before
            while (more := search.more(solution)) is not None:
                solution = both(solution, solve(more))
    fitted, settings = None, base_settings(methods)
    sound = solution.status is not Status.NON_FINITE and not interrupted(failures)
    if settings is not None and sound:
        with timed(seconds, "posterior"), stopping(failures, "posterior"):
            about = partial(about_minimum, problem, minimiser, solution, settings, keys[1])
            solution, fitted = about(search, solve)
    with timed(seconds, "spread"):
        analysis = _assemble(problem, solution, fitted, keys[2], failures)
    analysis = dataclasses.replace(analysis, seconds=seconds, failures=failures)
    return _completed(analysis, methods, settings, quantities or {}, keys, (report, store))


def _completed(
    analysis: Analysis,
    methods: Named,
    settings: Laplace | None,
    derived: Mapping[str, Derived],
    keys: Array,
    given: tuple[Report | None, AbstractStore | None],
) -> Analysis:
    """With the posteriors that there can be; without any, derived quantities at the minimum."""
    if settings is not None and analysis.spread is not None:
        analysis = _with_posteriors(analysis, methods, settings, derived, keys, given)
    none_started(methods, analysis.failures)
    if analysis.posterior is None:
        derived_map = at_minimum(analysis.analysis.trajectory, derived)
        analysis = dataclasses.replace(analysis, derived_map=derived_map)
    if interrupted(analysis.failures):
        raise StoppedAnalysis(analysis)
    return analysis


def _with_posteriors(
    analysis: Analysis,
    methods: Named,
    settings: Laplace,
    derived: Mapping[str, Derived],
    keys: Array,
    given: tuple[Report | None, AbstractStore | None],
) -> Analysis:
    """The analysis with the posterior of each method."""
    assert analysis.laplace is not None and analysis.spread is not None
    problem, seconds, failures = analysis.problem, analysis.seconds, analysis.failures
    with timed(seconds, "spread"), stopping(failures, "prior"):
        prior = prior_of(problem, derived, settings.members, keys[2])
    if "prior" in failures:
        return analysis
    asked = PosteriorRequest(
        problem,
        derived,
        prior,
        analysis.log_constant,
        analysis.laplace,
        settings,
        analysis.spread,
        seconds["posterior"],
        (keys[1], keys[3]),
        *given,
    )
    posteriors, chosen, choice = run_methods(methods, asked, failures)
    for name, posterior in posteriors.items():
        counted = asked.seconds if posterior.kind == "laplace" else 0.0  # as "posterior", once
        seconds[OF_METHOD + name] = max(posterior.seconds - counted, 0.0)
    return dataclasses.replace(
        analysis, posteriors=posteriors, chosen=chosen, choice=choice, prior_draws=prior.draws
    )


def _assemble(
    problem: Problem,
    solution: Solution,
    fitted: LaplacePosterior | None,
    key: Array,
    failures: Failures,
) -> Analysis:
    """All but the posteriors; without a spread where that fails."""
    terms = partial(_at_minimum, problem, solution, fitted)
    analysis, *departures = insisting(failures, "spread", terms)
    if fitted is None or "spread" in failures:
        return analysis
    simulated = analysis.analysis
    with stopping(failures, "spread"):
        spread = jax.block_until_ready(spread_of(problem, fitted.gaussian, simulated, key))
    if "spread" in failures:
        return analysis
    parts = (*departures, spread.increment)
    names = [o.name for o in problem.observations]  # whose order jit does not keep
    departed = Departed(*({name: part[name] for name in names} for part in parts))
    return dataclasses.replace(analysis, departures=departed, spread=spread)


def _at_minimum(
    problem: Problem, solution: Solution, fitted: LaplacePosterior | None
) -> tuple[Analysis, dict[str, Array], dict[str, Array]]:
    """Without posteriors and spread; departures of every instrument from background and minimum."""
    before, after = evaluate(problem, jnp.zeros_like(solution.chi)), evaluate(problem, solution.chi)
    prior_stdev, log_constant = fixed(problem, after.simulation)
    analysis = Analysis(
        problem,
        solution,
        fitted,
        before.simulation,
        after.simulation,
        {name: float(value) for name, value in before.cost.items()},
        {name: float(value) for name, value in after.cost.items()},
        prior_stdev,
        float(log_constant),
        2 * float(after.squares),
    )
    return analysis, before.departures, after.departures


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the wall time of what is inside to that of a stage."""
    begin = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - begin
