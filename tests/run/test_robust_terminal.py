"""Whatever becomes of the terminal, what was computed is written."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from assim.case.case import read_case
from assim.case.failure import CaseError, Exit, exit_code, message
from assim.run.terminal.program import Forgiving
from assim.run.terminal.runtime import launched
from assim.run.terminal.screen import Screen
from assim.run.window import run_case
from tests.run.toy import Toy, listed


class Closed(io.RawIOBase):
    """The writing end of a pipe that nobody reads."""

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def stream(kind: str) -> io.TextIOWrapper | None:
    if kind == "closed pipe":
        return io.TextIOWrapper(Closed(), encoding="utf-8", write_through=True)
    if kind == "closed file":
        file = io.TextIOWrapper(io.BytesIO())
        file.close()
        return file
    return None if kind == "none" else io.TextIOWrapper(io.BytesIO(), encoding=kind)


KINDS = ["latin-1", "ascii", "utf-8", "closed pipe", "closed file", "none"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_takes_what_it_can(kind: str) -> None:
    forgiving = Forgiving(stream(kind))
    assert forgiving.write("k̂ = 0.3\n") == len("k̂ = 0.3\n")
    forgiving.flush()
    assert not forgiving.isatty()
    if kind in ("latin-1", "ascii"):
        assert forgiving.stream is not None
        assert forgiving.stream.buffer.getvalue() == b"k? = 0.3\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["ascii", "closed pipe"])
def test_results_are_written_whatever_the_terminal(shared: Toy, tmp_path: Path, kind: str) -> None:
    keep = 'output.keep=["analysis","posterior"]'
    case = read_case(shared.folder / "case.toml", ["posterior=Laplace", keep])
    screen = Screen(Console(file=Forgiving(stream(kind)), highlight=False, soft_wrap=True))
    assert run_case(case, tmp_path / "out", screen) is Exit.DONE
    assert set(listed(tmp_path / "out")) == {"analysis.nc", "posterior.nc", "summary.json"}


def test_a_reader_that_has_gone() -> None:
    """Neither a traceback nor another exit code, where the interpreter ends, either."""
    code = "from assim.run.cli import main; main()"
    end, ours = os.pipe()
    os.close(end)
    done = subprocess.run(
        [sys.executable, "-c", code, "init", "LotkaVolterra"],
        stdout=ours, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(ours)
    assert (done.returncode, done.stderr) == (0, b"")


def test_memory_that_is_full_and_names_of_another_locale() -> None:
    full = MemoryError("Unable to allocate 74.5 GiB")
    assert exit_code(full) is Exit.CASE and "74.5 GiB" in message(full)
    xla = RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")
    assert exit_code(xla) is Exit.CASE and "memory is full" in message(xla)
    assert exit_code(RuntimeError("x")) is Exit.INTERNAL
    name = UnicodeEncodeError("latin-1", "ж.nc", 0, 1, "ordinal not in range(256)")
    assert exit_code(name) is Exit.DATA and "LC_ALL" in message(name)


@pytest.mark.parametrize(
    ("variable", "given", "words"),
    [
        ("JAX_PROCESS_ID", "a", "JAX_PROCESS_ID: the environment variable must be a whole number"),
        ("JAX_NUM_PROCESSES", "-1", "JAX_NUM_PROCESSES: the environment variable must be a whole"),
        ("JAX_PROCESS_ID", "2", "JAX_PROCESS_ID: must be below JAX_NUM_PROCESSES = 2, got 2"),
    ],
)
def test_variables_of_a_launcher_that_are_no_numbers(
    variable: str, given: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"JAX_PROCESS_ID": "0", "JAX_NUM_PROCESSES": "2", variable: given}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CaseError) as raised:
        launched()
    assert words in str(raised.value) and exit_code(raised.value) is Exit.CASE
