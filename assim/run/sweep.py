"""`assim sweep`: many cases, or one with many settings, each run on its own; a table of all."""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from assim.case.case import Case, read_case
from assim.case.failure import CaseError, Exit, Fault, Interrupted
from assim.case.names import is_built_in_only
from assim.case.setting import set_up
from assim.case.toml import inline, listed_values, parse_value
from assim.files.members import TABLE, MemberFolder, check_table, figures, sha256, write_table
from assim.files.netcdf import hash_file
from assim.files.read.manifest import NAME as MANIFEST
from assim.run.processes import (
    Job,
    Record,
    Records,
    cpus,
    interruptible,
    run_here,
    run_on_dask,
)

_WORD, _LONGEST = 40, 200  # characters of a value, and of a name; file systems take 255 bytes
_SHOWN = 50  # rows on the screen
_LEFT = "not run"
_FIGURES = {"J": "cost", "χ² p": "chi_squared_p_value", "trust": "trust", "fit": "fit"}
Say = Callable[..., None]


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    cases: tuple[Path, ...]
    assignments: tuple[str, ...]  # "a.b=value" for all members
    over: tuple[str, ...]  # "a.b=V1,V2", a key with the values that it is to have
    out: Path
    processes: int | None  # at a time; None for as many as there are CPUs
    task: int | None  # the part of `tasks` that is run; None for all
    tasks: int | None
    dask: str | None  # address of a scheduler
    dry_run: bool
    environment: Mapping[str, str]  # of the members

    def is_own(self, number: int) -> bool:
        """Whether the member of this number, from 0, is of the part that is run."""
        return self.tasks is None or number % self.tasks + 1 == self.task


@dataclass(frozen=True)
class Member:
    """One case with its settings."""

    name: str  # of its folder
    case: Case
    assignments: tuple[str, ...]  # all that the command line sets
    settings: Mapping[str, str]  # those that differ from member to member
    folder: MemberFolder

    def ended(self) -> Record | None:
        """How it ended; None where it has not, or as another case or with other inputs."""
        case = self.case
        return self.folder.ended(case.text(), lambda name: _digest(case.input_path(name)))

    def is_done(self) -> bool:
        """Whether there is nothing left to run."""
        record = self.ended()
        return record is not None and record.get("exit") == Exit.DONE

    def check(self) -> None:
        """See that it can be made, but for its data, and where its results are to go.

        Raises:
            CaseError: it cannot.
        """
        set_up(self.case)
        self.case.directory(self.folder.directory)

    def job(self) -> Job:
        """The same as a process."""
        case, directory = str(self.case.path.absolute()), self.folder.directory.absolute()
        options = itertools.chain.from_iterable(("--set", text) for text in self.assignments)
        resume = ["--resume"] if (directory / MANIFEST).exists() else []
        refusing = ["--no-plugins"] if is_built_in_only() else []
        record = {
            "member": self.name,
            "case": case,
            "set": self.assignments,
            "config_sha256": sha256(self.case.text()),
            "inputs": {name: _digest(path) for name, path in self.case.inputs().items()},
        }
        command = ("run", case, "--out", str(directory), *options, *resume, *refusing)
        return Job(command, MemberFolder(directory), record)

    def row(self, record: Record | None) -> Record:
        """What the table has of it."""
        kept = {"exit": "", "meaning": _LEFT, "seconds": "", "message": "", **(record or {})}
        kept = {key: kept[key] for key in ("exit", "meaning", "seconds", "message")}
        own = {"member": self.name, "case": str(self.case.path), **self.settings}
        numbers = figures(self.folder.summary(record or {}))
        return {**numbers, **own, **kept, "folder": str(self.folder.directory)}


def _digest(path: Path) -> str | None:
    """sha256 of a file; None where there is none."""
    try:
        about = path.stat()
        return _hashed(path, (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns))
    except OSError:
        return None


@cache
def _hashed(path: Path, state: tuple[int, ...]) -> str:
    """The sha256 of a file, which is read once for as long as the system tells no change."""
    return hash_file(path)


def run_sweep(asked: Request, say: Say, table: Say) -> Exit:
    """Run what is left of a sweep, or of the part that is asked for, and tabulate all of it.

    Args:
        asked: the cases, their settings, and where and how they run.
        say: prints a line, in a style.
        table: prints columns and rows.

    Raises:
        CaseError: a case or a setting is wrong; nothing has been run.
        Interrupted: by the user; what was finished before stands.
    """
    check_table(asked.out)
    axes = over_axes(asked.over)
    everyone = members(asked, axes)
    own = [member for number, member in enumerate(everyone) if asked.is_own(number)]
    left = [member for member in own if not member.is_done()]
    for member in left:
        member.check()
    if asked.dry_run:
        _show([member.row(member.ended()) for member in everyone], say, table)
        return Exit.DONE
    say(f"{len(everyone)} members, {len(left)} of them to run here", "bold")
    stopped, records = False, _records(asked, left)
    try:
        _run(left, records, say)
    except KeyboardInterrupt:
        stopped = True
    finally:
        rows = _tabulated(everyone, list(axes), asked.out)
    _show(rows, say, table)
    say(f"Wrote {asked.out / TABLE}")
    if stopped:
        raise Interrupted("interrupted; the same command goes on from here")
    return Exit.DONE if all(member.is_done() for member in own) else Exit.INCOMPLETE


def over_axes(over: Sequence[str]) -> dict[str, list[str]]:
    """The values of every key, as they are typed.

    Raises:
        CaseError: it is not `a.b=V1,V2`, or a key stands twice.
    """
    axes: dict[str, list[str]] = {}
    for text in over:
        key, _, values = (word.strip() for word in text.partition("="))
        listed = listed_values(values)
        if not key or listed is None:
            what = f'write a.b=V1,V2, texts with a comma in quotes, not "{text}"'
            raise CaseError([Fault("--over", what)])
        if key in axes:
            raise CaseError([Fault("--over", f"{key} stands twice; give all its values at once")])
        axes[key] = listed
    return axes


def members(asked: Request, axes: Mapping[str, Sequence[str]]) -> list[Member]:
    """All members: every case with every combination of values, the last key fastest.

    Raises:
        CaseError: of all errors of a case; or two members have one name.
    """
    several, everyone = len(asked.cases) > 1 or not axes, list[Member]()
    short = _ends([key.split(".") for key in axes])
    for path, label in zip(asked.cases, _ends([*map(_place, asked.cases)]), strict=True):
        read_case(path, asked.assignments)  # whose errors are not those of --over
        faults: list[Fault] = []
        for values in itertools.product(*axes.values()):
            settings = dict(zip(axes, values, strict=True))
            sets = (*asked.assignments, *(f"{key}={value}" for key, value in settings.items()))
            case = _read(path, sets)
            faults += case.faults
            name = _name(label if several else None, zip(short, values, strict=True))
            everyone.append(Member(name, case, sets, settings, MemberFolder(asked.out / name)))
        if faults:
            raise CaseError(dict.fromkeys(faults), str(path))
    counts = Counter(member.name.casefold() for member in everyone)
    if twice := [name for name, count in counts.items() if count > 1]:
        what = f"several members would go to {asked.out / twice[0]}; name no case or value twice"
        raise CaseError([Fault("--over" if axes else "", what)])
    return everyone


def _read(path: Path, assignments: Sequence[str]) -> Case:
    """The case with a combination of values; what cannot be set is an error of --over."""
    try:
        return read_case(path, assignments)
    except CaseError as error:
        options = {"--set": "--over"}
        faults = [Fault(options.get(f.path, f.path), f.message) for f in error.faults]
        raise CaseError(faults, str(path)) from None


def _place(path: Path) -> list[str]:
    """The folders of a case, and its own name where that is not case.toml."""
    whole = path.resolve()
    return [
        *(folder.name for folder in reversed(whole.parents)),
        *([] if whole.stem == "case" else [whole.stem]),
    ]


def _ends(several: Sequence[Sequence[str]]) -> list[str]:
    """The ends of paths, of as few parts as tell them apart."""
    ends: list[str] = []
    for length in range(1, 1 + max(map(len, several), default=0)):
        ends = ["_".join(path[-length:]) for path in several]
        if len(set(ends)) == len(several):
            break
    return ends


def _value(text: str) -> str:
    """A value as TOML has it, whichever way it was typed; a text as it is."""
    value = parse_value(text)
    return value if isinstance(value, str) else inline(value)


def _word(text: str) -> str:
    """A text in letters that every file system takes, with a checksum where that loses any."""
    plain = re.sub(r"[^\w.+-]+", "-", text, flags=re.ASCII)
    if plain == text and len(plain) <= _WORD:
        return plain
    return f"{plain.strip('-')[:_WORD]}-{sha256(text)[:8]}"


def _name(case: str | None, settings: Iterable[tuple[str, str]]) -> str:
    """The name of a member: of its case where there are several, and its settings by short keys."""
    words = [] if case is None else [_word(case)]
    words += [f"{_word(key)}={_word(_value(value))}" for key, value in settings]
    name = ",".join(words)
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}-{sha256(name)[:8]}"


def _run(left: Sequence[Member], records: Records, say: Say) -> None:
    """Run members, and say a line of each that ends."""
    by_name = {member.name: member for member in left}
    with interruptible(), closing(records):
        for number, record in enumerate(records, 1):
            row = by_name[record["member"]].row(record)
            style = None if row["exit"] == Exit.DONE else "red"
            say(f"[{number} of {len(left)}] {row['member']}: {_words(row)}", style)


def _records(asked: Request, left: Sequence[Member]) -> Records:
    """How members end; of those on a GPU one runs at a time where nothing else is asked for."""
    jobs = [member.job() for member in left]
    if asked.dask is not None:
        return run_on_dask(jobs, asked.dask)
    usual = 1 if any(member.case.runtime.device == "gpu" for member in left) else cpus()
    processes = max(1, min(asked.processes or usual, len(jobs)))
    return run_here(jobs, asked.environment, processes)


def _tabulated(everyone: Sequence[Member], settings: list[str], out: Path) -> list[Record]:
    """The rows of all, written; again where another task has meanwhile finished some."""
    rows: list[Record] = []
    while (now := [member.row(member.ended()) for member in everyone]) != rows:
        rows = now
        write_table(out, rows, settings)
    return rows


def _words(row: Mapping[str, Any]) -> str:
    """How a member ended, on one line."""
    if row["exit"] != Exit.DONE:
        code = "" if row["exit"] == "" else f" (exit {row['exit']})"
        return f"{row['meaning']}{code}: {row['message']}"
    cells = {name: _cell(row.get(key)) for name, key in _FIGURES.items()}
    known = (f"{name} {value}" for name, value in cells.items() if value)
    return ", ".join(["done", *known, f"{_cell(row['seconds'])} s"])


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _show(rows: Sequence[Mapping[str, Any]], say: Say, table: Say) -> None:
    """The table, with what is to be said of those that have failed."""
    say()
    columns = ("meaning", *_FIGURES.values(), "seconds")
    shown = [(row["member"], *(_cell(row.get(key)) for key in columns)) for row in rows[:_SHOWN]]
    table(("member", "", *_FIGURES, "seconds"), shown)
    if len(rows) > _SHOWN:
        say(f"and {len(rows) - _SHOWN} more")
    failed = [row for row in rows if row["exit"] not in ("", Exit.DONE)]
    for row in failed[:_SHOWN]:
        say(f"{row['member']}: {_words(row)}", "red")
        say(f"    {MemberFolder(Path(row['folder'])).output} has all that it said")
    left = sum(row["meaning"] == _LEFT for row in rows)
    done = len(rows) - len(failed) - left
    say(f"{done} of {len(rows)} done, {len(failed)} failed, {left} not run", "bold")
