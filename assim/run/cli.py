"""The command line. Whatever is slow to import is imported inside the commands."""

import os
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import click

from assim.run.terminal.program import Program

_STARTED = time.perf_counter()
_CASE = click.argument("case", type=click.Path(path_type=Path), metavar="CASE.toml")
_SET = click.option(
    "--set", "assignments", multiple=True, metavar="a.b=value",
    help="Override a value of the case; list items by number: observations.0.error.stdev=0.2.",
)  # fmt: skip
_QUIET = click.option("--quiet", is_flag=True, help="Print nothing but errors.")
_OUT = click.option("--out", type=click.Path(path_type=Path), help="Directory for the results.")


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="assim")
def main() -> None:
    """Data assimilation: from a model and observations to an analysis with its uncertainty.

    A case is one TOML file. Exit codes: 0 done, 1 internal error, 2 usage or case file, 3 input
    data or output directory, 4 not converged, 5 model not finite, 6 not certified (--strict), 7
    something after the minimum, or a member of a sweep, failed, 130 interrupted.
    """


@main.command()
@_CASE
@_OUT
@_SET
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with a cycle that was stopped, as a window does in any case.",
)
@click.option(
    "--watch",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Wait in DIR for the observation files of every window of a cycle.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds to wait for those of one window.",
)
@click.option("--strict", is_flag=True, help="Exit with 6 where the result is not certified.")
@click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Append progress and figures to FILE, a line of JSON for each event.",
)
@_QUIET
def run(
    case: Path,
    out: Path | None,
    assignments: tuple[str, ...],
    resume: bool,
    watch: Path | None,
    timeout: float,
    strict: bool,
    log: Path | None,
    quiet: bool,
) -> int:
    """Run a case: one window or a cycle of them, from its files to finished files."""
    from assim.files.log import logging
    from assim.run.terminal.runtime import following

    with logging(log, {"case": str(case), "set": assignments}) as lines, ExitStack() as stack:
        read = _read(case, assignments, together=True)
        if follows := stack.enter_context(following(read.results(out))):
            out, quiet = follows, True
            lines.stop()
        lines.begin()
        screen = _screen(quiet, lines)
        stack.enter_context(screen.hearing())
        if "cycle" in read.tree:
            if strict:
                raise click.UsageError("--strict is for a single window, and this case is a cycle")
            from assim.run.cycle.cycle import run_cycle

            code = run_cycle(read, out, screen, resume=resume, watched=watch, timeout=timeout)
        elif watch:
            raise click.UsageError("--watch is for a cycle, and this case is a single window")
        else:
            from assim.run.window import run_case

            code = run_case(read, out, screen, _STARTED, strict)
        lines.event("end", exit=int(code), seconds=time.perf_counter() - _STARTED)
    return code


@main.command()
@_CASE
@_SET
def check(case: Path, assignments: tuple[str, ...]) -> int:
    """Check a case without running it: files, units, coverage, derivatives, memory, cost.

    Of a directory with finished results it repeats what they say of themselves.
    """
    if case.is_dir() and ((case / "summary.json").exists() or not any(case.glob("*.toml"))):
        from assim.run.check import check_finished

        return check_finished(case, _screen())
    read = _read(case, assignments)
    from assim.run.check import check_case

    return check_case(read, _screen())


@main.command()
@_CASE
@click.option(
    "--n",
    "number",
    type=click.IntRange(min=10),
    default=200,
    show_default=True,
    help="Simulations.",
)
@click.option(
    "--method", help="A method of the case by its name, or a built-in one such as Laplace."
)
@_OUT
@_SET
@_QUIET
def calibrate(
    case: Path,
    number: int,
    method: str | None,
    out: Path | None,
    assignments: tuple[str, ...],
    quiet: bool,
) -> int:
    """Check error bars on data simulated from the case's own prior: ranks must be uniform.

    Exits with 4 where more than 5 in 100 simulations have no posterior.
    """
    read = _read(case, assignments)
    from assim.run.calibrate import calibrate_case

    return calibrate_case(read, number, method, out, _screen(quiet))


@main.command()
@click.argument("cases", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--tempered", is_flag=True, help="Temper from the prior, too: slow.")
@_OUT
@_SET
@_QUIET
def compare(
    cases: tuple[Path, ...],
    tempered: bool,
    out: Path | None,
    assignments: tuple[str, ...],
    quiet: bool,
) -> int:
    """Compare two or more CASES of the same observations by their evidence."""
    if len(cases) < 2:
        raise click.UsageError("compare needs two cases or more")
    if len({path.resolve() for path in cases}) < len(cases):
        raise click.UsageError("a case is named twice")
    read = [_read(case, assignments) for case in cases]
    from assim.run.compare import compare_cases

    return compare_cases(read, tempered, out, _screen(quiet))


@main.command()
@click.argument("cases", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--over",
    multiple=True,
    metavar="a.b=V1,V2,...",
    help="Run with each of these values of the case; repeated, with all combinations.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory for all.")
@click.option(
    "--processes", type=click.IntRange(min=1), help="How many run at a time. [default: the CPUs]"
)
@click.option("--task", type=click.IntRange(min=1), metavar="I", help="Run part I of N alone.")
@click.option("--of", "tasks", type=click.IntRange(min=1), metavar="N", help="Number of parts.")
@click.option("--dask", metavar="ADDRESS", help="Run on a Dask cluster, which sees these folders.")
@click.option("--dry-run", is_flag=True, help="Run nothing: say what is done and what is left.")
@_SET
@_QUIET
def sweep(quiet: bool, **asked: Any) -> int:
    """Run many cases, each in a process of its own, and make one table of them: sweep.csv.

    What is finished, and of the same case and inputs, is not run again; what has failed is. Exits
    with 7 where some of those to be run here have failed.
    """
    if (asked["task"] is None) != (asked["tasks"] is None):
        raise click.UsageError("--task and --of go together: part I of N")
    if asked["tasks"] is not None and asked["task"] > asked["tasks"]:
        raise click.UsageError(f"--task: there are {asked['tasks']} parts, got {asked['task']}")
    if asked["dask"] and asked["processes"]:
        raise click.UsageError("the Dask cluster says how many run at a time; drop --processes")
    environment = dict(os.environ)  # of the members: JAX keeps to the CPU here
    _configure()
    from assim.run.sweep import Request, run_sweep

    screen = _screen(quiet)
    return run_sweep(Request(**asked, environment=environment), screen.say, screen.table)


@main.command()
@_CASE
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Directory with the results of the case. [default: the case's own]",
)
@click.option(
    "--slots",
    type=click.IntRange(min=1),
    help="Length of the forecast in slots. [default: the slots of a window]",
)
@click.option(
    "--until", metavar="TIME", help="End of the forecast, a date or a number, in whole slots."
)
@click.option("--members", type=click.IntRange(min=2), help="Number of members. [default: 100]")
@click.option(
    "--seed", type=click.IntRange(min=0), help="Seed of all draws. [default: the case's seed]"
)
@click.option("--keep-members", is_flag=True, help="Write every member to forecast.nc.")
@click.option(
    "--observations",
    multiple=True,
    metavar="[NAME=]FILE",
    help="File of later observations to score the forecast against, of one instrument by its name "
    "or of all whose variable it has; may be given several times.",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of the true trajectory to score the forecast against.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Directory for the forecast. [default: that of the results]",
)
@_SET
@_QUIET
def forecast(case: Path, assignments: tuple[str, ...], quiet: bool, **asked: Any) -> int:
    """Run members of the posterior on from finished results of CASE: mean, spread and scores."""
    if asked["slots"] is not None and asked["until"] is not None:
        raise click.UsageError("give either --slots or --until, not both")
    read = _read(case, assignments)
    from assim.run.forecast import ForecastRequest, forecast_case

    screen = _screen(quiet)
    with screen.hearing():
        return forecast_case(read, ForecastRequest(**asked), screen)


@main.command()
@_CASE
@_SET
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
def twin(case: Path, assignments: tuple[str, ...], force: bool) -> int:
    """Make truth, observations and background from the case's own model and errors."""
    read = _read(case, assignments)
    from assim.run.twin.twin import make_twin

    paths = make_twin(read, force)
    _screen().written(read.folder, paths)
    return 0


@main.command()
@click.argument("model")
@click.option("--out", type=click.Path(path_type=Path), help="File to write; the screen if absent.")
def init(model: str, out: Path | None) -> int:
    """Write a commented case.toml to start from, for a twin experiment with MODEL.

    MODEL is a name that `assim info` lists, "module:Class" or "file.py:Class".
    """
    from assim.run.template import write_template

    _configure()
    return write_template(model, out, _screen().say)


@main.command()
@click.argument("directory", type=click.Path(path_type=Path))
def report(directory: Path) -> int:
    """Draw report.html and its pictures from the finished files in DIRECTORY."""
    from assim.files.record import alone
    from assim.show.report import write_report

    with alone(directory) if directory.is_dir() else nullcontext():
        paths = write_report(directory)
    _screen().written(directory, paths)
    return 0


@main.group()
def coupling() -> None:
    """What programs in other languages need to hold the engine."""


@coupling.command("build")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory for it.")
def build_coupling(out: Path) -> int:
    """Compile libassim with its C header, Fortran module, pkg-config and CMake packages."""
    from assim.couple.build import build
    from assim.files.netcdf import package_version

    screen, out = _screen(), out.resolve()
    screen.written(out, build(out, package_version(), screen.say))
    return 0


@main.command()
def info() -> int:
    """Print versions, devices, the compile cache, and every built-in name that `use` may have."""
    from assim.run.terminal.runtime import info_lines

    _configure(device=os.environ.get("JAX_PLATFORMS", "any"))
    _screen().say("\n".join(info_lines()))
    return 0


def _read(path: Path, assignments: tuple[str, ...], together: bool = False) -> Any:
    """The case, with JAX set up as it says; processes launched `together` share its devices."""
    from assim.case.case import read_case

    case = read_case(path, assignments)
    runtime = case.runtime
    _configure(runtime.device, runtime.precision, runtime.mesh, together)
    return case


def _configure(device: str = "cpu", *settings: Any) -> None:
    from assim.run.terminal.runtime import configure

    configure(device, *settings)


def _screen(quiet: bool = False, log: Any = None) -> Any:
    from assim.run.terminal.screen import Screen

    return Screen(quiet=quiet, log=log)


if __name__ == "__main__":
    main()
