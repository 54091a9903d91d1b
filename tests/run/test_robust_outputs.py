"""Inputs are never outputs, and nothing goes that this program did not write and record."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from assim.files import record
from assim.files.errors import DataError
from assim.files.netcdf import hash_file
from assim.files.read.manifest import NAME, read_manifest
from assim.files.record import Batch, Record, alone, together
from tests.run.toy import Toy, invoke, listed

KEEP = ["--set", 'output.keep=["analysis","feedback"]']
CYCLE = ["--set", "cycle={windows=2}", "--set", 'background.covariance={use="Diagonal",stdev=1.0}']


@pytest.fixture(scope="module")
def finished(shared: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that keeps two files and no report."""
    out = tmp_path_factory.mktemp("robust") / "out"
    result = shared.run("--out", str(out), *KEEP)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def nothing_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assim.case.pose.analyse", None)


def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


# ---- inputs --------------------------------------------------------------------------------------

COMMANDS = {
    "run": ("run", []),
    "cycle": ("run", CYCLE),
    "calibrate": ("calibrate", ["--method", "laplace"]),
    "forecast": ("forecast", []),
    "experiment": ("run", [*CYCLE, "--set", "cycle.twin=true", "--set", "twin={stdev=0.5}"]),
}


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_writes_where_its_inputs_are(toy: Toy, name: str) -> None:
    command, options = COMMANDS[name]
    before = listed(toy.write().folder)
    result = toy.run("--out", str(toy.folder), *options, command=command)
    assert result.exit_code == 2, result.output
    assert "--out" in result.stderr and "case.toml, which is read" in result.stderr
    assert listed(toy.folder) == before


@pytest.mark.usefixtures("nothing_computed")
def test_compare_writes_to_no_folder_of_its_cases(toy: Toy) -> None:
    toy.write()
    other = toy.folder / "other.toml"
    shutil.copy(toy.folder / "case.toml", other)
    before = listed(toy.folder)
    result = invoke("compare", str(other), str(toy.folder / "case.toml"), "--out", str(toy.folder))
    assert result.exit_code == 2 and "which is read" in result.stderr
    assert listed(toy.folder) == before


def _background(toy: Toy) -> None:
    toy.out.mkdir(parents=True)
    (toy.folder / "background.nc").rename(toy.out / "analysis.nc")
    toy.case["background"]["file"] = "results/analysis.nc"


def _deeper(toy: Toy) -> None:
    (toy.out / "windows/000001").mkdir(parents=True)
    (toy.folder / "observations.nc").rename(toy.out / "windows/000001/feedback.nc")
    toy.case["observations"][0]["file"] = "results/windows/000001/feedback.nc"


def _model(toy: Toy) -> None:
    toy.out.mkdir(parents=True)
    (toy.folder / "toy.py").rename(toy.out / "toy.py")
    toy.case["model"]["use"] = "results/toy.py:Decay"


def _by_a_link(toy: Toy) -> None:
    toy.out.symlink_to(toy.folder, target_is_directory=True)


def _input_is_a_link(toy: Toy) -> None:
    toy.out.mkdir(parents=True)
    (toy.out / "background.nc").symlink_to(toy.folder / "background.nc")
    toy.case["background"]["file"] = "results/background.nc"


def _link_to_a_result(toy: Toy) -> None:
    _background(toy)
    (toy.folder / "b.nc").symlink_to(toy.out / "analysis.nc")
    toy.case["background"]["file"] = "b.nc"


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize(
    "place", [_background, _deeper, _model, _by_a_link, _input_is_a_link, _link_to_a_result]
)
def test_a_run_never_reads_what_it_may_replace(toy: Toy, place: Any) -> None:
    place(toy.write())
    toy.write_case()
    before = listed(toy.folder)
    result = toy.run()
    assert result.exit_code == 2, result.output
    assert "results are never written where inputs are" in result.stderr
    assert listed(toy.folder) == before


def test_the_directory_of_a_case_is_checked_too(toy: Toy) -> None:
    toy.case["output"] = {"directory": "."}
    toy.write()
    result = invoke("run", str(toy.folder / "case.toml"))
    assert result.exit_code == 2 and "output.directory" in result.stderr


@pytest.mark.parametrize("file", ["case.toml", "background.nc", "./observations.nc", "toy.py"])
def test_a_twin_makes_nothing_that_it_reads_or_makes_otherwise(toy: Toy, file: str) -> None:
    toy.case["twin"] = {"initial": {"x": 2.0}, "stdev": 0.5, "truth": file}
    toy.case["observations"][0]["error"] = {"stdev": 0.1}
    before = listed(toy.write().folder)
    result = toy.run("--force", command="twin")
    assert result.exit_code == 2, result.output
    assert Path(file).name in result.stderr and "file of its own" in result.stderr
    assert listed(toy.folder) == before


def test_a_twin_that_fails_leaves_all_files_as_they_were(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.case["twin"] = {"initial": {"x": 2.0}, "stdev": 0.5}
    toy.case["observations"][0]["error"] = {"stdev": 0.1}
    before = listed(toy.write().folder)
    fill_the_disk(monkeypatch, "observations")
    result = toy.run("--force", command="twin")
    assert result.exit_code == 3 and "observations.nc: cannot be written" in result.stderr
    assert listed(toy.folder) == before


# ---- what is there already -----------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize("name", ["analysis.nc", "summary.json"])
def test_what_assim_did_not_write_stands(shared: Toy, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("of somebody else")
    result = shared.run("--out", str(tmp_path), *KEEP)
    assert result.exit_code == 3 and "or is not assim's; move it" in result.stderr
    assert listed(tmp_path) == {name: b"of somebody else"}


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("posterior_svgd.nc", ('posterior=["Laplace","SVGD"]',)),
        ("trajectory_mine.nc", ('posterior=["Laplace",{use="NUTS",name="mine"}]',)),
        ("posterior_nuts_careful.nc", ('posterior="auto"',)),
        ("inference_data.nc", ('posterior="Laplace"', "output.arviz=true")),
    ],
)
def test_whatever_a_run_may_write_is_seen_to_be_free_before(
    shared: Toy, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    (tmp_path / name).write_text("of somebody else")
    given = [word for option in options for word in ("--set", option)]
    result = shared.run("--out", str(tmp_path), *given)
    assert result.exit_code == 3 and f"{name}: cannot be written" in result.stderr, result.output
    assert listed(tmp_path) == {name: b"of somebody else"}


@pytest.mark.usefixtures("nothing_computed")
def test_results_without_a_record_are_named_all_at_once(
    shared: Toy, finished: Path, tmp_path: Path
) -> None:
    """As of an earlier version, or copied without the folder: moved away, they are in no way."""
    out = copied(finished, tmp_path)
    shutil.rmtree(out / ".assim")
    result = shared.run("--out", str(out), *KEEP)
    assert result.exit_code == 3 and "copied without the folder .assim" in result.stderr
    for name in ("analysis.nc", "feedback.nc", "summary.json"):
        assert str(out / name) in result.stderr


@pytest.mark.usefixtures("nothing_computed")
def test_what_has_changed_since_stands(shared: Toy, finished: Path, tmp_path: Path) -> None:
    out = copied(finished, tmp_path)
    (out / "feedback.nc").write_text("notes")
    before = listed(out)
    result = shared.run("--out", str(out), *KEEP)
    assert result.exit_code == 3 and "feedback.nc: cannot be written" in result.stderr
    assert "has changed since assim wrote it" in result.stderr
    assert listed(out) == before


def test_a_file_that_has_not_changed_is_read_once(tmp_path: Path, monkeypatch) -> None:
    read: list[Path] = []

    def hashed(path: Path) -> str:
        read.append(path)
        return hash_file(path)

    with together(tmp_path, "run") as batch, batch.part("a.json") as path:
        path.write_text("{}")
    monkeypatch.setattr(record, "hash_file", hashed)
    written = record.Record(tmp_path)
    assert written.owns("a.json") and written.owns("a.json") and len(read) == 1
    written.check_free(["a.json"])
    assert len(read) == 1
    (tmp_path / "a.json").write_text("[]")  # of the same length
    os.utime(tmp_path / "a.json", (0, 0))  # whose time a quick test might not change
    assert not written.owns("a.json") and len(read) == 2


@pytest.mark.usefixtures("nothing_computed")
def test_a_link_is_neither_replaced_nor_followed(
    shared: Toy, finished: Path, tmp_path: Path
) -> None:
    out = copied(finished, tmp_path)
    (out / "analysis.nc").rename(tmp_path / "mine.nc")
    (out / "analysis.nc").symlink_to(tmp_path / "mine.nc")
    result = shared.run("--out", str(out), *KEEP)
    assert result.exit_code == 3 and "analysis.nc" in result.stderr
    assert (out / "analysis.nc").is_symlink() and (tmp_path / "mine.nc").is_file()


def test_a_run_replaces_its_own_files_and_no_other(
    shared: Toy, finished: Path, tmp_path: Path
) -> None:
    out = copied(finished, tmp_path)
    for name in ("notes.txt", "posterior_mine.nc", "report.html"):
        (out / name).write_text("mine")
    result = shared.run("--out", str(out), "--set", 'output.keep=["analysis"]')
    assert result.exit_code == 0, result.output
    kept = ["analysis.nc", "notes.txt", "posterior_mine.nc", "report.html", "summary.json"]
    assert sorted(listed(out)) == kept
    assert (out / "report.html").read_text() == "mine"


@pytest.mark.parametrize("folder", [".assim", ".assim/parts", "figures"])
def test_folders_that_are_links_are_refused(tmp_path: Path, folder: str) -> None:
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "out" / folder
    for made in (elsewhere / "parts", link.parent):
        made.mkdir(parents=True, exist_ok=True)
    (elsewhere / "x.png").write_text("mine")
    link.symlink_to(elsewhere, target_is_directory=True)
    with (
        pytest.raises(DataError, match="is a link"),
        Batch(tmp_path / "out", "report").part("figures/x.png") as path,
    ):
        path.write_text("new")
    assert listed(elsewhere) == {"x.png": b"mine"}


# ---- all or nothing ------------------------------------------------------------------------------


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """No file whose name holds this can be written; half of it is when the disk is full."""
    write = xr.Dataset.to_netcdf

    def full(self: xr.Dataset, path: Any, **options: Any) -> Any:
        if name in Path(path).name:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, path, **options)

    monkeypatch.setattr(xr.Dataset, "to_netcdf", full)


@pytest.mark.parametrize("name", ["analysis", "feedback"])
def test_a_full_disk_leaves_the_earlier_run_whole(
    shared: Toy, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    out = copied(finished, tmp_path)
    before = listed(out)
    fill_the_disk(monkeypatch, name)
    result = shared.run("--out", str(out), *KEEP)
    assert result.exit_code == 3, result.output
    assert f"{out / name}.nc: cannot be written (No space left" in result.stderr
    assert listed(out) == before


def test_a_disk_too_full_for_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(tmp_path, "run")
    with batch.part("analysis.nc") as path:
        path.write_text("whole")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"analysis\.nc: cannot be written \(No space left"):
        batch.finish()
    batch.drop()
    assert listed(tmp_path) == {}


def test_whatever_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """Files on their way, and files that had been recorded but had not all got their names."""
    batch = Batch(tmp_path, "run")
    for name in ("analysis.nc", "summary.json"):
        with batch.part(name) as path:
            path.write_text("first")
    batch.finish()
    again = Batch(tmp_path, "run")
    for name in ("analysis.nc", "summary.json"):
        with again.part(name) as path:
            path.write_text("second")
    digests = {name: "0" * 64 for name in again.waiting}
    again.record.add("run", digests)
    (tmp_path / "notes.txt").write_text("mine")
    with alone(tmp_path):
        assert set(listed(tmp_path)) == {"analysis.nc", "summary.json", "notes.txt"}
        record = Record(tmp_path)
        assert record.owns("analysis.nc") and not record.owns("notes.txt")


def test_a_directory_is_one_process_s(shared: Toy, finished: Path) -> None:
    before = listed(finished)
    with alone(finished):
        result = shared.run("--out", str(finished), *KEEP)
        reported = invoke("report", str(finished))
    for refused in (result, reported):
        assert refused.exit_code == 3 and "another process is writing to it" in refused.stderr
    assert listed(finished) == before


# ---- manifests -----------------------------------------------------------------------------------

HEADING = {"cycle": "x", "config_sha256": "0", "assim_version": "0", "inputs": {}}
LINES = {
    "a list": [],
    "a number": 5,
    "nothing": None,
    "no files": {"window": 0},
    "files as a list": {"window": 0, "files": []},
    "a checksum that is a number": {"window": 0, "files": {"a": 1}},
    "a file elsewhere": {"window": 0, "files": {"../a": "0"}},
    "observations as a list": {"window": 0, "files": {}, "observations": {"x": []}},
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_of_another_shape_is_told(tmp_path: Path, name: str) -> None:
    lines = [json.dumps(entry) + "\n" for entry in (HEADING, LINES[name])]
    (tmp_path / NAME).write_text("".join(lines))
    with pytest.raises(DataError, match=rf"{NAME}, line 2: expected .*changed by something else"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("line", ["[" * 100_000, "5", "null", "{", '{"name": 1}'])
def test_a_record_that_was_changed_is_told(shared: Toy, tmp_path: Path, line: str) -> None:
    (tmp_path / ".assim").mkdir()
    (tmp_path / ".assim/written.jsonl").write_text(line + "\n")
    result = shared.run("--out", str(tmp_path))
    assert result.exit_code == 3, result.output
    assert "written.jsonl, line 1: expected" in result.stderr


def test_resuming_from_a_manifest_of_another_shape(toy: Toy) -> None:
    toy.write().out.mkdir()
    (toy.out / NAME).write_text("[]\n")
    options = ["--set", "window.slots=2", "--set", "posterior=Laplace"]
    result = toy.run("--resume", *CYCLE, *options)
    assert result.exit_code == 3, result.output
    assert "line 1: expected a JSON object" in result.stderr
