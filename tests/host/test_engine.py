"""A host in Python that steps its own model, and the engine inside it."""

import timeit
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from assim.analysis.stages import Ended, Stages
from assim.case.case import read_case
from assim.case.failure import CaseError
from assim.case.setting import set_up
from assim.files.errors import DataError
from assim.host import Action, Engine, HostError, calls
from assim.host.clock import check_start
from assim.run import window
from tests.host import lorenz
from tests.host.lorenz import DT, END, SLOTS, STEPS, N


def advanced(engine: Engine, x: np.ndarray, t: float, until: float) -> tuple[list[Action], float]:
    """Step the host to a time, and what it is told on the way."""
    actions = []
    while t < until - DT / 2:
        x[...] = lorenz.step(x)
        t += DT
        actions.append(engine.advance(t))
        if actions[-1] is Action.RESTART:
            t = engine.time
    return actions, t


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    folder = tmp_path_factory.mktemp("alone")
    lorenz.by_itself(folder, lorenz.tables(posterior={"use": "Laplace"}), folder / "out")
    return lorenz.opened(folder / "out" / "trajectory.nc")


def hosted(folder: Path, **options: object) -> tuple[Engine, np.ndarray]:
    """An engine with a registered array of the host, before its start."""
    path = lorenz.written(folder, lorenz.tables(posterior={"use": "Laplace"}))
    engine = Engine(path, folder / "out", **options)  # type: ignore[arg-type]
    x = lorenz.background()
    engine.register("x", x)
    return engine, x


def test_the_analysis_at_the_end_is_that_of_the_case_alone(alone: xr.Dataset, tmp_path: Path):
    engine, x = hosted(tmp_path)
    with engine:
        assert engine.start(0.0) is Action.NOTHING
        actions, _ = advanced(engine, x, 0.0, END)
        assert actions == [Action.NOTHING] * (SLOTS * STEPS - 1) + [Action.STOP]
        np.testing.assert_allclose(x, alone["x"][-1], rtol=0, atol=1e-12)
        np.testing.assert_allclose(engine.spread("x"), alone["x_stddev"][-1], rtol=1e-9)
        assert advanced(engine, x, END, END + 3 * DT)[0] == 3 * [Action.NOTHING]
    own = lorenz.opened(tmp_path / "out" / "trajectory.nc")
    np.testing.assert_array_equal(own["x"], alone["x"])


def test_the_analysis_at_the_start_is_run_again_by_the_host(alone: xr.Dataset, tmp_path: Path):
    engine, x = hosted(tmp_path, at_start=True)
    with engine:
        engine.start(0.0)
        actions, t = advanced(engine, x, 0.0, END - DT)
        x[...] = lorenz.step(x)
        assert engine.advance(t + DT) is Action.RESTART and engine.time == 0.0
        np.testing.assert_allclose(x, alone["x"][0], rtol=0, atol=1e-12)
        spread = engine.spread("x", np.zeros(N, np.float32))
        np.testing.assert_allclose(spread, alone["x_stddev"][0], rtol=1e-6)
        actions, _ = advanced(engine, x, engine.time, END)
        assert set(actions[:-1]) == {Action.NOTHING} and actions[-1] is Action.STOP
        np.testing.assert_allclose(x, alone["x"][-1], rtol=0, atol=1e-10)


def test_arrays_of_any_stride_and_size_are_written_in_place(alone: xr.Dataset, tmp_path: Path):
    path = lorenz.written(tmp_path, lorenz.tables())
    room, f = np.zeros((N, 3), np.float32), np.zeros(())
    with Engine(path, tmp_path / "out") as engine:
        engine.register("x", room[::-1, 1])
        engine.register("F", f)
        room[::-1, 1] = lorenz.background()
        engine.start(0.0)
        assert f == lorenz.F
        assert engine.advance(END) is Action.STOP
    np.testing.assert_allclose(room[::-1, 1], alone["x"][-1], atol=2e-6)
    assert not room[:, [0, 2]].any()


def test_a_background_that_the_case_gives_is_written_at_the_start(tmp_path: Path):
    case = lorenz.tables(background={"fields": {"x": {"mean": 3.0, "stdev": 1.0}}})
    with Engine(lorenz.written(tmp_path, case), tmp_path / "out") as engine:
        x = lorenz.background()
        engine.register("x", x)
        engine.start(0.0)
        assert (x == 3.0).all()


def test_without_a_host_such_a_case_has_no_background(tmp_path: Path):
    with Engine(lorenz.written(tmp_path, lorenz.tables()), tmp_path / "out") as engine:
        engine.register("F", np.zeros(()))
        with pytest.raises(CaseError, match=r"background\.fields\.x: the table is missing"):
            engine.start(0.0)
        engine.register("x", lorenz.background())  # the host puts it right
        assert engine.start(0.0) is Action.NOTHING


MISUSE = {
    "unknown name": (lambda e, x: (e.register("y", x), e.start(0.0)), "no field or parameter of"),
    "wrong shape": (lambda e, x: (e.register("F", x), e.start(0.0)), r"the shape \(\), the regis"),
    "wrong dtype": (lambda e, x: e.register("F", np.zeros((), int)), "float64 or float32, got int"),
    "no array": (lambda e, x: e.register("F", 8.0), "expected a NumPy array, got float"),
    "read-only": (lambda e, x: e.register("F", np.broadcast_to(1.0, ())), "read-only"),
    "twice": (lambda e, x: e.register("x", x), "registered already"),
    "model of the case": (lambda e, x: e.register_model(lorenz.step), "takes no step of a host"),
    "no function": (lambda e, x: e.register_model(0), "step must be a function, or the address"),
    "advance first": (lambda e, x: e.advance(DT), "call start before the first step"),
    "spread first": (lambda e, x: e.spread("x"), "no analysis yet"),
    "wrong start": (lambda e, x: e.start(1.0), "starts at t = 0"),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_told_and_the_host_lives_on(tmp_path: Path, name: str):
    engine, x = hosted(tmp_path)
    wrong, words = MISUSE[name]
    before = x.copy()
    with pytest.raises(HostError, match=words):
        wrong(engine, x)
    assert engine.last_error and (x == before).all()
    engine.finalise()
    with pytest.raises(HostError, match="finalised"):
        engine.start(0.0)


def test_misuse_of_the_time_loop(tmp_path: Path):
    engine, _ = hosted(tmp_path)
    with engine:
        engine.start(0.0)
        for call, words in (
            (lambda: engine.start(0.0), "start comes before the first step"),
            (lambda: engine.register("F", np.zeros(())), "register comes before"),
            (lambda: engine.advance(0.0), "must increase"),
            (lambda: engine.advance(END + DT), "stepped over t = 0.4"),
        ):
            with pytest.raises(HostError, match=words):
                call()
        assert engine.advance(DT) is Action.NOTHING
        with pytest.raises(HostError, match="must increase"):
            engine.advance(DT)


def test_what_cannot_be_analysed_leaves_the_arrays(tmp_path: Path):
    engine, x = hosted(tmp_path, assignments=["minimiser.n_outer=1"])
    with engine:
        engine.start(0.0)
        before = x.copy()
        for _ in range(2):  # the error stays, for hosts that did not look
            with pytest.raises(RuntimeError, match="Not converged"):
                engine.advance(END)
        assert (x == before).all() and "Not converged" in engine.last_error
    (tmp_path / "observations.nc").unlink()
    engine, _ = hosted(tmp_path / "other")
    (tmp_path / "other" / "observations.nc").unlink()
    with engine, pytest.raises(DataError, match=r"observations\.nc"):
        engine.start(0.0)


def test_the_host_starts_within_a_millionth_of_a_slot(tmp_path: Path):
    slot, start = STEPS * DT, 1e6
    case = lorenz.tables(window={"start": start, "slots": SLOTS, "steps": STEPS})
    path = lorenz.written(tmp_path, case)
    setting = set_up(read_case(path))
    for away in (0.3, -0.3, 3e-6 * slot):
        with pytest.raises(HostError, match=r"starts at t = 1000000\.0"):
            check_start(setting, start + away)
    for away in (0.0, 0.5e-6 * slot, -0.5e-6 * slot):
        check_start(setting, start + away)


def test_exit_codes_are_numbers_whatever_their_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def as_numbers(*given: object) -> Stages:
        ended = yield from of_case(*given)  # type: ignore[arg-type]
        return Ended(int(ended.code), ended.words)

    of_case = window.stages_of_case
    monkeypatch.setattr(window, "stages_of_case", as_numbers)
    engine, x = hosted(tmp_path)
    with engine:
        engine.start(0.0)
        assert engine.advance(END) is Action.STOP
    engine, x = hosted(tmp_path, assignments=["minimiser.n_outer=1"])
    with engine:
        engine.start(0.0)
        before = x.copy()
        with pytest.raises(RuntimeError, match="Not converged"):
            engine.advance(END)
        assert (x == before).all()


def test_an_error_comes_without_an_action(monkeypatch: pytest.MonkeyPatch):
    class Late:
        action, time, quiet_until = Action.RESTART, 0.0, 0.4

        def seen(self, last: float) -> None:
            raise HostError("too late")

    monkeypatch.setattr(calls._only, "engine", Late())
    assert calls.call("advance", 0.5, 0.1)[:3] == (20, "too late", 0)


def test_advance_is_cheap_when_nothing_is_due(tmp_path: Path):
    engine, _ = hosted(tmp_path)
    with engine:
        engine.start(0.0)
        times = iter(np.linspace(0.0, END, 100_003)[1:-1].tolist())
        number = 20_000
        seconds = min(
            timeit.timeit(lambda: engine.advance(next(times)), number=number) for _ in range(5)
        )
        assert seconds / number < 20e-6  # a call costs 0.3 µs, anything further a hundred
