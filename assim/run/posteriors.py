"""The ways to quantify uncertainty that a case names."""

import importlib.util
from typing import Any

from assim.run.case import Case
from assim.run.failure import Fault
from assim.run.parts import AUTO, NONE

_CHAINS = ("NUTS", "HMC", "MCLMC", "Tempering")  # which need blackjax


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
    if importlib.util.find_spec("blackjax") is None:
        faults += [
            Fault(
                f"posterior.{i}" if several else "posterior",
                f"{table.use} needs blackjax, which is not installed: pip install 'assim[mcmc]'",
            )
            for i, table in enumerate(tables)
            if table.use in _CHAINS
        ]
    seen: dict[str, str] = {}
    for path, (name, _) in _named(case, parts).items():
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
