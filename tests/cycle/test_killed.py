"""A cycle that is killed again and again goes on bit by bit."""

import os
import random
import subprocess
import sys
import time

import pytest

from assim.files.read import manifest as ledger
from tests.cycle.files import Files, contents, manifest, steady

WINDOWS = 50
KILLS = int(os.environ.get("ASSIM_TESTS_KILLS", "10"))


def started(files, out, cache, *options):
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "assim.run.cli", "run", str(files.folder / "case.toml")]
    command += ["--out", str(out), "--quiet", *options]
    environment = {**os.environ, "ASSIM_CACHE_DIR": str(cache)}
    return subprocess.Popen(command, env=environment)


def killed_at_random(process, out, generator):
    """Kill -9 within the windows' own time, or wait for the end; whether it was killed."""
    path = out / "manifest.jsonl"
    size = path.stat().st_size if path.exists() else 0
    while process.poll() is None and not (path.exists() and path.stat().st_size > size):
        time.sleep(0.002)
        if generator.random() < 2e-4:  # sometimes while it starts
            break
    try:
        process.wait(timeout=generator.uniform(0.0, 1.0))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    assert process.returncode == 0
    return False


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    generator = random.Random(0)
    files = Files.made(tmp_path / "case", WINDOWS)
    whole, cache = tmp_path / "whole", tmp_path / "cache"
    assert started(files, whole, cache).wait() == 0
    expected, lines = contents(whole), steady(manifest(whole))
    kills, cycle = 0, 0
    while kills < KILLS:
        out, options = tmp_path / f"out{cycle}", ()
        while killed_at_random(started(files, out, cache, *options), out, generator):
            kills += 1
            options = ("--resume",)
        cycle += 1
        assert contents(out) == expected
        assert steady(manifest(out)) == lines
        assert not list(out.rglob("*.part"))
        last = manifest(out)[-1]
        assert ledger.damaged(out, last) == []
    print(f"{kills} kills in {cycle} cycles")
