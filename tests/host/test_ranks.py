"""Processes of a parallel program, as threads that broadcast over memory."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assim.case.failure import CaseError, NonFiniteError
from assim.host import Action, Engine, HostError, Ranks
from assim.host import ranks as ranks_of_a_host
from assim.host.arrays import at_address
from assim.host.errors import EndedError, code_of, other_process, words_of
from assim.host.model import offer_announcing
from tests.host import lorenz
from tests.host.lorenz import END, N

ALL = (lorenz.host_step, lorenz.host_tangent, lorenz.host_adjoint)


def together(call: Callable[[Ranks], Any], size: int = 2) -> list[Any]:
    """What every process returns or raises."""
    barrier, shared, results = threading.Barrier(size, timeout=60), [None], [None] * size

    def run(number: int) -> None:
        def broadcast(buffer: np.ndarray, root: int) -> None:
            if number == root:
                shared[0] = buffer.copy()
            barrier.wait()
            buffer[:] = shared[0]
            barrier.wait()

        try:
            results[number] = call(Ranks(number, size, broadcast))
        except BaseException as error:
            results[number] = error
            if not isinstance(error, HostError | EndedError | CaseError | NonFiniteError):
                barrier.abort()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def refused_by_all(call: Callable[[Ranks], Any], words: str) -> None:
    """Every process raises the same."""
    for error in together(call):
        with pytest.raises(HostError, match=words):
            raise error


def part(ranks: Ranks) -> slice:
    length = N // ranks.size
    return slice(ranks.number * length, (ranks.number + 1) * length)


def registered(ranks: Ranks, path: Path, **options: Any) -> tuple[Engine, np.ndarray]:
    """An engine with this process's part of the ring."""
    engine = Engine(path, path.parent / "out", ranks=ranks, **options)
    x = lorenz.background()[part(ranks)].copy()
    engine.register("x", x, [part(ranks).start])
    return engine, x


def test_each_has_its_part_of_the_analysis_and_of_its_spread(tmp_path: Path):
    case = {**lorenz.described(), "posterior": {"use": "Laplace", "certificate": 0}}
    path = lorenz.written(tmp_path, case)

    def run(ranks: Ranks) -> Any:
        engine, x = registered(ranks, path)
        with engine:
            engine.register("F", np.zeros(()))
            engine.register_model(*ALL)
            assert engine.start(0.0) is Action.NOTHING
            assert engine.advance(END / 2) is Action.NOTHING
            assert engine.advance(END) is Action.STOP and engine.time == END
            assert engine.spread("F").shape == () and isinstance(engine.spread("F"), np.ndarray)
            return x, engine.spread("x"), float(engine.spread("F"))

    first, second = together(run)
    assert not isinstance(first, Exception), first
    with Engine(path, tmp_path / "alone") as engine:
        x = lorenz.background()
        engine.register("x", x)
        engine.register("F", np.zeros(()))
        engine.register_model(*ALL)
        engine.start(0.0)
        engine.advance(END)
        spread, of_forcing = engine.spread("x"), engine.spread("F")
    np.testing.assert_allclose(np.concatenate([first[0], second[0]]), x, rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.concatenate([first[1], second[1]]), spread, rtol=1e-8)
    assert first[2] == second[2] == pytest.approx(float(of_forcing), rel=1e-8)


def test_a_process_may_hold_nothing(tmp_path: Path):
    """As one whose part of a grid is land; its pointer is of no number."""
    path, memory = lorenz.written(tmp_path, lorenz.tables()), np.zeros(1)

    def run(ranks: Ranks) -> Any:
        x = lorenz.background()
        if ranks.number:
            x = at_address("x", memory.ctypes.data, 8, [0])
        engine = Engine(path, tmp_path / "out", ranks=ranks)
        engine.register("x", x, [0])
        engine.start(0.0)
        return engine.advance(END), x.shape

    assert together(run) == [(Action.STOP, (N,)), (Action.STOP, (0,))]


def test_a_cycle_goes_on_in_all(tmp_path: Path):
    """The model is in JAX: process 0 alone runs it, and all have its analyses."""
    path = lorenz.written(tmp_path, lorenz.cycle(2), 2)

    def run(ranks: Ranks) -> Any:
        engine, x = registered(ranks, path)
        with engine:
            engine.start(0.0)
            return [engine.advance(END), x.copy(), engine.advance(2 * END), x.copy()]

    first, second = together(run)
    assert first[::2] == second[::2] == [Action.ANALYSED, Action.STOP]
    files = sorted((tmp_path / "out" / "windows").glob("*/analysis.nc"))
    for file, k in zip(files, (1, 3), strict=True):
        whole = np.concatenate([first[k], second[k]])
        np.testing.assert_allclose(lorenz.opened(file)["x"][0], whole, rtol=1e-14)


@pytest.mark.parametrize(
    ("firsts", "length", "words"),
    [
        ([0, 7], 6, r"element \(6,\) of the whole, of shape \(13,\), is held by no process"),
        ([0, 5], 6, r"element \(5,\) of the whole, of shape \(11,\), is held by 2 processes"),
        ([0, 6], 7, r"element \(6,\) of the whole, of shape \(13,\), is held by 2 processes"),
    ],
)
def test_parts_that_do_not_make_up_the_whole(tmp_path, firsts, length, words):
    path = lorenz.written(tmp_path, lorenz.tables())

    def run(ranks: Ranks) -> None:
        engine = Engine(path, tmp_path / "out", ranks=ranks)
        engine.register("x", np.zeros(length), [firsts[ranks.number]])
        engine.start(0.0)

    refused_by_all(run, words)


def test_names_that_differ(tmp_path: Path):
    path = lorenz.written(tmp_path, lorenz.tables())

    def run(ranks: Ranks) -> None:
        engine, _ = registered(ranks, path)
        if ranks.number:
            engine.register("F", np.zeros(()))
        engine.start(0.0)

    refused_by_all(run, "process 0 has registered x in parts, process 1 x in")


@pytest.mark.parametrize(
    ("give", "words"),
    [
        (
            lambda e, k: e.register("F", np.zeros(1 + k)),
            r"F \(1,\), process 1 x in parts, F \(2,\)",
        ),
        (lambda e, k: e.register_model(*ALL[: 3 - k]), "adjoint of the model, process 1"),
        (lambda e, k: k or e.register_model(*ALL), "process 1 x in parts; all register"),
    ],
)
def test_shapes_and_functions_that_differ(tmp_path: Path, give: Any, words: str):
    path = lorenz.written(tmp_path, lorenz.described())

    def run(ranks: Ranks) -> None:
        engine, _ = registered(ranks, path)
        give(engine, ranks.number)
        engine.start(0.0)

    refused_by_all(run, words)


def test_a_model_that_cannot_be_made(tmp_path: Path):
    """Every process finds fault with it, and none leaves the others to wait."""
    path = lorenz.written(tmp_path, lorenz.described())

    def run(ranks: Ranks) -> None:
        engine = Engine(path, tmp_path / "out", ranks=ranks, assignments=["model.dt=-1.0"])
        engine.register("F", np.zeros(()))
        engine.register_model(*ALL)
        engine.start(0.0)

    for error in together(run):
        with pytest.raises((CaseError, EndedError), match="dt must be positive"):
            raise error


@pytest.mark.parametrize("what", ["a file that is missing", "a step that raises"])
def test_what_one_raises_all_do(tmp_path: Path, what: str):
    path = lorenz.written(tmp_path, lorenz.described())
    if what == "a file that is missing":
        (tmp_path / "observations.nc").unlink()

    def broken(*given: Any) -> Any:
        raise RuntimeError("it has lost its way")

    def run(ranks: Ranks) -> str:
        engine, x = registered(ranks, path)
        functions = (lorenz.host_step, broken, broken) if what == "a step that raises" else ALL
        engine.register("F", np.zeros(()))
        engine.register_model(*functions)
        before = x.copy()
        with pytest.raises(Exception, match=r"observations\.nc|lost its way"):
            engine.start(0.0)
            engine.advance(END)
        assert (x == before).all()
        return engine.last_error

    first, second = together(run)
    assert first == second


def test_a_broadcast_is_of_so_many_bytes_at_most(monkeypatch):
    monkeypatch.setattr(ranks_of_a_host, "MOST", 24)
    given = np.arange(20.0).reshape(4, 5)

    def run(ranks: Ranks) -> np.ndarray:
        values = given if ranks.number == 1 else np.zeros((4, 5))
        ranks.pass_on(values, root=1)
        return values

    first, second = together(run)
    assert (first == given).all() and (second == given).all()


def test_what_a_process_that_follows_raises_is_printed(tmp_path: Path, capfd: Any):
    """The first may wait for it within its own function."""
    path = lorenz.written(tmp_path, lorenz.described())

    def run(ranks: Ranks) -> Action:
        def step(*given: Any) -> Any:
            if ranks.number:
                raise RuntimeError("it has lost its way")
            return lorenz.host_step(*given)

        engine, _ = registered(ranks, path)
        engine.register("F", np.zeros(()))
        engine.register_model(step, *ALL[1:])
        engine.start(0.0)
        return engine.advance(END)

    assert together(run) == [Action.STOP, Action.STOP]
    assert "process 1: PythonModel(step): RuntimeError: it has lost" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "internal error, please report: KeyError: 'x'"),
        (20, "F: is registered already"),
        (22, "the model has stopped the run: CModel: StoppedError: the step returned -1"),
    ],
)
def test_words_of_another_process_stay_as_they_are(code: int, words: str):
    error = other_process(code, words)
    assert (code_of(error), words_of(error)) == (code, words)


def test_steps_that_fail_are_counted(tmp_path: Path):
    path = lorenz.written(tmp_path, lorenz.described())

    def failing(*given: Any) -> Any:
        raise FloatingPointError

    def run(ranks: Ranks) -> None:
        engine, _ = registered(ranks, path)
        engine.register("F", np.zeros(()))
        engine.register_model(failing, *ALL[1:])
        engine.start(0.0)
        engine.advance(END)

    for error in together(run):
        with pytest.raises(
            (NonFiniteError, EndedError), match=r"[1-9]\d* steps of .*failing.* failed"
        ):
            raise error


@pytest.mark.parametrize(
    ("given", "words"),
    [((2, 2), "rank 2: must lie between 0 and 1"), ((0, 2), "need a function `broadcast`")],
)
def test_ranks_that_cannot_be(given, words):
    with pytest.raises(HostError, match=words):
        Ranks(*given)


def test_a_model_that_announces_nothing_is_refused(tmp_path: Path):
    """A class of one's own that takes a step of the host, of whose calls nobody hears."""
    (tmp_path / "own.py").write_text(OWN)
    path = lorenz.written(tmp_path, {**lorenz.tables(), "model": {"use": "own.py:own"}})
    table = Engine(path, tmp_path / "out").case.checked.model
    with pytest.raises(HostError, match=r"own.py:own \(model.use\) does not tell other proc"):
        offer_announcing(table, print)


OWN = """
from assim.models import Lorenz96


def own(step: object = None) -> Lorenz96:
    return Lorenz96(12)
"""
