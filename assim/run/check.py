"""`assim check`: all short of running a case, of a cycle that of its first window; of finished
results what they say of themselves.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from assim.case.case import Case
from assim.case.cycle import by_window
from assim.case.failure import Exit, NonFiniteError, naming
from assim.case.pose import Posed, pose_setting
from assim.case.pose_cycle import check_cycle, checked_cycle
from assim.case.setting import set_up
from assim.devices import program
from assim.files.names import FLAGS, WINDOW
from assim.files.read.observations import Instrument
from assim.files.read.windows import TOLERANCE
from assim.findings.between_edges import bent_between_edges
from assim.findings.derivatives import IdentityTest, TaylorTest, verify
from assim.findings.steps import step_checks
from assim.findings.tolerance import coarse_tolerances
from assim.findings.uninformed import UNINFORMED, uninformed
from assim.problem.departure import Problem
from assim.problem.model import THROUGH_STEPS, Trial
from assim.run.finite import non_finite
from assim.run.terminal.screen import Screen
from assim.run.twin.twin import draw
from assim.show.finished import finished_run, methods_of, stale_forecast
from assim.show.layout import is_cycle
from assim.solve.cost import cost, gradient
from assim.solve.minimise.guess import first_guesses
from assim.solve.minimise.search import most_first_guesses

DEAR, LONG = 8.0, 60.0  # times J, s: what a gradient and its compiling should not come to
_WAYS_OUT = (
    ": that is much; see docs/how-to/grids.md for what makes the steps of a model on a grid slow"
)


def pose_first(case: Case) -> Posed:
    """The problem of a case, of a cycle that of its first window."""
    setting = set_up(case)
    if case.checked.cycle is None:
        return pose_setting(setting)
    if case.checked.cycle.twin:
        with naming(case.path):
            drawn = draw(setting, setting.window())
            return pose_setting(setting, drawn.observed(), drawn.fields())
    files = [table.file for table in case.checked.observations]
    return pose_setting(setting, {file: case.input_path(file.format(window=0)) for file in files})


class Check(NamedTuple):
    """One line of `assim check`: what, whether it passes (None: for information), and detail."""

    name: str
    passed: bool | None
    detail: str


def check_case(case: Case, screen: Screen) -> Exit:
    """Check a case and print a table."""
    if case.checked.cycle is not None:
        check_cycle(set_up(case))
    posed = pose_first(case)
    checks = []
    for check in check_posed(posed):
        checks.append(check)
        outcome = {True: "pass", False: "FAIL", None: "-"}[check.passed]
        screen.say(f"{outcome:>4}  {check.name:<24} {check.detail}")
    failed = [check.name for check in checks if check.passed is False]
    if failed:
        screen.say(f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}.")
        return Exit.CASE
    screen.say("Every check passed.")
    return Exit.DONE


def check_posed(posed: Posed) -> Iterator[Check]:
    """Every check on a case whose files could be read."""
    problem = posed.problem
    slots, steps = problem.window.slots, problem.window.steps
    yield Check("case file", True, f"{posed.case.path}, {len(posed.inputs)} files, units agree")
    yield Check("model contract", True, f"{type(problem.model).__name__}: keys, shapes and dtypes")
    span = _span(posed, *problem.window.edges[np.array([0, -1])])
    yield Check("window", None, f"{span}: {slots} slots of {_plural(steps, 'step')}")
    if (cycle := posed.case.checked.cycle) is not None:
        shift = _plural(cycle.shift or slots, "slot")
        windows = f"{_plural(cycle.windows, 'window')}, each {shift} later; this is the first"
        scheme = posed.case.checked.scheme(problem.model)
        with naming(posed.case.path):
            checked_cycle(posed.setting, problem, scheme)
        yield Check("cycle", True, f"{windows}; {type(scheme).__name__}")
        remarks = scheme.remarks(problem, posed.case.checked.plan())
        yield from (Check(name, None, detail) for name, detail in remarks.items())
    yield Check("control", None, f"{problem.size()} entries: {_control(problem)}")
    yield from _coverage(posed)
    yield from (Check("", None, note) for note in posed.notes())
    yield from _priors(problem)
    control = problem.control
    columns = sum(v.size for v in (*control.state.values(), *control.fixed.values()))
    yield Check("derivatives", None, problem.model.derivatives(columns))
    chi, finite = _finite_guess(posed)
    yield finite
    yield from (*_tolerances(problem, chi), *_bounds(problem))
    for result in step_checks(problem, chi):
        yield Check(*result) if isinstance(result, Trial) else _derivative(result)
    if missing := problem.model.lacks():
        what = f"not checked: the model brings no {' and no '.join(missing)} of its step"
        yield Check("derivatives of J", None, what)
        return
    yield _origin(problem)
    yield from (Check(f"effect of {name}", None, UNINFORMED) for name in uninformed(problem))
    for bent in bent_between_edges(problem, program(problem.simulate)(chi)):
        yield Check(f"times of {bent.name}", None, bent.words(posed.setting.date(bent.time)))
    yield from _derivatives(problem, chi)
    yield from _expense(problem)


def _finite_guess(posed: Posed) -> tuple[Any, Check]:
    """A first guess at which the model is finite: near where a run starts, or the best of draws."""
    problem, table = posed.problem, posed.case.checked
    simulate = program(problem.simulate)
    key = jax.random.split(jax.random.key(table.runtime.seed), 4)[0]  # as `analyse` has it
    given = posed.first_guess
    place = f"from the {'background' if given is None else 'first guess'}"
    number = table.minimiser.first_guesses() or most_first_guesses(problem.size())
    first, *others = first_guesses(problem.size(), number, key, given)
    trouble = non_finite(problem, simulate(first), posed.instruments)
    if trouble is None:
        near = first + 0.1 * jax.random.normal(jax.random.key(0), first.shape)
        usable = non_finite(problem, simulate(near)) is None
        return near if usable else first, Check("finite", True, place)
    fine = [chi for chi in others if non_finite(problem, simulate(chi)) is None]
    if fine:
        at = program(cost)
        least = min(fine, key=lambda chi: float(at(problem, chi)))
        share = f"at {len(fine)} of {len(others)} draws from the prior"
        detail = f"{share}, the best of which is checked; {place} {trouble}"
        return least, Check("finite", True, detail)
    raise NonFiniteError(f"{place}, {trouble}")


def _tolerances(problem: Problem, chi: Any) -> Iterator[Check]:
    """Tolerances of the integrator that are not far below the values of a field."""
    if not _has_tolerances(problem):
        return
    states = program(problem.trajectory)(chi).states
    for coarse in coarse_tolerances(problem.model, states):
        yield Check("tolerances", False if coarse.above else None, coarse.words)


def _has_tolerances(problem: Problem) -> bool:
    model = problem.model
    return model.absolute_tolerance() is not None or bool(model.tolerance_sizes())


def _bounds(problem: Problem) -> Iterator[Check]:
    """Fields whose prior has bounds that additive jumps may leave."""
    control, error = problem.control, problem.control.model_error
    if error is None or error.acts != "jump":
        return
    for name in sorted({*control.fields} & {*error.joint.fields()} - {*error.bounds}):
        ends = {"lower": -np.inf, "upper": np.inf}
        limits = {key: np.asarray(control.fields[name](jnp.asarray(w))) for key, w in ends.items()}
        keys = [f"{k} = {v.min():g}" for k, v in limits.items() if np.isfinite(v).all()]
        if keys:
            table, kind = f"bounds.{name}", "log" if len(keys) == 1 else "logit"
            what = f"the prior of {name} has bounds, and jumps can take it beyond them: with "
            what += f"{{ {', '.join(keys)} }} they, and their stdev, are those of its {kind}"
            yield Check(f"model_error.{table}", None, what)


def _origin(problem: Problem) -> Check:
    """J and its gradient where a run starts."""
    chi = jnp.zeros(problem.size())
    j, slope = jax.jit(lambda chi: (cost(problem, chi), gradient(problem, chi)))(chi)
    name, value = "cost at the background", float(j)
    if not np.isfinite(value):
        return Check(name, None, "not finite")
    norm = float(jnp.linalg.norm(slope))
    if not np.isfinite(norm):
        return Check(name, False, f"{value:.6g}, but its gradient is not finite")
    return Check(name, True, f"{value:.6g}, norm of its gradient {norm:.3g}")


def _coverage(posed: Posed) -> Iterator[Check]:
    """Observations of every instrument: used, and rejected by flag."""
    for number, (instrument, counts) in enumerate(
        zip(posed.all_instruments, posed.rejected().values(), strict=True)
    ):
        times, ahead = instrument.observations.points.times, _later(posed, number, instrument)
        (fate, used), *others = counts.items()
        left = [(why, n - ahead * (why == FLAGS[WINDOW])) for why, n in others]
        rejected = ", ".join(f"{n} {why}" for why, n in left if n)
        detail = f"{used} of {instrument.table.rows} {fate.replace('_', ' ')}, "
        detail += _span(posed, np.min(times), np.max(times))
        detail += f"; {ahead} in later windows" if ahead else ""
        detail += f"; rejected: {rejected}" if rejected else ""
        yield Check(f"observations {instrument.observations.name}", True, detail)


def _later(posed: Posed, number: int, instrument: Instrument) -> int:
    """Rows of a file of all windows that are outside the first because later ones have them."""
    table = posed.case.checked
    if table.cycle is None or by_window(table.observations[number].file):
        return 0
    window, rows = posed.problem.window, instrument.table
    edges, unit = np.asarray(table.whole(window).edges), posed.setting.labels.time_unit
    times = (rows.ends or rows.times).to_model(unit, window.reference, edges)
    end = edges[-1] + TOLERANCE * np.ptp(edges)
    ahead = (times > edges[window.slots]) & (times <= end)
    return int(np.sum((instrument.flags == WINDOW) & ahead))


def _priors(problem: Problem) -> Iterator[Check]:
    """Whether each prior contains the value that the model has by default."""
    for name, prior in problem.control.parameters.items():
        default = problem.control.fixed[name]
        w = np.asarray(prior.inverse(default))
        if np.isfinite(w).all():
            far = f"{float(np.abs(w).max()):.2g} prior standard deviations from its median"
            yield Check(f"prior of {name}", True, f"the model's default is {far}")
        else:  # a prior may well exclude a value that is not used
            what = f"excludes the model's default, {np.asarray(default)}"
            yield Check(f"prior of {name}", None, what)


def _derivatives(problem: Problem, chi: Any) -> Iterator[Check]:
    """The derivative checks, or that there is no derivative forward."""
    try:
        results = verify(problem, chi)
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
        what = (
            "there is one in reverse only (custom_vjp), and minimisers and posteriors take it "
            "forward, too: use jax.custom_jvp"
        )
        yield Check("tangent linear", False, what)
        return
    way_out = "; if a smaller rtol of the integrator mends it, its tolerances are too large"
    for result in results:
        check = _derivative(result)
        failed = not check.passed and _has_tolerances(problem)
        yield check._replace(detail=check.detail + way_out) if failed else check


def _derivative(result: TaylorTest | IdentityTest) -> Check:
    if isinstance(result, IdentityTest):
        detail = f"relative difference {result.relative:.1e} (at most {result.tolerance:.0e})"
    elif result.linear:
        detail = "linear: the remainder is rounding error"
    else:
        detail = f"Taylor remainder of slope {result.slope:.3f} over {result.decades:g} decades"
    return Check(result.name, result.passed, detail)


def _expense(problem: Problem) -> Iterator[Check]:
    """Memory and time of J and its gradient."""
    forward, gradient_of = (_timed(problem, function) for function in (cost, gradient))
    if gradient_of.memory:
        yield Check("memory", None, f"{_bytes(gradient_of.memory)} for one gradient")
    ratio = gradient_of.seconds / forward.seconds
    steps = problem.window.slots * problem.window.steps
    by_step = problem.model.derivatives(problem.size()) == THROUGH_STEPS
    each = lambda seconds: f" ({1e6 * seconds / steps:.3g} µs a step)" if by_step else ""  # noqa: E731
    detail = (
        f"J in {forward.seconds:.2g} s{each(forward.seconds)}, its gradient in "
        f"{gradient_of.seconds:.2g} s{each(gradient_of.seconds)}: {ratio:.2g} times J; compiled in "
        f"{gradient_of.compiling:.1f} s"
    )
    if by_step and (ratio > DEAR or gradient_of.compiling > LONG):
        detail += _WAYS_OUT
    yield Check("cost", None, detail)


class _Timed(NamedTuple):
    compiling: float  # s
    seconds: float
    memory: float  # bytes


def _timed(problem: Problem, function: Callable) -> _Timed:
    chi = jnp.zeros(problem.size())
    begin = time.perf_counter()
    compiled = jax.jit(partial(function, problem)).lower(chi).compile()
    compiling = time.perf_counter() - begin
    memory: Any = compiled.memory_analysis()
    names = ("temp_size_in_bytes", "argument_size_in_bytes", "output_size_in_bytes")
    total = sum(getattr(memory, name, 0) for name in names)
    jax.block_until_ready(compiled(chi))
    return _Timed(compiling, min(_seconds(compiled, chi) for _ in range(3)), total)


def _seconds(function: Any, chi: Any) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(function(chi))
    return time.perf_counter() - begin


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} GiB"


def _control(problem: Problem) -> str:
    control = problem.control
    kinds = (control.fields, control.parameters, control.scales, control.biases)
    named = [*control.covariance.fields(), *(name for kind in kinds for name in kind)]
    if (error := control.model_error) is not None:
        what = "later states" if control.later else "model errors"
        named.append(f"{control.jumps} {what} of {', '.join(error.joint.fields())}")
    return ", ".join(named)


def _span(posed: Posed, first: Any, last: Any) -> str:
    return f"{posed.setting.date(first)} to {posed.setting.date(last)}"


def check_finished(directory: Path, screen: Screen) -> Exit:
    """Repeat how a run ended: its minimisation, the verdict on its posterior, and what is odd.

    What failed is told, too, and forecasts that an analysis made since has left behind.

    Raises:
        ReportError: no finished run is there.
    """
    with finished_run(directory) as run:
        screen.say(run.title(), "bold")
        summary = run.summary
        screen.notes(map(str, summary.get("notes", ())))
        if is_cycle(summary):
            screen.cycled(summary)
            screen.failed(summary.get("failures", {}))
            return Exit.DONE
        screen.say(f"{summary['status'].replace('_', ' ').capitalize()}. {summary['advice']}")
        for name, about in methods_of(summary).items():
            screen.say(f"{name} ({about['verdict']}): {about['advice']}")
        if summary["posterior"] is None:
            screen.say("No posterior was asked for.")
        screen.fit(summary.get("fit"))
        screen.failed(summary["failures"])
        if stale := stale_forecast(directory):
            screen.say(f"forecast.json is stale: {stale}.", "bold red")
    return Exit.DONE


def _plural(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
