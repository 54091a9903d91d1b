"""A host in Python whose windows come in sequence, also when it is stopped and started again."""

from pathlib import Path

import numpy as np
import pytest

from assim.files.errors import DataError
from assim.host import Action, Engine, HostError
from tests.host import lorenz
from tests.host.lorenz import END, N

WINDOWS = 3


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """The analyses of all windows by the engine alone, at their newest observations."""
    folder = tmp_path_factory.mktemp("alone")
    lorenz.by_itself(folder, lorenz.cycle(WINDOWS), folder / "out", WINDOWS)
    files = sorted((folder / "out" / "windows").glob("*/analysis.nc"))
    return [lorenz.opened(path)["x"].values[0] for path in files]


def test_every_window_is_that_of_the_cycle_alone(alone: list[np.ndarray], tmp_path: Path):
    path, x = lorenz.written(tmp_path, lorenz.cycle(WINDOWS), WINDOWS), lorenz.background()
    with Engine(path, tmp_path / "out") as engine:
        engine.register("x", x)
        engine.start(0.0)
        for number, expected in enumerate(alone, start=1):
            assert engine.advance((number - 0.5) * END) is Action.NOTHING
            last = Action.STOP if number == WINDOWS else Action.ANALYSED
            assert engine.advance(number * END) is last
            np.testing.assert_allclose(x, expected, rtol=0, atol=1e-10)
            assert engine.spread("x").shape == (N,) and (engine.spread("x") > 0).all()
    assert (tmp_path / "out" / "summary.json").exists()


def test_a_host_that_was_stopped_goes_on(alone: list[np.ndarray], tmp_path: Path):
    path, x = lorenz.written(tmp_path, lorenz.cycle(WINDOWS), WINDOWS), lorenz.background()
    with Engine(path, tmp_path / "out") as engine:
        engine.register("x", x)
        engine.start(0.0)
        engine.advance(END)
        other = Engine(path, tmp_path / "out")
        other.register("x", np.zeros(N))
        with pytest.raises(DataError, match="another process is writing to it"):
            other.start(0.0)
    x, f = np.zeros(N), np.zeros(())
    with Engine(path, tmp_path / "out", resume=True) as engine:
        engine.register("x", x)
        engine.register("F", f)
        assert engine.start(0.0) is Action.RESTART and engine.time == pytest.approx(END)
        np.testing.assert_allclose(x, alone[0], rtol=0, atol=1e-10)
        assert f == lorenz.F
        assert engine.advance(2 * END) is Action.ANALYSED
        assert engine.advance(3 * END) is Action.STOP
        np.testing.assert_allclose(x, alone[2], rtol=0, atol=1e-10)


def test_memory_stays_flat(tmp_path: Path):
    """A window after the first ones adds nothing that stays: 2 kB each, as measured over 1,000."""
    many = 60
    case = {**lorenz.cycle(many), "window": {"start": 0.0, "slots": 1, "steps": 1}}
    path, used = lorenz.written(tmp_path, case, many), []
    with Engine(path, tmp_path / "out") as engine:
        engine.register("x", lorenz.background())
        engine.start(0.0)
        for number in range(1, many + 1):
            engine.advance(number * lorenz.DT)
            used.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
        assert engine.action is Action.STOP
    assert used[-2] - used[19] < 2**20  # the last one writes the series of all


def test_only_a_cycle_is_gone_on_with(tmp_path: Path):
    with pytest.raises(HostError, match="only a cycle"):
        Engine(lorenz.written(tmp_path, lorenz.tables()), resume=True)
