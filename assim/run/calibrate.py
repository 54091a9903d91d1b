"""Simulation-based calibration of a case: `assim calibrate`."""

import time
from pathlib import Path

import jax

from assim.analysis.methods import base_settings, named
from assim.case.case import Case
from assim.case.failure import CaseError, Exit, Fault, NonFiniteError
from assim.case.names import names
from assim.case.plugins import construct
from assim.case.pose import Posed, pose
from assim.files.write.calibration import calibration_dataset
from assim.findings.calibration import FAILED, Calibration, calibrate
from assim.run.terminal.directory import Results, writing
from assim.run.terminal.screen import Screen
from assim.solve.posterior.ensemble import AbstractPosterior

FILE, PICTURE = "calibration.nc", "calibration.png"


def calibrate_case(
    case: Case, number: int, method: str | None, out: Path | None, screen: Screen
) -> Exit:
    """Calibrate a method, of the case or built-in, on data simulated from the case's own prior."""
    case.refuse_cycle("calibrate")
    posed = pose(case)
    chosen = _method(posed, method)
    results = Results(case, case.directory(out), posed.inputs, kind="calibration")
    with writing(results, screen, (FILE, PICTURE)):
        screen.say(f"{case.title}: calibration of {chosen.name()}", "bold")
        calibration = _calibrated(posed, chosen, number, screen)
        _show(calibration, screen)
        results.dataset("calibration", calibration_dataset(calibration), "calibration")
        results.finish()
        _draw(results, screen)
    return Exit.NOT_CONVERGED if calibration.failed > FAILED * number else Exit.DONE


def _method(posed: Posed, name: str | None) -> AbstractPosterior:
    """The one method to calibrate, its name in letters of either case."""
    methods = named(posed.posterior)
    own = {} if isinstance(methods, str) else methods
    if name is None:
        if len(own) == 1:
            return next(iter(own.values()))
        several = f"the case has {', '.join(own) or 'none'}"
        if isinstance(methods, str):
            several = f"{methods!r} may take another for every data set"
        what = f"one method is calibrated at a time, and {several}"
        raise CaseError([Fault("posterior", f"{what}; choose one, as with --method laplace")])
    tables = posed.case.checked.posterior  # of two of one class, the first
    by_class = zip(reversed(tables), reversed(own.values()), strict=False)
    known = {table.use.lower(): method for table, method in by_class}
    known |= {key.lower(): method for key, method in own.items()}
    if name.lower() in known:
        return known[name.lower()]
    use = {built_in.lower(): built_in for built_in in names("posterior")}.get(name.lower(), name)
    method: AbstractPosterior = construct("posterior", {"use": use}, "--method", posed.case.folder)
    return method


def _calibrated(
    posed: Posed, method: AbstractPosterior, number: int, screen: Screen
) -> Calibration:
    seed = posed.case.checked.runtime.seed
    begin = time.perf_counter()

    def progress(done: int, total: int) -> None:
        screen.say(f"{done:>5} of {total} simulations, {time.perf_counter() - begin:.0f} s")

    try:
        return calibrate(
            posed.problem,
            method,
            number,
            jax.random.key(seed),
            minimiser=posed.minimiser,
            base=base_settings(named(posed.posterior)),
            progress=progress,
        )
    except ArithmeticError as error:
        raise NonFiniteError(str(error)) from error
    except ValueError as error:
        raise posed.case.fault("", str(error)) from error


def _show(calibration: Calibration, screen: Screen) -> None:
    """A table of quantities, and the verdict."""
    levels = list(calibration.coverage)
    rows = [
        (
            name,
            f"{calibration.p_values[k]:.2g}",
            *(f"{100 * calibration.coverage[level][k].covered:.0f} %" for level in levels),
            f"{calibration.ecdf_p_values[k]:.2g}" + ("" if calibration.inside[k] else " outside"),
        )
        for k, name in enumerate(calibration.names)
    ]
    screen.say()
    shares = (f"within {100 * level:.0f} %" for level in levels)
    screen.table(("quantity", "p of bins", *shares, "p of ECDF"), rows)
    screen.say(calibration.verdict())
    screen.say(
        f"By their own checks {calibration.certified} posteriors are certified and "
        f"{calibration.doubtful} doubtful."
    )
    for count, what in (
        (calibration.redrawn, "draws of the prior, at which the model fails, were replaced."),
        (calibration.failed, "simulations have no posterior."),
        (calibration.unsettled, "simulations were not minimised to the tolerance."),
    ):
        if count:
            screen.say(f"{count} {what}")


def _draw(results: Results, screen: Screen) -> None:
    """The picture where it can be drawn; otherwise a line says why there is none."""
    try:
        from assim.show.calibration import draw_calibration

        png = draw_calibration(results.directory / FILE).png
    except ModuleNotFoundError as error:
        way = f"it needs {error.name}, which is not installed: pip install {error.name}"
        screen.say(f"There is no {PICTURE}: {way}")
        return
    except Exception as error:  # a picture that fails costs no simulations
        screen.say(
            f"{PICTURE} could not be drawn ({type(error).__name__}: {error}); {FILE} stands. "
            "Please report it."
        )
        return
    results.bytes(PICTURE, png)
