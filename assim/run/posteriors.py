"""The ways to quantify uncertainty that a case names."""

import importlib.util
import re
from typing import Any

from assim.run.case import Case
from assim.run.failure import Fault
from assim.run.parts import AUTO, NONE
from assim.run.schema import NAME

_CHAINS = ("NUTS", "HMC", "MCLMC", "Tempering")  # which need blackjax


def cannot_run(use: str) -> str | None:
    """What a method needs that is not installed, and how to get it; None where all is there."""
    if use not in _CHAINS or importlib.util.find_spec("blackjax") is not None:
        return None
    return f"{use} needs blackjax, which is not installed: pip install 'assim[mcmc]'"


def methods_of(case: Case, parts: dict[str, Any]) -> Any:
    """Methods by their names in results, "auto", or None for none."""
    alone = parts.get("posterior", parts.get("posterior.0"))
    if alone is None or alone == AUTO:
        return alone
    return dict(_named(case, parts).values())


def posterior_faults(case: Case, parts: dict[str, Any]) -> list[Fault]:
    """What is wrong with the posteriors of a case, beyond each of them."""
    if case.table is None:
        return []
    faults = []
    tables, several = case.checked.posterior, isinstance(case.tree.get("posterior"), list)
    if len(tables) > 1:
        faults += [
            Fault(f"posterior.{i}", f"{table.use!r} stands alone, not in a list")
            for i, table in enumerate(tables)
            if table.use in (AUTO, NONE)
        ]
    for i, table in enumerate(tables):
        path = f"posterior.{i}" if several else "posterior"
        missing = cannot_run(table.use)
        faults += [] if missing is None else [Fault(path, missing)]
        if table.use in (AUTO, NONE):
            faults += [
                Fault(f"{path}.{key}", f"no such key: {table.use!r} takes no settings")
                for key in (
                    *(["name"] if table.name is not None else []),
                    *(table.model_extra or ()),
                )
            ]
    seen: dict[str, str] = {}
    for path, (name, _) in _named(case, parts).items():
        if re.fullmatch(NAME, name) is None:
            what = f"its name, {name!r}, does for no file; give it a name of small letters"
            faults.append(Fault(path, what))
        if name in seen:
            what = f"{seen[name]} is called {name!r} too; give one of them another name"
            faults.append(Fault(path, what))
        seen.setdefault(name, path)
    return faults


def _named(case: Case, parts: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Name and settings of every method that could be made, by its path."""
    found, several = {}, isinstance(case.tree.get("posterior"), list)
    for number, table in enumerate(case.checked.posterior):
        path = f"posterior.{number}" if several else "posterior"
        method = parts.get(path)
        if method is not None and method != AUTO:
            found[path] = (table.name or method.name(), method)
    return found
