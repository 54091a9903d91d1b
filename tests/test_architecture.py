"""The layout and the import rule of `docs/architecture.md`, read from the source with `ast`.

A rule is a function from the root of a checkout to a list of offenders. Each is run on this
checkout, on a small one that keeps every rule, and on some with a violation planted for it to find.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT: dict[str, set[str]] = {
    "problem": set(),
    "statistics": set(),
    "solve": {"statistics"},
    "analysis": {"problem", "solve", "statistics"},
    "findings": {"problem", "solve", "statistics", "analysis"},
    "files": {"problem", "analysis", "findings", "statistics"},
    "couple": {"problem", "files"},
    "case": {"problem", "solve", "statistics", "analysis", "findings", "files", "couple", "assim"},
    "show": {"files", "statistics"},
    "run": {
        *("problem", "solve", "statistics", "analysis", "findings", "files", "couple", "case"),
        *("show", "assim"),
    },
    "host": {
        *("problem", "solve", "statistics", "analysis", "findings", "files", "couple", "case"),
        *("run", "assim"),
    },
    "names": {
        *("problem", "solve", "statistics", "analysis", "findings", "files", "couple", "case"),
        *("show", "run"),
    },
    "arguments": set(),
    "cache": set(),
    "contiguous": set(),
    "cpus": set(),
    "devices": set(),
    # assim/__init__.py
    "assim": {"problem", "solve", "statistics", "analysis", "findings", "files", "couple", "names"},
}
LEAVES = {
    "arguments",
    "cache",
    "contiguous",
    "cpus",
    "devices",
}  # files beside the rooms, which every room may import
NEVER = {  # folder → folders of its own or another room that it may not import
    "files/read": ("files/write",),
    "show": ("files/write",),
    "run/terminal": ("run/cli.py", "run/cycle", "run/twin"),
}
# Arrows that are still to be cut, each with the number of names it carries. The list only shrinks:
# one that is gone, or carries fewer, must be struck off.
TO_CUT: dict[str, int] = {}
THIRD_PARTY = {
    "xarray": {"files", "run", "show"},
    "netCDF4": {"files", "run", "show"},
    "cftime": {"files", "run", "show"},
    "pandas": {"files", "run", "show"},
    "matplotlib": {"show"},
    "pydantic": {"case"},
    "click": {"run"},
    "rich": {"run"},
}
OUTSIDE = {"models", "cases", "tests"}  # imported by nobody in assim
TOP_LEVEL = {
    "LICENSE",
    "Makefile",
    "README.md",
    "assim",
    "cases",
    "constraints",
    "docs",
    "models",
    "pyproject.toml",
    "tests",
}
VAGUE = {"utils", "util", "core", "common", "base", "manager", "helper", "helpers"}
# "realization" is absent on purpose: it is a CF standard name.
AMERICAN = re.compile(
    r"(minim|maxim|optim|normal|regular|initial|local|linear|discret|factor|parameter|serial|random"
    r"|organ|summar|vector|marginal|synchron|visual|general|penal|util|polar|diagonal|stabil)iz"
    r"|analyz|color|behavior|center|neighbor|modeling|modeled|labeled|labeling|favor",
    re.IGNORECASE,
)
MAX_FILE, MAX_FUNCTION = 400, 40
PLUG_IN_BASES = {
    "AbstractCovariance",
    "AbstractIntegrator",
    "AbstractLikelihood",
    "AbstractMethod",
    "AbstractMinimiser",
    "AbstractOperator",
    "AbstractPosterior",
    "AbstractPrior",
    "AbstractScheme",
    "AbstractStateCovariance",
}
ASKED_STILL = {  # files that ask for the class of a plug-in, until it answers itself: none is added
    ("assim/findings/calibration.py", "Laplace"),
    ("assim/analysis/methods.py", "Laplace"),
    ("assim/run/compare.py", "Laplace"),
}


# ---- reading the source --------------------------------------------------------------------------


class Import(NamedTuple):
    """One imported name: `from a.b import c` is a.b.c, whatever c is."""

    line: int
    target: str
    at_import_time: bool  # neither inside a function nor under TYPE_CHECKING


class Source(NamedTuple):
    path: Path  # relative to the root
    module: str  # the name it is imported by
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The part of the engine that a file belongs to: `problem`, `models`, `analysis`, ..."""
        if self.path.parts[0] == "models":
            return "models"
        return Path(self.path.parts[1]).stem if self.module != "assim" else "assim"

    def at(self, line: int, what: str) -> str:
        return f"{self.path}:{line}: {what}"


def sources(root: Path) -> list[Source]:
    """Every Python file under assim/ and models/, once: the link assim/models is not followed."""
    found = []
    for folder in ("assim", "models"):
        for path in sorted((root / folder).rglob("*.py")):
            relative = path.relative_to(root)
            if relative.parts[:2] != ("assim", "models"):
                text = path.read_text(encoding="utf-8")
                found.append(Source(relative, module_name(relative), text, ast.parse(text)))
    return found


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(("assim", *parts) if parts[0] == "models" else parts)


def imports(source: Source) -> Iterator[Import]:
    late = late_nodes(source.tree)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{origin(source, node)}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (Import(node.lineno, name, id(node) not in late) for name in names)


def origin(source: Source, node: ast.ImportFrom) -> str:
    """The absolute name of the module that `from ... import` reads."""
    if node.level == 0:
        return node.module or ""
    package = source.module.split(".")
    drop = node.level - (source.path.name == "__init__.py")
    package = package[: len(package) - drop]
    return ".".join([*package, *([node.module] if node.module else [])])


def late_nodes(tree: ast.Module) -> set[int]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    return {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, functions)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for inner in ast.walk(node)
    }


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_within(target: str, module: str) -> bool:
    return target == module or target.startswith(module + ".")


def room_of(root: Path, target: str) -> str | None:
    """The room that `assim.x.y` lies in; "assim" for a public name; None outside assim."""
    head, *rest = target.split(".")
    if head != "assim":
        return None
    return rest[0] if rest and is_module(root, rest[0]) else "assim"


def is_module(root: Path, name: str) -> bool:
    folder = root / "assim" / name
    return (
        name in MAY_IMPORT
        or name == "models"
        or folder.is_dir()
        or folder.with_suffix(".py").is_file()
    )


# ---- the rules -----------------------------------------------------------------------------------


def rooms(root: Path) -> list[str]:
    """A room imports only the rooms that it may."""
    return [
        source.at(line, f"`{source.room}` may not import {target}")
        for source in sources(root)
        if source.room != "models"
        for line, target, _ in imports(source)
        if (room := room_of(root, target)) not in {None, "models", source.room, *LEAVES}
        and room not in MAY_IMPORT.get(source.room, set())
        and arrow(root, source, target) not in TO_CUT
    ]


def arrow(root: Path, source: Source, target: str) -> str:
    """The import as `file -> file`."""
    return f"{source.path} -> {file_of(root, target)}"


def file_of(root: Path, target: str) -> str | None:
    """The file, from the root, in which a name of assim lies; None where there is no such file."""
    while target:
        base = Path(*target.split("."))
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if (root / path).is_file():
                return str(path)
        target = target.rpartition(".")[0]
    return None


def doors(root: Path) -> list[str]:
    """Reading does not know writing, pictures neither, and the terminal nothing above it."""
    return [
        source.at(line, f"`{folder}` may not import {target}")
        for source in sources(root)
        for folder, others in NEVER.items()
        if is_below(str(source.path), folder)
        for line, target, _ in imports(source)
        for other in others
        if (path := file_of(root, target)) is not None and is_below(path, other)
    ]


def is_below(path: str, folder: str) -> bool:
    return path == f"assim/{folder}" or path.startswith(f"assim/{folder}/")


def acyclic_folders(root: Path) -> list[str]:
    """Folders within a room form no circle: each, with all that it holds, is one place."""
    graph = import_graph(root)
    paths = {source.module: source.path for source in sources(root)}
    offenders = []
    for room in sorted({source.room for source in sources(root)} - {"models", "assim"}):
        inside = {module for module, path in paths.items() if path.parts[:2] == ("assim", room)}
        place = {m: paths[m].parts[2] if m in inside else "" for m in inside}
        folded: dict[str, set[str]] = {name: set() for name in place.values()}
        for module in inside:
            folded[place[module]] |= {place[t] for t in graph[module] & inside} - {place[module]}
        offenders += [f"assim/{room}: {circle}" for circle in circles(folded)]
    return offenders


def known_rooms(root: Path) -> list[str]:
    """Every file under assim/ lies in a room of the architecture."""
    return [
        source.at(1, f"`{source.room}` is no part of the architecture")
        for source in sources(root)
        if source.room not in MAY_IMPORT and source.room != "models"
    ]


def nothing_from_outside(root: Path) -> list[str]:
    """Nobody in assim imports models, cases or tests: a case names its model as text."""
    return [
        source.at(line, f"imports {target}; name it as text")
        for source in sources(root)
        if source.room != "models"
        for line, target, _ in imports(source)
        if target.split(".")[0] in OUTSIDE or is_within(target, "assim.models")
    ]


def public_names_in_models(root: Path) -> list[str]:
    """A model imports the public names of assim, and its own package."""
    return [
        source.at(line, f"imports {target}; a model uses `from assim import <public name>`")
        for source in sources(root)
        if source.room == "models"
        for line, target, _ in imports(source)
        if target.split(".")[0] in OUTSIDE
        or room_of(root, target) not in {None, "assim", "models"}
        or (is_within(target, "assim") and target.split(".")[-1].startswith("_"))
    ]


def third_party(root: Path) -> list[str]:
    """Files are opened in files, pictures drawn in show, the command line parsed in run."""
    return [
        source.at(line, f"imports {target}, which belongs in {sorted(THIRD_PARTY[library])}")
        for source in sources(root)
        for line, target, _ in imports(source)
        if (library := target.split(".")[0]) in THIRD_PARTY
        and source.room not in THIRD_PARTY[library]
    ]


def no_private_apis(root: Path) -> list[str]:
    """Never `jax._src`, never `equinox.internal`."""
    found = []
    for source in sources(root):
        private = ("jax._src", "jaxlib._src", "equinox.internal")
        found += [
            source.at(line, f"imports {target}")
            for line, target, _ in imports(source)
            if any(is_within(target, name) for name in private)
        ]
        found += [
            source.at(node.lineno, f"reads {ast.unparse(node)}")
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {*private, "eqx.internal"}
        ]
    return found


def acyclic(root: Path) -> list[str]:
    """At import time, no file needs a file that needs it."""
    return circles(import_graph(root))


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Every circle of a graph, as a chain of names."""
    chains, finished = [], set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            chains.append(" -> ".join((*path[path.index(module) :], module)))
        elif module not in finished:
            for target in sorted(graph[module]):
                visit(target, (*path, module))
            finished.add(module)

    for module in sorted(graph):
        visit(module, ())
    return chains


def import_graph(root: Path) -> dict[str, set[str]]:
    """Module → the modules of this checkout that it names when it is imported."""
    files = sources(root)
    modules = {source.module for source in files}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for source in files:
        for _, target, at_import_time in imports(source):
            owner = target if target in modules else target.rpartition(".")[0]
            if at_import_time and owner in modules and owner != source.module:
                graph[source.module].add(owner)
    return graph


def short_files(root: Path) -> list[str]:
    """A file stops at 400 lines."""
    return [
        source.at(1, f"{lines} lines, {MAX_FILE} allowed")
        for source in sources(root)
        if (lines := len(source.text.splitlines())) > MAX_FILE
    ]


def short_functions(root: Path) -> list[str]:
    """A function stops at 40 lines, counted from `def` to its end without the docstring."""
    return [
        source.at(node.lineno, f"{node.name} has {lines} lines, {MAX_FUNCTION} allowed")
        for source in sources(root)
        for node in functions(source)
        if (lines := length(node)) > MAX_FUNCTION
    ]


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    total = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is None:
        return total
    docstring = node.body[0]
    return total - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def telling_file_names(root: Path) -> list[str]:
    """No file or folder is called utils, core, common, base, manager or helper."""
    return [
        source.at(1, f"{part} says nothing about what is in it")
        for source in sources(root)
        for part in source.path.with_suffix("").parts
        if VAGUE & set(part.lower().split("_"))
    ]


def british_names(root: Path) -> list[str]:
    """Public names are spelt as in British English."""
    return [
        source.at(line, f"{name} is American spelling")
        for source in sources(root)
        for line, name in public_names(source)
        if AMERICAN.search(name)
    ]


def public_names(source: Source) -> Iterator[tuple[int, str]]:
    """The file's name; functions and classes, their arguments and attributes; module constants."""
    yield 1, source.path.stem
    scopes = [source.tree, *(n for n in ast.walk(source.tree) if isinstance(n, ast.ClassDef))]
    for scope in scopes:
        for node in scope.body:
            yield from ((node.lineno, name) for name in defined(node) if not name.startswith("_"))


def defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if node.name.startswith("_") and node.name != "__init__":
            return []
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        return [node.name, *(argument.arg for argument in arguments)]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def cases_are_typed(root: Path) -> list[str]:
    """A case is handed on as its tables: no dictionary of parts by their dotted paths."""
    return [
        source.at(node.lineno, "names `parts`; hand on the table or the setting that is needed")
        for source in sources(root)
        if source.room in {"case", "run"}
        for node in ast.walk(source.tree)
        if (isinstance(node, ast.arg) and node.arg == "parts")
        or (isinstance(node, ast.Attribute) and node.attr == "parts")
        or (isinstance(node, ast.Subscript) and ast.unparse(node.value) == "parts")
    ]


def every_package_installed(root: Path) -> list[str]:
    """pyproject.toml lists every package: its list is explicit."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(settings["tool"]["setuptools"]["packages"])
    there = {module_name(source.path.parent / "__init__.py") for source in sources(root)}
    return [f"pyproject.toml: packages lacks {name}" for name in sorted(there - listed)]


def plug_ins_answer(root: Path) -> list[str]:
    """Nobody asks which plug-in a thing is: a class of a user's own could not answer as it should.

    Neither by isinstance nor by a comparison of classes, outside the file that defines the class.
    """
    return [
        source.at(line, f"asks for the class {name}; let the plug-in say what is wanted of it")
        for source, line, name in class_questions(root)
        if (source.path.as_posix(), name) not in ASKED_STILL
    ]


def class_questions(root: Path) -> Iterator[tuple[Source, int, str]]:
    """Where a file asks for the class of a plug-in that another file defines."""
    files = {source.module: source for source in sources(root)}
    public = root / "assim" / "__init__.pyi"  # what `import assim` offers, imported when used
    if public.is_file():
        files["assim"] = files["assim"]._replace(tree=ast.parse(public.read_text(encoding="utf-8")))
    there = plug_ins(files)
    for source in files.values():
        for line, node in asked_classes(source):
            target = resolved(files, source.module, ast.unparse(node))
            if target in there and target.rpartition(".")[0] != source.module:
                yield source, line, target.rpartition(".")[2]


def plug_ins(files: dict[str, Source]) -> set[str]:
    """Concrete subclasses of the bases of plug-ins, by their full names."""
    bases = {
        f"{source.module}.{node.name}": [
            resolved(files, source.module, ast.unparse(base)) for base in node.bases
        ]
        for source in files.values()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
    }

    def is_plug_in(name: str) -> bool:
        return name.rpartition(".")[2] in PLUG_IN_BASES or any(map(is_plug_in, bases.get(name, [])))

    return {
        name
        for name in bases
        if is_plug_in(name) and not name.rpartition(".")[2].lstrip("_").startswith("Abstract")
    }


def resolved(files: dict[str, Source], module: str, name: str, depth: int = 0) -> str:
    """The full name of what a module calls `name`, wherever it is re-exported from."""
    head, _, rest = name.partition(".")
    aliases = {
        alias.asname or alias.name.partition(".")[0]: named_by(files[module], node, alias)
        for node in ast.walk(files[module].tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    target = aliases.get(head, f"{module}.{head}") + (f".{rest}" if rest else "")
    owner, _, last = target.rpartition(".")
    above, _, family = owner.rpartition(".")
    if owner not in files and above in files and above != module and depth <= len(files):
        owner = resolved(files, above, family, depth + 1)  # assim.prior is assim.names.prior
        target = f"{owner}.{last}"
    if owner == module or owner not in files or depth > len(files):
        return target
    return resolved(files, owner, last, depth + 1)


def named_by(source: Source, node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    """The full name of one imported thing."""
    if isinstance(node, ast.ImportFrom):
        return f"{origin(source, node)}.{alias.name}"
    return alias.name if alias.asname else alias.name.partition(".")[0]


def asked_classes(source: Source) -> Iterator[tuple[int, ast.expr]]:
    """Names in isinstance and issubclass, beside `type(x)` or `x.__class__`, and in `case C():`."""
    named = {
        target.id: node.value
        for node in source.tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(source.tree):
        asked: list[ast.expr] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"isinstance", "issubclass"}:
            asked = node.args[1:]
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            asked = sides if any(map(is_a_class, sides)) else []
        elif isinstance(node, ast.MatchClass):
            asked = [node.cls]
        asked += [named[name.id] for name in names_in(asked) if getattr(name, "id", "") in named]
        yield from ((node.lineno, name) for name in names_in(asked))


def is_a_class(node: ast.expr) -> bool:
    """`type(x)` or `x.__class__`, or the name of either class."""
    text = ast.unparse(node)
    return text.startswith("type(") or "__class__" in text


def names_in(several: list[ast.expr]) -> list[ast.expr]:
    return [
        node
        for part in several
        for node in ast.walk(part)
        if isinstance(node, ast.Name | ast.Attribute)
    ]


RULES: list[Callable[[Path], list[str]]] = [
    rooms,
    doors,
    acyclic_folders,
    known_rooms,
    nothing_from_outside,
    public_names_in_models,
    third_party,
    no_private_apis,
    acyclic,
    short_files,
    short_functions,
    telling_file_names,
    british_names,
    cases_are_typed,
    every_package_installed,
    plug_ins_answer,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule):
    offenders = rule(ROOT)
    assert not offenders, "\n".join([f"{len(offenders)} offenders. {rule.__doc__}", *offenders])


# ---- the rules can fail --------------------------------------------------------------------------

KEEPS_ALL = {
    "pyproject.toml": '[tool.setuptools]\npackages = ["assim", "assim.problem", "assim.files",'
    ' "assim.files.read", "assim.files.write", "assim.models", "assim.run", "assim.solve"]',
    "assim/__init__.py": "from assim.analysis import analyse\nfrom assim.problem import prior",
    "assim/analysis.py": "from .problem import prior\nimport assim.solve.minimise",
    "assim/problem/__init__.py": "from assim.problem.prior import Normal",
    "assim/problem/prior.py": "import jax\nif TYPE_CHECKING:\n    from assim.problem import model\n"
    "class AbstractPrior:\n    pass\nclass Normal(AbstractPrior):\n    pass\n"
    "class Own(Normal):\n    same = isinstance(1, Normal)",
    "assim/problem/model.py": "from .prior import AbstractPrior, Normal\nmodels = ['realization']\n"
    "given = isinstance(1, AbstractPrior) or isinstance(Normal, type)",
    "assim/solve/minimise.py": "def minimise(size):\n    '''Doc.'''\n    import jax",
    "assim/files/states.py": "import xarray\nfrom assim.analysis import analyse",
    "assim/run/cli.py": "def main():\n    import click, assim\n    from assim.files import states",
    "assim/files/read/states.py": "from assim.files import states",
    "assim/files/write/results.py": "from assim.files.read.states import read_state",
    "models/__init__.py": "from assim.models.lorenz import Lorenz",
    "models/lorenz.py": "import assim\nfrom assim import AbstractModel",
}
PLANTED: dict[str, list[dict[str, str]]] = {
    "rooms": [
        {"assim/problem/prior.py": "import assim.solve.minimise"},
        {"assim/solve/minimise.py": "def f():\n    from assim.problem.prior import Normal"},
        {"assim/solve/minimise.py": "from ..problem import prior"},
        {"assim/solve/minimise.py": "from .. import files"},
        {"assim/problem/prior.py": "from assim import analyse"},
        {"assim/analysis.py": "from assim.files import states"},
        {"assim/files/states.py": "from assim.solve.minimise import minimise"},
        {"assim/couple/code.py": "from assim.analysis import analyse"},
        {"assim/show/plot.py": "from assim.problem import prior"},
        {"assim/files/states.py": "from assim.run import cli"},
        {"assim/run/cli.py": "from assim.host import engine"},
        {"assim/host/engine.py": "from assim.show import plot"},
        {"assim/__init__.py": "import assim.show.plot"},
    ],
    "doors": [
        {"assim/files/read/states.py": "from assim.files.write.results import to_dataset"},
        {"assim/show/plot.py": "from ..files.write import results"},
        {"assim/run/terminal/screen.py": "def f():\n    from assim.run.cli import main"},
    ],
    "acyclic_folders": [
        {
            "assim/run/cycle/cycle.py": "from assim.run.twin import twin",
            "assim/run/twin/twin.py": "from assim.run.cycle import series",
            "assim/run/cycle/series.py": "",
        },
    ],
    "known_rooms": [{"assim/extra/thing.py": ""}, {"assim/thing.py": ""}],
    "nothing_from_outside": [
        {"assim/run/cli.py": "from assim.models import Lorenz"},
        {"assim/run/cli.py": "def f():\n    from ..models.lorenz import Lorenz"},
        {"assim/problem/prior.py": "import tests.registry"},
        {"assim/run/cli.py": "from cases.lynx_hare import make"},
    ],
    "public_names_in_models": [
        {"models/lorenz.py": "from assim.problem.model import AbstractModel"},
        {"models/lorenz.py": "def f():\n    from assim import problem"},
        {"models/lorenz.py": "import assim.files.states"},
        {"models/lorenz.py": "from assim import _hidden"},
        {"models/lorenz.py": "import models.other"},
    ],
    "third_party": [
        {"assim/problem/prior.py": "def f():\n    import xarray as xr"},
        {"assim/solve/minimise.py": "from netCDF4 import Dataset"},
        {"assim/files/states.py": "import pydantic"},
        {"assim/run/cli.py": "import matplotlib.pyplot as plt"},
        {"assim/show/plot.py": "from rich.table import Table"},
        {"models/lorenz.py": "import pandas"},
    ],
    "no_private_apis": [
        {"assim/problem/prior.py": "from jax._src.core import Tracer"},
        {"assim/problem/prior.py": "import jax\njax._src.core"},
        {"models/lorenz.py": "from equinox import internal"},
        {"assim/solve/minimise.py": "import equinox as eqx\neqx.internal.while_loop"},
    ],
    "acyclic": [
        {"assim/problem/prior.py": "from assim.problem.model import Model"},
        {"assim/problem/prior.py": "from . import model"},
        {"assim/problem/prior.py": "from assim.problem import anything"},
    ],
    "short_files": [{"assim/problem/prior.py": "x = 1\n" * 401}],
    "short_functions": [
        {"assim/problem/prior.py": "def f():\n" + "    x = 1\n" * 40},
        {"models/lorenz.py": "class A:\n  def f(self):\n    '''D.\n    '''\n" + "    x = 1\n" * 40},
    ],
    "telling_file_names": [
        {"assim/problem/utils.py": ""},
        {"assim/solve/grid_helpers.py": ""},
        {"assim/problem/common/prior.py": ""},
    ],
    "british_names": [
        {"assim/solve/minimize.py": ""},
        {"assim/solve/minimise.py": "def normalize(x):\n    return x"},
        {"assim/solve/minimise.py": "class LineSearchOptimizer:\n    pass"},
        {"assim/solve/minimise.py": "class A:\n    color: str"},
        {"assim/solve/minimise.py": "def f(*, initialize):\n    pass"},
        {"models/lorenz.py": "CENTER = 1"},
    ],
    "cases_are_typed": [
        {"assim/case/pose.py": "def pose(case, model, parts):\n    return model"},
        {"assim/run/window.py": "x = setting.parts.get('background.covariance')"},
        {"assim/case/pose.py": "def f():\n    return parts['minimiser']"},
    ],
    "every_package_installed": [{"assim/problem/covariance/diffusion.py": ""}],
    "plug_ins_answer": [
        {"assim/problem/model.py": f"from .prior import {imported}\n{question}"}
        for imported, question in (
            ("Normal", "def f(x):\n    return isinstance(x, Normal)"),
            ("Normal as Bell", "odd = isinstance(1, int | Bell)"),
            ("Own", "_ALL = (Own,)\nodd = isinstance(1, _ALL)"),
            ("Normal", "def f(x):\n    return type(x) is Normal"),
            ("Normal", "def f(x):\n    return type(x) in (int, Normal)"),
            ("Normal", "def f(x):\n    return x.__class__ == Normal"),
            ("Normal", "def f(x):\n    return issubclass(type(x), (int, Normal))"),
            ("Own", "def f(x):\n    match x:\n        case Own():\n            return 1"),
        )
    ]
    + [
        {"assim/files/states.py": "from assim.problem import Normal\nodd = isinstance(1, Normal)"},
        {"assim/files/states.py": "from assim.problem import prior\nodd = type(1) is prior.Own"},
        {"assim/run/cli.py": "import assim.problem.prior as p\nodd = type(1) is p.Own"},
        {"assim/run/cli.py": "import assim.problem.prior\nassim.problem.prior.Own == type(1)"},
        {
            "assim/__init__.pyi": "from .names import prior as prior",
            "assim/names/prior.py": "from assim.problem.prior import Normal as Normal",
            "models/lorenz.py": "import assim\nodd = isinstance(1, assim.prior.Normal)",
        },
    ],
}


def plant(root: Path, *layers: dict[str, str]) -> Path:
    for layer in layers:
        for name, text in layer.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_is_silent_where_it_is_kept(rule, tmp_path):
    assert rule(plant(tmp_path, KEEPS_ALL)) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_finds_each_planted_violation(rule, tmp_path):
    assert PLANTED[rule.__name__], "plant at least one violation"
    for number, violation in enumerate(PLANTED[rule.__name__]):
        found = rule(plant(tmp_path / str(number), KEEPS_ALL, violation))
        assert found, f"{rule.__name__} does not see {violation}"


def test_no_exception_outlives_its_reason():
    """A file that asks no longer is struck from the list, which never grows."""
    asked = {(source.path.as_posix(), name) for source, _, name in class_questions(ROOT)}
    assert sorted(ASKED_STILL - asked) == []


def test_rules_bear_missing_folders(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.setuptools]\npackages = []")
    assert [rule(tmp_path) for rule in RULES] == [[] for _ in RULES]


def test_limits_are_inclusive(tmp_path):
    plant(tmp_path, {"assim/problem/prior.py": "def f():\n    '''D.'''\n" + "    x = 1\n" * 39})
    assert short_functions(tmp_path) == []
    plant(tmp_path, {"assim/problem/prior.py": "x = 1\n" * 400})
    assert short_files(tmp_path) == []


def inner_arrows(root: Path, room: str) -> dict[str, set[str]]:
    """File of a room → files of the same room that it imports, inside functions too."""
    arrows: dict[str, set[str]] = {}
    for source in sources(root):
        if source.room == room:
            targets = {file_of(root, target) for _, target, _ in imports(source)}
            inside = {path for path in targets if path and is_below(path, room)}
            arrows[str(source.path)] = inside - {str(source.path)}
    return arrows


def floors(arrows: dict[str, set[str]]) -> int:
    """Files in the longest chain of imports."""

    def height(path: str) -> int:
        return 1 + max((height(target) for target in arrows.get(path, ())), default=0)

    return max((height(path) for path in arrows), default=0)


def test_few_imports_within_case_and_run():
    """Rooms in which what is passed on could pile up floor on floor stay low and loose."""
    inside = {room: inner_arrows(ROOT, room) for room in ("case", "run")}
    assert sum(len(targets) for arrows in inside.values() for targets in arrows.values()) <= 90
    assert {room: floors(arrows) <= 6 for room, arrows in inside.items()} == {
        "case": True,
        "run": True,
    }


def test_floors_are_those_of_the_longest_chain(tmp_path):
    content = {
        "a": "from assim.run import b",
        "b": "def f():\n    from assim.run.c import x",
        "c": "",
    }
    plant(tmp_path, {f"assim/run/{name}.py": text for name, text in content.items()})
    arrows = inner_arrows(tmp_path, "run")
    assert floors(arrows) == 3 and sum(map(len, arrows.values())) == 2


def test_arrows_to_cut_are_there_with_the_names_that_the_list_counts():
    counts = dict.fromkeys(TO_CUT, 0)
    for source in sources(ROOT):
        for _, target, _ in imports(source):
            if (name := arrow(ROOT, source, target)) in counts:
                counts[name] += 1
    assert counts == TO_CUT, "strike off what is gone; nothing is added"


# ---- the checkout --------------------------------------------------------------------------------


def top_level(root: Path) -> set[str]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True
    )
    entries = {name.split("/")[0] for name in listing.stdout.split("\0") if name}
    return {entry for entry in entries if not entry.startswith(".")}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_top_level_holds_exactly_what_it_should():
    assert top_level(ROOT) == TOP_LEVEL


def test_top_level_sees_a_stray_file(tmp_path):
    plant(tmp_path, {"stray.txt": "", ".hidden": "", "assim/__init__.py": ""})
    for command in (["git", "init", "-q"], ["git", "add", "."]):
        subprocess.run(command, cwd=tmp_path, check=True)
    assert top_level(tmp_path) == {"stray.txt", "assim"}


def import_in_fresh_process(statement: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", statement], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_models_are_imported_as_assim_models_only():
    refused = import_in_fresh_process("import models")
    assert refused.returncode == 1
    assert "ImportError" in refused.stderr and "import assim.models" in refused.stderr
    allowed = import_in_fresh_process("import assim.models")
    assert allowed.returncode == 0, allowed.stderr
