"""`assim sweep`: many cases, each in a process of its own, and one table of them."""

import csv
import dataclasses
import json
import os
import signal
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest

from assim.case.failure import CaseError
from assim.case.names import built_in_only
from assim.case.toml import listed_values
from assim.files.members import MemberFolder
from assim.run import processes
from assim.run.sweep import Request, members, over_axes
from tests.run.toy import invoke

FAKE = """
import json, os, signal, sys, time
from pathlib import Path

assert sys.argv[1] == "run"
out = Path(sys.argv[sys.argv.index("--out") + 1])
here = Path(__file__).parent
with open(here / "ran", "a") as file:
    file.write(f"{out.name}\\n")
how = json.loads((here / "how").read_text()).get(out.name, "finish")
print("begun", *(os.environ[name] for name in ("OMP_NUM_THREADS", "JAX_NUM_PROCESSES")))
print(*sys.argv[2:])
if how == "fail":
    sys.exit("the model is not finite\\n  at step 3")
if how == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "hang":
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted; nothing written")
        os._exit(130)
number = float(out.name.rpartition("=")[2] or 0)
fit = {"verdict": "good", "p_value": 0.0}
quantities = {"rate": {"mean": number / 10, "stddev": 0.5, "units": "day-1"}}
content = {"cost": {"total": number}, "fit": fit, "quantities": quantities, "id": time.time()}
content |= {"posterior": {"trust": "certified"}, "chosen": "laplace"}
(out / "summary.json").write_text(json.dumps(content))
"""


class Fake:
    """In place of `assim`: a program that does as a file says, and notes what was run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "fake.py").write_text(FAKE)
        self.behave()

    def behave(self, **how: str) -> None:
        names = {name.replace("_", "="): word for name, word in how.items()}
        (self.folder / "how").write_text(json.dumps(names))

    def ran(self) -> list[str]:
        """What has been run since this was last asked, in order of their names."""
        path = self.folder / "ran"
        names = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return sorted(names)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    made = Fake(tmp_path)
    monkeypatch.setattr(processes, "PROGRAM", (sys.executable, "-S", str(tmp_path / "fake.py")))
    return made


@pytest.fixture
def sweep(toy, tmp_path):
    """The command over seeds of the toy case: its output, and the rows of its table by name."""
    toy.write()

    def call(*options, seeds="1,2,3", code=0):
        over = ["--over", f"runtime.seed={seeds}"] if seeds else []
        place = ["--out", str(tmp_path / "sweep")]
        done = invoke("sweep", str(toy.folder / "case.toml"), *place, *over, *options)
        assert done.exit_code == code, done.output
        return done.output, table(tmp_path / "sweep")

    return call


def table(folder):
    path = folder / "sweep.csv"
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row.get("member", ""): row for row in csv.DictReader(file)}


def asked(*cases, over=(), sets=()):
    given = {"processes": None, "task": None, "tasks": None, "dask": None, "dry_run": False}
    return Request(tuple(cases), tuple(sets), tuple(over), Path("sweep"), environment={}, **given)


def names(*cases, over=(), sets=()):
    request = asked(*cases, over=over, sets=sets)
    return [member.name for member in members(request, over_axes(request.over))]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2.5, true", ["1", "2.5", "true"]),
        ("GaussNewton,LBFGS", ["GaussNewton", "LBFGS"]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ('{use="SVGD",members=5},Laplace', ['{use="SVGD",members=5}', "Laplace"]),
        ('"a,b",c', ['"a,b"', "c"]),
        ("1", ["1"]),
        ("", None),
        ("1,,2", None),
        ("[1,2", None),
        ('"a,b', None),
    ],
)
def test_values_are_cut_at_commas_outside_of_brackets(text, values):
    assert listed_values(text) == values


def test_members_are_all_combinations_and_named_by_their_settings(toy):
    toy.write()
    case = toy.folder / "case.toml"
    over = ["parameters.rate.prior.median=0.1,2e-1", "runtime.seed=0,7"]
    request = asked(case, over=over, sets=["title=Swept"])
    several = members(request, over_axes(over))
    assert [member.name for member in several] == [
        *("median=0.1,seed=0", "median=0.1,seed=7", "median=0.2,seed=0", "median=0.2,seed=7")
    ]
    third = several[2].case.checked
    assert third.parameters["rate"].prior.made().median == 0.2
    assert third.runtime.seed == 0 and third.title == "Swept"
    assert several[2].assignments == (
        *("title=Swept", "parameters.rate.prior.median=2e-1", "runtime.seed=0"),
    )


def test_names_tell_cases_keys_and_odd_values_apart(toy):
    toy.write()
    (toy.folder / "wide.toml").write_text((toy.folder / "case.toml").read_text())
    cases = [toy.folder / "case.toml", toy.folder / "wide.toml"]
    assert names(*cases) == ["toy", "wide"] and names(cases[0]) == ["toy"]
    assert names(*cases, over=["runtime.seed=1"]) == ["toy,seed=1", "wide,seed=1"]
    keys = ["background.file=background.nc", "observations.0.file=observations.nc"]
    (name,) = names(cases[0], over=keys)
    assert name == "background_file=background.nc,0_file=observations.nc"
    odd = names(cases[0], over=['title=a/b,"a b",../a b'])
    assert len(set(odd)) == 3 and not any(set("/ \"'") & set(name) for name in odd)
    assert odd == names(cases[0], over=['title=a/b,"a b",../a b'])
    (long,) = names(cases[0], over=[f"title={300 * 'x'}"])
    assert len(long) < 255
    for twice in ("runtime.seed=1,2,1", "model.dt=1.0,1e0", "title=a,A"):
        with pytest.raises(CaseError, match="name no case or value twice"):
            names(cases[0], over=[twice])
    with pytest.raises(CaseError, match="name no case or value twice"):
        names(cases[0], cases[0])


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ("runtime.sed=1,2", "runtime.sed: no such key; did you mean 'seed'"),
        ("runtime.seed=1,x", "runtime.seed: must be a whole number, got 'x'"),
        ("model.speed=1,2", "model.speed: Decay takes no such argument"),
        ("parameters.rat.prior=Jeffreys", "parameters.rat"),
        ("observations.3.file=a.nc", "--over: observations.3.file: observations.3 holds no table"),
        ("runtime.seed", "--over: write a.b=V1,V2"),
        ("runtime.seed=[1,2", "--over: write a.b=V1,V2"),
    ],
)
def test_a_wrong_key_is_refused_before_anything_runs(sweep, fake, tmp_path, over, said):
    output, _ = sweep("--over", over, seeds="", code=2)
    assert said in output
    assert not fake.ran() and not (tmp_path / "sweep").exists()


def test_options_that_do_not_go_together(sweep, fake):
    assert "--of go together" in sweep("--task", "1", code=2)[0]
    assert "--task: there are 2 parts, got 3" in sweep("--task", "3", "--of", "2", code=2)[0]
    assert "drop --processes" in sweep("--dask", "tcp://x:1", "--processes", "2", code=2)[0]
    assert "stands twice" in sweep("--over", "runtime.seed=4", code=2)[0]
    assert not fake.ran()


def test_a_table_of_all_and_only_what_is_left_is_run_again(sweep, fake, toy):
    fake.behave(seed_2="fail")
    output, rows = sweep("--processes", "2", code=7)
    assert fake.ran() == ["seed=1", "seed=2", "seed=3"]
    assert list(rows) == ["seed=1", "seed=2", "seed=3"]
    first, failed = rows["seed=1"], rows["seed=2"]
    assert (first["exit"], first["meaning"], first["runtime.seed"]) == ("0", "done", "1")
    figures = [first[key] for key in ("cost", "chi_squared_p_value", "trust", "fit")]
    assert figures == ["1.0", "0.0", "certified", "good"] and float(first["rate_mean"]) == 0.1
    assert Path(first["folder"], "summary.json").is_file() and float(first["seconds"]) > 0
    assert (failed["exit"], failed["message"], failed["cost"]) == ("1", "at step 3", "")
    assert "seed=2: internal (exit 1): at step 3" in output and "2 of 3 done, 1 failed" in output
    assert MemberFolder(Path(failed["folder"])).output.read_text().startswith("begun")
    assert "seed=2" in sweep("--dry-run")[0] and not fake.ran()
    sweep(code=7)
    assert fake.ran() == ["seed=2"]
    fake.behave()
    assert "3 of 3 done" in sweep()[0] and fake.ran() == ["seed=2"]
    sweep(seeds="2,3,4")
    assert fake.ran() == ["seed=4"]


def test_another_case_other_inputs_or_lost_results_are_run_again(sweep, fake, toy, tmp_path):
    sweep(seeds="1,2")
    assert fake.ran() == ["seed=1", "seed=2"]
    sweep("--set", "title=Another", seeds="1,2")
    assert fake.ran() == ["seed=1", "seed=2"]
    content = (toy.folder / "observations.nc").read_bytes()
    (toy.folder / "observations.nc").write_bytes(content + b"more")
    sweep("--set", "title=Another", seeds="1,2")
    assert fake.ran() == ["seed=1", "seed=2"]
    (toy.folder / "toy.py").write_text(toy.model + "\n")
    (tmp_path / "sweep" / "seed=2" / "summary.json").unlink()
    assert "not run" in sweep("--set", "title=Another", "--dry-run", seeds="1,2")[0]
    sweep("--set", "title=Another", seeds="1,2")
    assert fake.ran() == ["seed=1", "seed=2"]
    (tmp_path / "sweep" / "seed=2" / "summary.json").write_text("{}")  # of something else
    sweep("--set", "title=Another", seeds="1,2")
    assert fake.ran() == ["seed=2"]


def test_a_failure_has_no_figures_of_an_earlier_run(sweep, fake):
    sweep(seeds="2")
    fake.behave(seed_2="fail")
    _, rows = sweep("--set", "title=Another", seeds="2", code=7)
    assert rows["seed=2"]["exit"] == "1" and rows["seed=2"]["cost"] == ""


def test_a_member_that_is_killed_touches_no_other(sweep, fake):
    fake.behave(seed_1="die")
    output, rows = sweep("--processes", "1", code=7)
    assert [rows[f"seed={n}"]["exit"] for n in (1, 2, 3)] == ["-9", "0", "0"]
    assert "killed by SIGKILL, as where memory is full (exit -9): " in output
    assert rows["seed=1"]["message"].endswith("--set runtime.seed=1")  # the last that it said


def test_tasks_share_the_members(sweep, fake):
    """Each is run once, by one task, and the last table has all of them."""
    ran, seeds = list[list[str]](), "1,2,3,4,5"
    for task in (3, 1, 2):
        output, rows = sweep("--task", str(task), "--of", "3", seeds=seeds)
        ran.append(fake.ran())
        done = {name for name, row in rows.items() if row["exit"] == "0"}
        assert done == {name for names in ran for name in names}
    assert ran == [["seed=3"], ["seed=1", "seed=4"], ["seed=2", "seed=5"]]
    assert "5 of 5 done" in output
    fake.behave(seed_1="die")
    sweep("--task", "2", "--of", "3", "--set", "title=Another", seeds=seeds)  # done are its own
    assert fake.ran() == ["seed=2", "seed=5"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_stops_what_runs_and_keeps_what_is_finished(sweep, fake, number):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may ignore
    fake.behave(seed_2="hang")

    def interrupt():
        while len((fake.folder / "ran").read_text().split()) < 2:
            time.sleep(0.02)
        time.sleep(0.3)  # it has come to where it waits
        os.kill(os.getpid(), number)

    (fake.folder / "ran").touch()
    threading.Thread(target=interrupt).start()
    begin = time.perf_counter()
    output, rows = sweep("--processes", "1", code=130)
    assert time.perf_counter() - begin < 15
    signal.signal(signal.SIGINT, before)
    assert "the same command goes on" in output
    assert [rows[f"seed={n}"]["exit"] for n in (1, 2, 3)] == ["0", "130", ""]
    assert rows["seed=2"]["message"] == "interrupted; nothing written"
    assert fake.ran() == ["seed=1", "seed=2"]
    fake.behave()
    assert "3 of 3 done" in sweep()[0] and fake.ran() == ["seed=2", "seed=3"]


def test_processes_share_the_cpus(sweep, fake, monkeypatch):
    monkeypatch.setattr(processes, "cpus", lambda: 8)
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")  # as of a launcher, whose processes are not these
    _, rows = sweep("--processes", "2")
    said = [MemberFolder(Path(row["folder"])).output.read_text() for row in rows.values()]
    assert [text.split()[1:3] for text in said] == 3 * [["4", "1"]]
    assert "--set runtime.seed=3" in said[2]


def test_nothing_of_others_is_replaced(sweep, fake, tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.csv").write_text("a,b\n1,2\n")
    assert "is not the table of a sweep" in sweep(code=3)[0]
    (tmp_path / "sweep" / "sweep.csv").unlink()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sweep" / "seed=1").mkdir()
    (tmp_path / "sweep" / "seed=1" / ".assim").symlink_to(tmp_path / "elsewhere")
    assert "is a link" in sweep(code=3)[0]
    assert not fake.ran() and not [*(tmp_path / "elsewhere").iterdir()]


def test_results_go_where_no_inputs_are(sweep, fake, toy, tmp_path):
    (tmp_path / "sweep").mkdir()
    toy.folder.rename(tmp_path / "sweep" / "seed=1")
    toy.folder.symlink_to(tmp_path / "sweep" / "seed=1")
    assert "results are never written where inputs are" in sweep(seeds="1", code=2)[0]
    assert not fake.ran()


def test_members_refuse_plugins_as_the_sweep_does_and_cycles_go_on(toy, tmp_path):
    toy.case["model"] = {"use": "Lorenz63"}
    toy.write()
    (member,) = members(asked(toy.folder / "case.toml"), {})
    assert not {"--no-plugins", "--resume"} & set(member.job().command)
    with built_in_only():
        assert "--no-plugins" in member.job().command
    (tmp_path / "sweep" / "toy").mkdir(parents=True)
    (tmp_path / "sweep" / "toy" / "manifest.jsonl").touch()
    moved = dataclasses.replace(member, folder=MemberFolder(tmp_path / "sweep" / "toy"))
    assert "--resume" in moved.job().command


def test_without_dask_it_is_said_what_is_missing(sweep, fake, monkeypatch):
    for name in ("dask", "dask.distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "--dask: needs Dask's package `distributed`" in sweep("--dask", "tcp://x:1", code=2)[0]
    assert not fake.ran()


class Future:
    """A task that has been done, or was lost."""

    def __init__(self, work, job):
        self.job = job
        self.lost = RuntimeError("worker gone") if job.record["member"] == "seed=2" else None
        self.value = None if self.lost else work(job)

    def exception(self):
        return self.lost

    def result(self):
        return self.value


class Client:
    """As much of Dask's as a sweep uses."""

    def __init__(self, address):
        if address != "tcp://here:1":
            raise OSError("timed out")

    def submit(self, work, job, pure):
        return Future(work, job)

    def cancel(self, futures):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def test_a_dask_cluster_runs_the_same_processes(sweep, fake, monkeypatch):
    module = types.ModuleType("dask.distributed")
    module.Client, module.as_completed = Client, list
    monkeypatch.setitem(sys.modules, "dask", types.ModuleType("dask"))
    monkeypatch.setitem(sys.modules, "dask.distributed", module)
    assert "no scheduler answers" in sweep("--dask", "tcp://x:1", code=3)[0]
    output, rows = sweep("--dask", "tcp://here:1", code=7)
    assert fake.ran() == ["seed=1", "seed=3"]
    assert [rows[f"seed={n}"]["exit"] for n in (1, 2, 3)] == ["0", "", "0"]
    assert "seed=2: not run: lost: worker gone" in output
    assert MemberFolder(Path(rows["seed=1"]["folder"])).output.read_text().split()[1] == "1"


@pytest.mark.slow
def test_a_real_cluster(sweep, fake):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(1, threads_per_worker=2, dashboard_address=None) as cluster:
        output, _ = sweep("--dask", cluster.scheduler_address)
    assert "3 of 3 done" in output


def test_a_member_is_a_run_like_any_other(toy, sweep, tmp_path):
    """Here one that does not converge; pages of the documentation have others."""
    keep = ("--set", 'output.keep=["analysis"]')
    _, rows = sweep("--over", "minimiser.n_outer=1", *keep, seeds="", code=7)
    row = rows["n_outer=1"]
    assert (row["exit"], row["meaning"]) == ("4", "not converged")
    assert row["message"].startswith("Not converged.") and float(row["seconds"]) > 0
    assert toy.run("--set", "minimiser.n_outer=1", *keep).exit_code == 4
    alone = json.loads((toy.out / "summary.json").read_text())
    np.testing.assert_allclose(float(row["cost"]), alone["cost"]["total"], rtol=1e-8)
    assert row["fit"] == alone["fit"]["verdict"] and row["trust"] == ""
