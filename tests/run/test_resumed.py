"""What a method has drawn survives the process that drew it, and a rerun takes it from there."""

import importlib
import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from assim.analysis.store import Drawn
from assim.case.names import foreign_modules
from assim.files.record import FOLDER
from assim.files.unfinished import UNFINISHED, Unfinished, fingerprint_of
from assim.run.terminal.screen import Screen
from assim.solve.minimise import loop

OWN = """
import os
from pathlib import Path

import jax
import jax.numpy as jnp

import assim
from assim import Trust
from assim.solve.posterior.ensemble import Ensemble


class Counted(assim.posterior.AbstractPosterior):
    def name(self):
        return "counted"

    def sample(self, problem, around, key, report=None):
        with open({log!r}, "a") as file:
            file.write("drawn\\n")
        members = around.gaussian.draws(key, 40)
        return Ensemble(members, jnp.full(40, 1 / 40), Trust.DOUBTFUL, "few", {{"k": float("nan")}})


class Stopped(assim.posterior.AbstractPosterior):
    def name(self):
        return "stopped"

    def sample(self, problem, around, key, report=None):
        how = Path({how!r}).read_text()
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "kill":
            os.kill(os.getpid(), 9)
        return Ensemble(around.gaussian.draws(key, 20), jnp.full(20, 1 / 20), Trust.DOUBTFUL, "few")
"""


@pytest.fixture
def stopping(toy):
    """A case whose second method is stopped as a file says, and how often the first has drawn."""
    toy.case["posterior"] = [{"use": "own.py:Counted"}, {"use": "own.py:Stopped"}]
    toy.write()
    log, how = toy.folder / "log", toy.folder / "how"
    (toy.folder / "own.py").write_text(OWN.format(log=str(log), how=str(how)))

    def run(way, code):
        how.write_text(way)
        done = toy.run()
        assert done.exit_code == code, done.output
        return log.read_text().count("drawn"), done.output

    return run


def kept(toy, what="posterior"):
    folder = toy.out / FOLDER / UNFINISHED
    return sorted(path.name for path in folder.glob(f"{what}_*")) if folder.is_dir() else []


def test_an_interrupted_run_goes_on(stopping, toy):
    assert stopping("interrupt", 130)[0] == 1
    assert kept(toy) == ["posterior_counted.nc"]
    first = xr.load_dataset(toy.out / "posterior.nc")
    drawn, said = stopping("go on", 0)
    assert drawn == 1 and "counted: drawn before" in said
    summary = json.loads((toy.out / "summary.json").read_text())
    assert set(summary["posterior"]) == {"counted", "stopped"} and not summary["failures"]
    again = xr.load_dataset(toy.out / "posterior_counted.nc" if summary["chosen"] != "counted"
                            else toy.out / "posterior.nc")  # fmt: skip
    assert (again["rate"].values == first["rate"].values).all()
    assert kept(toy) == []
    assert stopping("go on", 0)[0] == 2  # a finished run begins anew


def test_another_case_or_code_begins_anew(stopping, toy):
    stopping("interrupt", 130)
    toy.case["runtime"] = {**toy.case.get("runtime", {}), "seed": 5}
    toy.write()
    assert stopping("interrupt", 130)[0] == 2
    own = toy.folder / "own.py"
    own.write_text(own.read_text() + "\n")
    assert stopping("interrupt", 130)[0] == 3
    (toy.out / FOLDER / UNFINISHED / "posterior_counted.nc").write_bytes(b"torn")
    assert stopping("interrupt", 130)[0] == 4


@pytest.mark.slow
def test_a_killed_run_goes_on(stopping, toy):
    """SIGKILL leaves no time for anything: what was written before is there.

    Both in processes of their own: the modules of the tests would count as code of the case.
    """
    how, out = toy.folder / "how", ["--out", str(toy.out)]
    code = ["-c", "from assim.run.cli import main; main()", "run", str(toy.folder / "case.toml")]
    for way, status in (("kill", -signal.SIGKILL), ("go on", 0)):
        how.write_text(way)
        done = subprocess.run([sys.executable, *code, *out], capture_output=True, check=False)
        assert done.returncode == status, done.stderr
        assert kept(toy) == (["posterior_counted.nc"] if way == "kill" else [])
    assert (toy.folder / "log").read_text().count("drawn") == 1


def test_what_cannot_be_kept_is_told_and_never_raises(tmp_path):
    """No link is followed, and a certificate may be anything."""
    said = []
    store = Unfinished(tmp_path / "results", "print", "Toy", said.append)
    drawn = Drawn(np.zeros((2, 1)), np.full(2, 0.5), {"seconds": 1.0}, {}, "doubtful", "few")
    store.save("arrays", drawn._replace(certificates={"k": np.zeros(3)}))
    assert said.pop().startswith("arrays: cannot be kept for another run")
    (tmp_path / "elsewhere").mkdir()
    store.folder.parent.mkdir(parents=True)
    for link in (store.folder, store.folder.parent):
        shutil.rmtree(link, ignore_errors=True)
        link.symlink_to(tmp_path / "elsewhere")
        store.save("linked", drawn)
        assert "is a link" in said.pop() and not [*(tmp_path / "elsewhere").iterdir()]
        link.unlink()
    store.save("linked", drawn)
    assert not said and store.load("linked").trust == "doubtful"


def test_a_module_that_own_code_imports_counts(tmp_path, monkeypatch):
    """Not those of packages, nor those of the engine."""
    helper = tmp_path / "rates_of_a_tank.py"
    helper.write_text("FACTOR = 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("rates_of_a_tank")
    foreign = foreign_modules()
    assert helper.resolve() in foreign
    assert not [path for path in foreign if path.name == "unfinished.py" or "numpy" in path.parts]
    before = fingerprint_of({}, {str(path): path for path in foreign})
    helper.write_text("FACTOR = 2.0\n")
    assert fingerprint_of({}, {str(path): path for path in foreign}) != before
    monkeypatch.delitem(sys.modules, "rates_of_a_tank")


@pytest.mark.parametrize("option", [(), ("--resume",)], ids=str)
def test_a_minimisation_goes_on_after_its_last_loop(toy, monkeypatch, option):
    """Stopped in its third loop, where it was killed or interrupted; as if it had not been."""
    toy.case["posterior"] = {"use": "none"}
    assert toy.write().run().exit_code == 0
    whole = [xr.load_dataset(toy.out / f"{name}.nc") for name in ("analysis", "diagnostics")]
    shutil.rmtree(toy.out)
    monkeypatch.setattr(loop, "LONG", -1.0)
    shown = Screen.loop

    def stop(screen, row):
        if row.number == 3:
            raise KeyboardInterrupt
        shown(screen, row)

    with monkeypatch.context() as stopped:
        stopped.setattr(Screen, "loop", stop)
        assert toy.run().exit_code == 130
    assert kept(toy, "minimum") == ["minimum_1.nc"]
    result = toy.run(*option)
    assert result.exit_code == 0 and "Minimisation 1 goes on after 3 outer loops" in result.output
    for name, before in zip(("analysis", "diagnostics"), whole, strict=True):
        again = xr.load_dataset(toy.out / f"{name}.nc").drop_attrs()
        times = [variable for variable in again if variable.startswith("seconds")]
        xr.testing.assert_identical(again.drop_vars(times), before.drop_attrs().drop_vars(times))
    assert kept(toy, "minimum") == []


def test_loops_of_another_case_are_not_gone_on_with(toy, monkeypatch):
    toy.case["posterior"] = {"use": "none"}
    monkeypatch.setattr(loop, "LONG", -1.0)
    with monkeypatch.context() as stopped:
        stopped.setattr(Screen, "loop", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert toy.write().run().exit_code == 130
    assert kept(toy, "minimum") == ["minimum_1.nc"]
    toy.case["parameters"]["rate"]["prior"]["median"] = 0.11
    result = toy.write().run()
    assert result.exit_code == 0 and "goes on" not in result.output
