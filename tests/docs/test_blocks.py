"""Every block of code in README.md and docs/ is run, in order, in a folder of its own."""

import os
import re
import sys
from pathlib import Path

import click
import jax
import pytest
from click.testing import CliRunner
from jax.experimental.compilation_cache import compilation_cache

from assim.run.cli import main
from tests.docs.pages import (
    CODE,
    PAGES,
    PLAIN,
    ROOT,
    Block,
    Command,
    blocks,
    commands,
    name_of,
    of_shipped_case,
)

LONG = {  # methods, toys of which tests/analysis/test_own_plugins.py has the like, and commands
    *("sloppy", "predictive", "importance", "calibration", "choosing", "mcmc", "nested"),
    "step-alone",
    "diagnostics",
    *("own-operator", "own-posterior", "own-prior", "own-diagnostic", "own-likelihood"),
    *(
        "cycle",
        "cycle-baselines",
        "forecast",
        "covariance",
        "observations",
        *("operator", "case", "model", "sweep"),
    ),  # that tests/run and tests/cycle run
}
ELSEWHERE = {"host", "real-codes"}  # run by tests/host, with a compiler, and by tests/couple
WITH_CODE = [
    pytest.param(page, marks=pytest.mark.slow if page.stem in LONG else ())
    for page in PAGES
    if page.stem not in ELSEWHERE and any(block.language in CODE for block in blocks(page))
]
ALL_METHODS = {  # that tests/analysis/test_methods.py runs, for minutes
    ("assim", "run", f"cases/{case}/methods.toml") for case in ("lynx_hare", "sir_waterborne")
}
SHIPPED = sorted(
    {
        tuple(command.words)
        for page in PAGES
        for block in blocks(page)
        for command in commands(block)
        if of_shipped_case(command) and command.words[0] == "assim"
    }
    - ALL_METHODS
)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def programs(pytestconfig):
    """Compiled programs, kept between runs of the tests: what is tested here are the pages."""
    folder, before = pytestconfig.cache.mkdir("xla"), jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(folder))
    compilation_cache.reset_cache()
    yield folder
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


@pytest.fixture
def folder(tmp_path, monkeypatch, programs):
    """An empty folder that sees the shipped cases, and JAX as a reader has it by default."""
    jax.config.update("jax_enable_x64", False)
    jax.config.update("jax_numpy_rank_promotion", "allow")
    (tmp_path / "cases").symlink_to(ROOT / "cases")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ASSIM_CACHE_DIR", str(programs))
    monkeypatch.setenv("JAX_PLATFORMS", os.environ.get("JAX_PLATFORMS", "cpu"))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_page(page, folder):
    namespace = {"__name__": "__main__"}
    for block in blocks(page):
        where = f"{name_of(page)}, line {block.line}"
        if block.file is not None:
            write(folder, block)
        elif block.language == "python":
            source = "\n" * block.line + block.text  # line numbers are those of the page
            exec(compile(source, name_of(page), "exec"), namespace)
        for command in commands(block):
            run(command, where)


def write(folder: Path, block: Block) -> None:
    path = folder / block.file
    assert path.resolve().is_relative_to(folder), path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")


def run(command: Command, where: str) -> None:
    program, *arguments = command.words
    if program == "make":
        assert {word for word in arguments if "=" not in word} <= TARGETS, where
    elif program == "assim" and of_shipped_case(command):
        parse(arguments, where)
    elif program == "assim":
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == command.code, f"{where}: {command.words}\n{result.output}"
    else:
        assert command.words[:2] == ["pip", "install"], f"{where}: cannot be tested: {program}"


def parse(arguments: list[str], where: str) -> None:
    """See that the command line takes the arguments, and that its case is there."""
    name, *rest = arguments
    subcommand = main.commands[name]
    with click.Context(main) as parent:
        context = subcommand.make_context(name, list(rest), parent=parent)
    assert (ROOT / context.params["case"]).is_file(), where


@pytest.mark.slow
@pytest.mark.parametrize("words", SHIPPED, ids=" ".join)
def test_shipped_case(words, folder):
    """Commands on the cases that come with assim, as the pages spell them."""
    result = CliRunner().invoke(main, list(words[1:]))
    assert result.exit_code == 0, result.output


def test_every_block_has_a_known_language():
    for page in PAGES:
        for block in blocks(page):
            assert block.language in CODE | PLAIN, f"{name_of(page)}, line {block.line}"
            if block.language == "toml":
                assert block.file, f"{name_of(page)}, line {block.line}: say `# file: NAME`"


def test_no_block_is_indented():
    """An indented fence would escape the search for blocks, and so the test."""
    for page in PAGES:
        assert not re.search(r"^[ \t]+```", page.read_text(encoding="utf-8"), re.MULTILINE), page
