"""The public names: listed once, found where they are said to be, and loaded only when used."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import assim

ROOT = Path(__file__).resolve().parent.parent
STUB = ROOT / "assim" / "__init__.pyi"


def stub():
    """Public name -> (module, name there), from the stub."""
    names = {}
    for node in ast.parse(STUB.read_text()).body:
        assert isinstance(node, ast.ImportFrom) and node.level == 1, ast.dump(node)
        for alias in node.names:
            assert alias.asname == alias.name, f"{alias.name}: write `as {alias.name}`"
            names[alias.name] = (f"assim.{node.module}", alias.name)
    return names


NAMES = stub()


def fresh(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", NAMES)
def test_name_is_that_of_its_home(name):
    module, attribute = NAMES[name]
    home = importlib.import_module(module)
    try:
        there = getattr(home, attribute)
    except AttributeError:  # a module, such as `likelihood`
        there = importlib.import_module(f"{module}.{attribute}")
    assert getattr(assim, name) is there


def test_list_is_complete():
    assert sorted(assim.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(assim))
    assert not [name for name in NAMES if name.startswith("_")]


def test_names_fit_on_one_screen():
    """What a script needs, and families: a new method or finding belongs to a family."""
    assert len(dir(assim)) <= 56


def test_every_name_is_documented():
    """A docstring of its own; aliases of types (Array, State, Params) have none to give."""
    aliases = {"Array", "Params", "State"}
    undocumented = [n for n in NAMES if n not in aliases and not getattr(assim, n).__doc__]
    assert not undocumented


def test_unknown_name():
    with pytest.raises(AttributeError, match="Gaus"):
        assim.GausNewton  # noqa: B018


def test_import_loads_nothing_heavy():
    heavy = ("jax", "xarray", "numpy", "netCDF4", "diffrax", "matplotlib", "pydantic", "rich")
    code = f"import assim, sys; print([m for m in {heavy} if m in sys.modules])"
    done = fresh(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_import_does_not_set_precision():
    code = "import assim, jax; assim.minimiser.GaussNewton; print(jax.config.jax_enable_x64)"
    done = fresh(code)
    assert done.stdout.strip() == "False", done.stderr


def code_of(path):
    """Fenced blocks of code of a page, with their language."""
    return re.findall(r"```(\w+)[^\n]*\n(.*?)```", path.read_text(), flags=re.DOTALL)


def test_names_in_the_documentation_exist():
    """`assim.X`, and `from assim import X`, in the code of the README and the docs."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    missing, found = [], 0
    for page in pages:
        for language, text in code_of(page):
            if language not in ("python", "py"):
                continue
            for name in used(text):
                found += 1
                if not hasattr(assim, name) and not is_module(name):
                    missing.append(f"{page.relative_to(ROOT)}: assim.{name}")
    assert not missing
    assert found


def used(text):
    yield from re.findall(r"\bassim\.([A-Za-z_]\w*)", text)
    for names in re.findall(r"from assim import (\([^)]*\)|[^\n]*)", text):
        yield from (name.split()[0] for name in names.strip("()").split(",") if name.strip())


def is_module(name):
    return importlib.util.find_spec(f"assim.{name}") is not None
