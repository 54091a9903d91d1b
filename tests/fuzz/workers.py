"""Mutants run by the command line, each in a forked process, and what became of them."""

import gc
import importlib
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.cases import SOUND, make
from tests.fuzz.known import INVALID, NEUTRAL, differ, results
from tests.fuzz.mutants import OF_ALL, manifest_line

LONGEST = 120.0  # seconds
CODES = {
    0: "done",
    2: "case refused",
    3: "data refused",
    4: "not converged",
    5: "not finite",
    7: "incomplete",
}
TRACEBACK, INTERNAL, ABORT, HANG = "traceback", "exit 1", "abort", "hang"
CHANGED = "changed"  # results, of a mutant that changes nothing, or should have been refused
NEEDLESS = "needlessly refused"  # one that changes nothing
ACCEPTED = "accepted"  # an invalid one, by a command that reads all that is mutated
WRONG = (TRACEBACK, INTERNAL, ABORT, HANG, CHANGED, NEEDLESS, ACCEPTED)
RESUMING = ("cycle", "forecast")  # cases whose commands go on from results, and need not read all
PROGRAMS = (
    *("assim.run.window", "assim.run.cycle.cycle", "assim.run.forecast"),
    *(f"assim.names.{place}" for place in ("covariance", "likelihood", "minimiser", "posterior")),
    *(f"assim.files.read.{what}" for what in ("covariances", "forcings", "predictors")),
    *("assim.names.prior", "assim.names.scheme", "assim.models.advection_diffusion"),
    *("scipy.special", "scipy.linalg", "numpy.testing", "jaxlib.mlir.dialects.mhlo", "fileinput"),
    *("charset_normalizer", "pydoc"),
)  # and what is imported late


def import_once() -> None:
    """Import what every mutant needs, so that forks have it; JAX computes nothing yet."""
    from assim.run.terminal.runtime import configure

    configure()
    for name in PROGRAMS:
        importlib.import_module(name)
    gc.freeze()


def mutate(folder: Path, chance: random.Random) -> str:
    """Do something to a copy of a sound case; say which kind of thing it is."""
    kinds = OF_ALL + NEUTRAL + INVALID + (manifest_line,) * 3 * any(folder.rglob("*.jsonl"))
    mutation = chance.choice(kinds)
    with suppress(RuntimeError):  # netCDF cannot finish it: a torn file is a mutant, too
        mutation(folder, chance)
    return mutation.__name__


class Outcome(NamedTuple):
    """What became of a mutant."""

    seed: int
    case: str
    kind: str  # of the mutation
    end: str  # one of the words above
    seconds: float
    said: str  # on standard error

    @property
    def wrong(self) -> bool:
        """Whether it is none of the ways in which a command may end."""
        return self.end in WRONG


def _start(folder: Path, command: str) -> int:
    """A process that runs a command in a folder; its words go to files there."""
    from assim.run import cli

    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.chdir(folder)
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        cli.main(command.split(), standalone_mode=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def run(folder: Path, command: str) -> int:
    """Run a command to its end; its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(_start(folder, command), 0)[1])


class Fuzz:
    """Sound cases in a folder, and their mutants.

    Args:
        folder: of all of them, and of the programs that are compiled.
        workers: mutants that run at a time.
    """

    def __init__(self, folder: Path, workers: int = 1) -> None:
        os.environ["ASSIM_CACHE_DIR"] = str(folder / "programs")
        import_once()
        self.folder, self.workers = folder, workers
        self.sound = {case.name: make(case, folder / "sound" / case.name, run) for case in SOUND}
        for case in SOUND:  # which compiles what mutants need, and must go well
            copy = shutil.copytree(self.sound[case.name], folder / "first" / case.name)
            code = run(copy, case.command)
            assert code == 0, f"{case.name}: ended with {code}: {(copy / 'stderr').read_text()}"
        self.expected = {
            case.name: results(folder / "first" / case.name / case.out) for case in SOUND
        }

    def outcomes(self, seeds: range) -> Iterator[Outcome]:
        """What becomes of the mutants of these seeds, in the order in which they end."""
        waiting, running = list(seeds)[::-1], dict[int, tuple[int, str, str, float]]()
        while waiting or running:
            while waiting and len(running) < self.workers:
                seed = waiting.pop()
                process, case, kind = self._mutant(seed)
                running[process] = (seed, case, kind, time.monotonic())
            time.sleep(0.02)
            for process, (seed, case, kind, begin) in list(running.items()):
                ended, status = os.waitpid(process, os.WNOHANG)
                seconds = time.monotonic() - begin
                if not ended and seconds < LONGEST:
                    continue
                del running[process]
                if not ended:
                    os.kill(process, signal.SIGKILL)
                    os.waitpid(process, 0)
                yield self._outcome(seed, case, kind, status if ended else None, seconds)

    def _mutant(self, seed: int) -> tuple[int, str, str]:
        chance = random.Random(seed)
        sound = chance.choice(SOUND)
        copy = shutil.copytree(self.sound[sound.name], self.folder / str(seed))
        kind = mutate(copy, chance)
        return _start(copy, sound.command), sound.name, kind

    def _outcome(
        self, seed: int, case: str, kind: str, status: int | None, seconds: float
    ) -> Outcome:
        copy = self.folder / str(seed)
        said = (copy / "stderr").read_text(errors="replace")
        code = None if status is None else os.waitstatus_to_exitcode(status)
        end = HANG if code is None else CODES.get(code, INTERNAL if code == 1 else ABORT)
        end = TRACEBACK if "Traceback" in said else self._judged(end, case, kind, copy)
        outcome = Outcome(seed, case, kind, end, seconds, said[-2000:])
        if not outcome.wrong:
            shutil.rmtree(copy)
        return outcome

    def _judged(self, end: str, case: str, kind: str, copy: Path) -> str:
        """The end of a mutant, by its results where it is known what they must be."""
        neutral, invalid = (kind in {m.__name__ for m in some} for some in (NEUTRAL, INVALID))
        if end in WRONG or not (neutral or invalid):
            return end
        if end in (CODES[2], CODES[3]):  # other inputs than at first are refused by these commands
            return NEEDLESS if neutral and case not in RESUMING else end
        if invalid and end == CODES[5]:
            return end
        if invalid and case not in RESUMING:
            return ACCEPTED
        out = next(sound.out for sound in SOUND if sound.name == case)
        return CHANGED if differ(self.expected[case], results(copy / out)) else end


def table(outcomes: list[Outcome]) -> str:
    """How many mutants of every kind ended in which way, as rows of Markdown."""
    ends = [*CODES.values(), *WRONG]
    counts = Counter((outcome.kind, outcome.end) for outcome in outcomes)
    rows = [f"| kind | {' | '.join(ends)} |", "|---" * (1 + len(ends)) + "|"]
    for kind in sorted({outcome.kind for outcome in outcomes}):
        rows.append(f"| {kind} | {' | '.join(str(counts[kind, end] or '') for end in ends)} |")
    total = [str(sum(o.end == end for o in outcomes) or "") for end in ends]
    return "\n".join([*rows, f"| all | {' | '.join(total)} |"])
