"""Members of a sweep as processes of `assim run`: here, so many at a time, or on a Dask cluster."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from assim.case.failure import CaseError, Exit, Fault
from assim.cpus import cpus
from assim.files.errors import DataError
from assim.files.members import MemberFolder

PROGRAM = (sys.executable, "-P", "-m", "assim.run.cli")
_THREADS = ("PJRT_NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_ALONE = {"JAX_PROCESS_ID": "0", "JAX_NUM_PROCESSES": "1"}  # whatever launched the sweep
_POLL = 0.05  # seconds between two looks at the processes
_GRACE = 20.0  # seconds that an interrupted process has to write what it has
Record = dict[str, Any]
Records = Generator[Record, None, None]


@dataclass(frozen=True)
class Job:
    """A member as a process, on this machine or another: whole paths and plain values."""

    command: tuple[str, ...]  # arguments of `assim`
    folder: MemberFolder
    record: Record  # what is known of it before it runs

    def start(self, environment: Mapping[str, str], threads: int) -> "Running":
        """Start it, with so many threads."""
        self.folder.prepare()
        before, paths = self.folder.written_summary(), map(os.path.abspath, sys.path)
        given = {**environment, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
        given |= _ALONE | dict.fromkeys(_THREADS, str(threads))
        with open(self.folder.output, "wb") as output:
            process = subprocess.Popen(
                (*PROGRAM, *self.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=given,
                start_new_session=True,  # so that Ctrl-C comes to it from here, and once
            )
        return Running(self, process, before, time.perf_counter())


@dataclass(frozen=True, eq=False)
class Running:
    """A member while it runs."""

    job: Job
    process: subprocess.Popen
    before: str | None  # sha256 of the summary that was there
    begin: float

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self.process.poll() is not None

    def end(self) -> Record:
        """Wait for it, and record how it ended; a summary of an earlier run is none of its own."""
        code, folder = self.process.wait(), self.job.folder
        written = folder.written_summary()
        record = {
            **self.job.record,
            "exit": code,
            "meaning": meaning(code),
            "message": folder.last_line() if code else "",
            "seconds": round(time.perf_counter() - self.begin, 3),
            "summary": written if code == 0 or written != self.before else None,
        }
        folder.record(record)
        return record

    def interrupt(self) -> None:
        """Ask it to write what it has, and to end."""
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # by it, too
        self.process.send_signal(signal.SIGTERM if ignored else signal.SIGINT)

    def kill(self) -> None:
        """End it, and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def meaning(code: int) -> str:
    """An exit code in a word or two."""
    if code < 0:
        names = (known.name for known in signal.Signals if known == -code)
        killed = f"killed by {next(names, f'signal {-code}')}"
        return f"{killed}, as where memory is full" if code == -signal.SIGKILL else killed
    words = {int(known): known.name.lower().replace("_", " ") for known in Exit}
    return words.get(code, "ended by other code")


def run_here(jobs: Sequence[Job], environment: Mapping[str, str], processes: int) -> Records:
    """How each ended, as they end; so many run at a time, and share the CPUs.

    Where this is closed before its end, those that still run are stopped.
    """
    waiting, running = deque(jobs), list[Running]()
    threads = max(1, cpus() // processes)
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                running.append(waiting.popleft().start(environment, threads))
            finished = next((member for member in running if member.ended()), None)
            if finished is None:
                time.sleep(_POLL)
                continue
            record = finished.end()
            running.remove(finished)
            yield record
    finally:
        _stop(running)


def _stop(running: Sequence[Running]) -> None:
    """Interrupt processes, give them time to write what they have, and kill those that go on."""
    for member in running:
        member.interrupt()
    deadline = time.monotonic() + _GRACE
    try:
        while time.monotonic() < deadline and not all(member.ended() for member in running):
            time.sleep(_POLL)
    finally:
        orderly = [member for member in running if member.ended()]
        for member in running:
            if member not in orderly:
                member.kill()
        for member in orderly:
            member.end()


def run_on_dask(jobs: Sequence[Job], address: str) -> Records:
    """How each ended on a cluster, as they end; what is lost there has no exit code.

    Args:
        jobs: the members.
        address: of the scheduler, or its file.

    Raises:
        CaseError: Dask is not installed.
        DataError: no scheduler answers.
    """
    try:
        from dask.distributed import Client, as_completed
    except ImportError as error:
        what = f"needs Dask's package `distributed` ({error}); pip install distributed"
        raise CaseError([Fault("--dask", what)]) from None
    try:
        client = Client(**{"scheduler_file" if os.path.isfile(address) else "address": address})
    except (OSError, ValueError) as error:
        raise DataError(f"--dask {address}: no scheduler answers ({error})") from error
    return _gathered(client, as_completed, jobs)


def _gathered(client: Any, as_completed: Callable[..., Any], jobs: Sequence[Job]) -> Records:
    """What comes back from a cluster; where this is closed, what waits there is taken back."""
    with client:
        futures = {client.submit(run_job, job, pure=False): job for job in jobs}
        try:
            for future in as_completed(futures):
                lost, job = future.exception(), futures[future]
                yield {**job.record, "message": f"lost: {lost}"} if lost else future.result()
        finally:
            client.cancel(list(futures))


def run_job(job: Job) -> Record:
    """Run a member on a Dask worker, where it has one thread as the task has."""
    running = job.start(os.environ, threads=1)
    try:
        return running.end()
    except BaseException:
        running.kill()
        raise


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP, as of a batch system, do what Ctrl-C does."""
    signals = (signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.getsignal(each) for each in signals}
    heard = [each for each, handler in before.items() if handler is not signal.SIG_IGN]
    for each in heard:
        signal.signal(each, signal.default_int_handler)
    try:
        yield
    finally:
        for each in heard:
            signal.signal(each, before[each])
