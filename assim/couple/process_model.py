"""A model that is a program, run once a slot, as a model of the engine."""

import os
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.arguments import check_names, hint
from assim.couple import primitives
from assim.couple.foreign import DIFFERENCES, check_given, defaults
from assim.couple.host_model import described
from assim.couple.process import Process, RunFailure
from assim.couple.program import FIELDS, Program, fields_of, filled
from assim.cpus import cpus
from assim.files.read.restarts import Land, missing_points
from assim.problem.arrays import Array, Labels, Params, State
from assim.problem.model import AbstractDynamics, Trial, scan_slots, whole_steps

Words = str | Sequence[str]
StrPath = str | os.PathLike[str]


class ProcessModel(AbstractDynamics):
    """x(t_(k+1)) by a program that is run once a slot, from restart file to restart file.

    For every member and slot an empty work directory is made, the state is written into the file
    `input`, the command is run there, and the state is read from the file `output`. A run that
    takes too long, returns anything but 0, or leaves no file, half of one, another shape or
    numbers that are not finite has failed: the member is NaN from there on, its work directory is
    kept, and `failures` tells why. Derivatives there are none, but by differences of runs.

    In `command` and `templates` fields in braces are filled in, {start} or {start:.3f}: `input` and
    `output`, the names of the restart files; `start`, `end` and `duration` of the slot, in the
    labels' unit of time; `member`; `folder`, from which relative paths are; and parameters that
    are numbers, by name.

    Args:
        command: words of the command; a text is taken apart as by a shell, but no shell runs it.
        labels: dimensions, units and long names of fields and parameters.
        dt: the program's own time step, in the labels' unit: slots are whole numbers of it.
        parameters: defaults; whatever is estimated overrides them by name.
        launcher: words before the command: "mpirun -n 4", "srun", a container's.
        input: name of the restart file that the program reads.
        output: name of that which it writes.
        variables: of fields and parameters in the restart file, by name; fields that are not here
            have their own name, parameters are written only if they are here.
        outputs: the same of fields in the file that it writes, where that has other names.
        restart: a restart file of the program, of which every run gets a copy with the state in it;
            None for a file that holds the state and nothing else.
        files: further files that every run gets a copy of: paths, or paths by name.
        templates: text files that every run gets with fields filled in, likewise.
        workers: runs at once; as many as there are cores where not given.
        timeout: seconds that a run may take; None for any time.
        clock: variable of the restart files that has the time of the state: it is set in the first,
            in its own unit and calendar, and must be the slot's end in the second.
        reference: date at which the model's time is zero, for `clock` and for dates in texts, as
            {start:%Y-%m-%d}.
        fill: value of the state at points where `restart` has none, as an ocean on land.
        scratch: folder for work directories; None for the system's own.
        tangent: "differences" for differences of runs, four for one direction; None for none.
        folder: from which relative paths are; the current one where not given.

    Raises:
        ValueError: files that there are not, names that do not go together, or a parameter that
            the program never gets to know.
    """

    written: ClassVar[str] = "step"
    process: Process = eqx.field(static=True)
    dt: float = eqx.field(static=True)
    parameters: Params

    def __init__(
        self,
        command: Words,
        labels: Labels,
        dt: float,
        parameters: Params | None = None,
        *,
        launcher: Words = (),
        input: str = "input.nc",
        output: str = "output.nc",
        variables: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        restart: StrPath | None = None,
        files: Sequence[StrPath] | Mapping[str, StrPath] = (),
        templates: Sequence[StrPath] | Mapping[str, StrPath] = (),
        workers: int | None = None,
        timeout: float | None = None,
        clock: str | None = None,
        reference: str | None = None,
        fill: float | None = None,
        scratch: StrPath | None = None,
        tangent: str | None = None,
        folder: StrPath = ".",
    ) -> None:
        base = Path(folder).absolute()
        names = {name: name for name in labels.state} | dict(variables or {})
        left = {name: names[name] for name in labels.state} | dict(outputs or {})
        like, place = (None if path is None else base / path for path in (restart, scratch))
        others = _by_name(files, base), _by_name(templates, base), base, timeout
        words = (*_words(launcher), *_words(command))
        land = _land(like, labels, names, fill)
        own = (words, labels, input, output, names, left, like, *others)
        program = Program(*own, clock, reference, land)
        workers = cpus() if workers is None else workers
        _check(program, dt, workers, place, tangent)
        called = f"ProcessModel({' '.join(Path(word).name for word in _words(command)[:2])})"
        self.process = Process(called, program, workers, place, tangent == DIFFERENCES)
        self.dt = float(dt)
        self.parameters = defaults("ProcessModel", labels, parameters)

    def labels(self) -> Labels:
        """Those that it was made with."""
        return self.process.labels

    def step(self, x: State, theta: Params, t: Array) -> State:
        """One run over `dt` from time `t`."""
        return self._run(x, theta, jnp.stack([jnp.asarray(t, float), t + self.dt]))

    def states(self, x: State, theta: Params, edges: Array, steps: int) -> State:
        """One run a slot; how many steps that has is the program's own affair.

        Raises:
            ModelContractError: a field or parameter that is not there, of another shape than
                `labels` says, or not in double precision.
        """
        del steps

        def advance(ends: tuple[Array, Array], x: State, index: Array) -> tuple[State, None]:
            del index
            return self._run(x, theta, jnp.stack(ends)), None

        return scan_slots(advance, x, edges, 1)

    def _run(self, x: State, theta: Params, span: Array) -> State:
        check_given(self.process, x, theta)
        return primitives.step(self.process, x, theta, jnp.asarray(span, float))

    def time_step(self) -> float | None:
        """`dt`."""
        return self.dt

    def slot_steps(self, length: float) -> int:
        """Number of steps of `dt` in a slot: its length must be a multiple of `dt`."""
        return whole_steps(self.process.name, length, self.dt)

    def derivatives(self, columns: int) -> str:
        """None, or by differences."""
        del columns
        if self.process.by_differences:
            return "by differences of runs, four for one direction, and no adjoint"
        return "none: a program brings neither a tangent nor an adjoint"

    def lacks(self) -> tuple[str, ...]:
        """What a program does not bring."""
        return ("adjoint",) if self.process.by_differences else ("tangent", "adjoint")

    def code_files(self) -> tuple[Path, ...]:
        """Those that every run gets."""
        return self.process.program.own_files()

    def failures(self) -> tuple[RunFailure, ...]:
        """The last runs that failed, oldest first."""
        return tuple(self.process.failures)

    def may_end_early(self) -> str:
        """That runs failed, and why the last of them did, where some did."""
        return self.process.words()

    def trials(self, x: State, theta: Params, t: float) -> Iterator[Trial]:
        """A run repeated, several at once, and timed."""
        process = self.process
        values = {n: np.asarray(v) for n, v in x.items()}
        values |= {n: np.asarray(theta[n]) for n in process.parameters}
        span, begin = (t, t + self.dt), time.perf_counter()
        first = process.run(values, span)
        taken = time.perf_counter() - begin
        if not all(np.all(np.isfinite(value)) for value in first.values()):
            yield Trial("run", False, process.words() or "the state where it starts is not finite")
            return
        several = np.stack([t, t + self.dt]), max(2, process.workers)
        given = [*(values[n] for n in (*process.fields, *process.parameters)), several[0]]
        together = process.of_members("step", several[1], [True] * len(given), given)
        pairs = zip(first.values(), together, strict=True)
        same = [np.array_equal(own, once) for once, members in pairs for own in members]
        detail = f"{several[1]} runs at once give the same numbers"
        wrong = "gives other numbers when run again, or beside others: it shares files or random"
        yield Trial("same again", all(same), detail if all(same) else f"{wrong} numbers")
        yield Trial("time of a run", None, f"{taken:.3g} s, for one step of dt = {self.dt:g}")


def process_model(
    command: str | list[str],
    dt: float,
    fields: Mapping[str, Mapping[str, Any]],
    coordinates: Mapping[str, Mapping[str, Any]] | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    time_unit: str = "1",
    *,
    launcher: str | list[str] = "",
    input: str = "input.nc",
    output: str = "output.nc",
    variables: dict[str, str] | None = None,
    outputs: dict[str, str] | None = None,
    restart: str | None = None,
    files: list[str] | dict[str, str] | None = None,
    templates: list[str] | dict[str, str] | None = None,
    workers: int | None = None,
    timeout: float | None = None,
    clock: str | None = None,
    fill: float | None = None,
    scratch: str | None = None,
    tangent: str | None = None,
    case_folder: str = ".",
    case_start: str | None = None,
) -> ProcessModel:
    """A `ProcessModel` that a case describes, `use = "ProcessModel"`.

    Args:
        command: as `ProcessModel` has it, and so what is not told here.
        dt: time step, in `time_unit`.
        fields: by name the table of each, as `HostModel` has it, and so the next three.
        coordinates: by dimension its positions.
        parameters: by name the table of each.
        time_unit: as `assim.Labels` has it.
        launcher: words before the command.
        input: name of the restart file that the program reads.
        output: name of that which it writes.
        variables: of fields and parameters in the restart file.
        outputs: of fields in that which it writes.
        restart: a restart file of the program.
        files: further files that every run gets.
        templates: text files with fields to fill in.
        workers: runs at once.
        timeout: seconds that a run may take.
        clock: variable of the restart files that has the time.
        fill: value of the state where `restart` has none.
        scratch: folder for work directories.
        tangent: "differences", or nothing.
        case_folder: from which relative paths are.
        case_start: when the case's window starts, where the model's time is zero if that is a date.

    Raises:
        ValueError: as `ProcessModel`.
    """
    tables = (fields, coordinates or {}, parameters or {}, time_unit)
    labels, defaults = described("ProcessModel", *tables)
    names: dict[str, Any] = {"input": input, "output": output, "variables": variables}
    names |= {"outputs": outputs, "restart": restart, "scratch": scratch, "folder": case_folder}
    names |= {"files": files or (), "templates": templates or ()}
    how: dict[str, Any] = {"launcher": launcher, "workers": workers, "timeout": timeout}
    how |= {"clock": clock, "fill": fill}
    how["reference"] = None if time_unit == "1" else case_start
    return ProcessModel(command, labels, dt, defaults, tangent=tangent, **names, **how)


def _words(given: Words) -> tuple[str, ...]:
    return tuple(shlex.split(given) if isinstance(given, str) else map(str, given))


def _by_name(given: Sequence[StrPath] | Mapping[str, StrPath], base: Path) -> dict[str, Path]:
    """Paths by the name that each gets in a work directory."""
    named = given if isinstance(given, Mapping) else {Path(path).name: path for path in given}
    return {name: base / path for name, path in named.items()}


# ---- what is wrong with a program before it runs -------------------------------------------------


def _check(
    program: Program, dt: float, workers: int, scratch: Path | None, tangent: str | None
) -> None:
    """Refuse what cannot run."""
    if not program.command:
        raise ValueError("ProcessModel: command is empty; give the words that start the program")
    if not dt > 0:
        raise ValueError(f"ProcessModel: dt must be positive, got {dt}")
    if workers < 1:
        raise ValueError(f"ProcessModel: workers must be at least 1, got {workers}")
    if program.timeout is not None and not program.timeout > 0:
        raise ValueError(f"ProcessModel: timeout must be positive, got {program.timeout}")
    if tangent not in (None, DIFFERENCES):
        raise ValueError(f'ProcessModel: tangent must be "{DIFFERENCES}" or None, got {tangent!r}')
    if scratch is not None and not scratch.is_dir():
        raise ValueError(f"ProcessModel: scratch: there is no folder {scratch}; make it first")
    _check_files(program)
    _check_variables(program)
    _check_fields(program)
    _check_command(program)


def _land(like: Path | None, labels: Labels, names: Mapping[str, str], fill: float | None) -> Land:
    """Points at which a program's restart file has no values."""
    fields = {name: variable for name, variable in names.items() if name in labels.state}
    if like is None or not like.is_file():
        points = {}
    else:
        points = missing_points(like, labels, fields)
    if points and fill is None:
        name, where = next(iter(points.items()))
        raise ValueError(
            f"ProcessModel: {like}: {names[name]} is missing at {where.sum()} of {where.size} "
            "points; say by `fill` what the state has there, as fill=0.0, if they are land"
        )
    if fill is not None and not points:
        raise ValueError(
            "ProcessModel: fill is for points where the file `restart` has no values, and there "
            "are none; leave it out"
        )
    return Land(points, 0.0 if fill is None else float(fill))


def _check_files(program: Program) -> None:
    """Every file that a run gets is there, and has a name of its own in the work directory."""
    for path in program.own_files():
        if not path.is_file():
            raise ValueError(f"ProcessModel: there is no file {path}")
    names = [program.input, program.output, *program.files, *program.templates]
    for name in names:
        if Path(name).name != name or name in ("", ".", ".."):
            raise ValueError(
                f"ProcessModel: {name!r} must be the name of a file in the work directory, without "
                "a folder"
            )
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(
            f"ProcessModel: {twice[0]!r} is the name of two files of a run; input, output, files "
            "and templates must all differ"
        )


def _check_variables(program: Program) -> None:
    """Names of the maps are the model's, and no two are one variable."""
    labels = program.labels
    known = [*labels.state, *labels.parameters]
    for kind, names, may in (
        ("variables", program.variables, known),
        ("outputs", program.outputs, [*labels.state]),
    ):
        check_names("ProcessModel", f"{kind}: a variable's name", *names.values())
        for name in names:
            if name not in may:
                raise ValueError(f"ProcessModel: {kind}: no {name!r}; {hint(name, may)}")
        if len(set(names.values())) < len(names):
            raise ValueError(f"ProcessModel: {kind}: two names stand for one variable: {names}")
    dims = {dim for name in program.variables for dim in _dims(labels, name)}
    if program.like is None and (both := dims & set(program.variables.values())):
        raise ValueError(
            f"ProcessModel: {sorted(both)[0]!r} is a dimension of the restart file, and cannot be "
            "the variable of a field, too; give it another name in variables"
        )


def _dims(labels: Labels, name: str) -> tuple[str, ...]:
    return {**labels.parameters, **labels.state}[name].dims


def _check_fields(program: Program) -> None:
    """Every field in braces can be filled, and every parameter is told to the program."""
    scalars = program.scalars()
    if clash := [name for name in scalars if name in FIELDS]:
        raise ValueError(
            f"ProcessModel: the parameter {clash[0]!r} has the name of a field of commands; give "
            "it another name"
        )
    texts = program.texts()
    values: dict[str, Any] = dict.fromkeys((*FIELDS, *scalars), 0.0)
    values |= {"folder": "", "input": "", "output": "", "member": 0}
    values |= {"start": program.moment(0.0), "end": program.moment(0.0)}
    for called, text in texts:
        filled(text, values, f"ProcessModel: {called}")
    told = {name for _, text in texts for name in fields_of(text)} | set(program.variables)
    if untold := [name for name in program.labels.parameters if name not in told]:
        way = f"name its variable in variables, or write {{{untold[0]}}} into command or a template"
        raise ValueError(
            f"ProcessModel: the program never gets to know the parameter {untold[0]!r}; {way}"
        )


def _check_command(program: Program) -> None:
    """What is to be started is there."""
    word = program.command[0].replace("{folder}", str(program.folder))
    if fields_of(word) or Path(word).name in program.files:
        return
    if shutil.which(word) is None:
        raise ValueError(
            f"ProcessModel: {word!r} is no program that can be started; give a name on the PATH, "
            "an absolute path, {folder}/… for one beside the case, or ./… for one among files"
        )
