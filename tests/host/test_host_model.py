"""The window's model is the host's own step, with its tangent and adjoint, in Python."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from assim.case.failure import CaseError
from assim.couple import trampoline
from assim.couple.host_model import host_model
from assim.host import Action, Engine, HostError
from tests.host import lorenz
from tests.host.lorenz import END, N

ALL = (lorenz.host_step, lorenz.host_tangent, lorenz.host_adjoint)


@pytest.fixture(autouse=True, scope="module")
def _kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The piece between XLA and functions is compiled once."""
    folder, before = tmp_path_factory.mktemp("cache"), trampoline.cache_directory
    trampoline.cache_directory = lambda: folder
    yield
    trampoline.cache_directory = before


def started(folder: Path, case: dict, *functions: object) -> tuple[Engine, np.ndarray, np.ndarray]:
    engine = Engine(lorenz.written(folder, case), folder / "out")
    x, f = lorenz.background(), np.zeros(())
    engine.register("x", x)
    engine.register("F", f)
    engine.register_model(*functions)  # type: ignore[arg-type]
    engine.start(0.0)
    return engine, x, f


def test_the_analysis_is_that_of_the_model_in_jax(tmp_path: Path):
    case = lorenz.described()
    model = {"use": "Lorenz96", "n": N}
    lorenz.by_itself(tmp_path / "jax", {**case, "model": model}, tmp_path / "jax" / "out")
    expected = lorenz.opened(tmp_path / "jax" / "out" / "trajectory.nc")
    engine, x, f = started(tmp_path, case, *ALL)
    with engine:
        assert f == lorenz.F
        assert engine.advance(END) is Action.STOP
        np.testing.assert_allclose(x, expected["x"][-1], rtol=0, atol=1e-10)
        assert f != lorenz.F


def test_what_a_function_raises_ends_the_analysis_and_not_the_host(tmp_path: Path):
    def broken(*given: object) -> None:
        raise RuntimeError("it has lost its way")

    functions = lorenz.host_step, broken, broken
    engine, x, _ = started(tmp_path, lorenz.described(), *functions)
    with engine:
        before = x.copy()
        with pytest.raises(Exception, match="it has lost its way"):
            engine.advance(END)
        assert (x == before).all()
        words = "PythonModel(host_step): RuntimeError: it has lost its way"
        assert engine.last_error == f"the model has stopped the run: {words}"


def test_a_step_alone_is_refused_where_derivatives_are_needed(tmp_path: Path):
    with pytest.raises(CaseError, match=r"minimiser: .*needs the tangent of the step"):
        started(tmp_path, lorenz.described(), lorenz.host_step)


def test_without_a_host_the_case_says_what_it_lacks(tmp_path: Path):
    engine = Engine(lorenz.written(tmp_path, lorenz.described()), tmp_path / "out")
    engine.register("x", lorenz.background())
    with engine, pytest.raises(CaseError, match=r"model: HostModel: the step is that of a program"):
        engine.start(0.0)


def test_an_estimated_parameter_that_the_program_does_not_take_is_refused(tmp_path: Path):
    engine = Engine(lorenz.written(tmp_path, lorenz.described()), tmp_path / "out")
    engine.register("x", lorenz.background())
    engine.register_model(*ALL)
    with engine, pytest.raises(HostError, match=r"F: is estimated, and the program has registered"):
        engine.start(0.0)


FIELD, PLACE = {"x": {"dims": ["site"]}}, {"site": {"size": 3}}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dt": 0.0}, "dt must be positive"),
        ({"fields": {"x": {"dim": ["site"]}}}, r"fields\.x takes no key 'dim'"),
        ({"parameters": {"F": {"units": "1"}}}, r"parameters\.F needs its default"),
        ({"coordinates": {"site": {"units": "m"}}}, r"coordinates\.site needs either"),
    ],
)
def test_a_description_that_is_none(given: dict, words: str):
    whole = {"dt": 0.1, "fields": FIELD, "coordinates": PLACE, "step": lorenz.host_step, **given}
    with pytest.raises(ValueError, match=words):
        host_model(**whole)
