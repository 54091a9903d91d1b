"""The documentation as a whole: complete, linked, and free of what only its authors know."""

import re
import sys

import pytest
import yaml

import assim
from assim.case.case import CaseTable
from tests.docs.pages import PAGES, README, ROOT, name_of

LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
PRIVATE = {
    "the path of a machine": re.compile(r"(?<![\w.])/(work|home|root|tmp|Users|mnt|opt)/"),
    "an issue number": re.compile(r"(?<![\w&`\[(])#\d+\b|\bissue \d+\b", re.IGNORECASE),
    "how it was made": re.compile(r"\b(session|workplace|brief|the lead|DESIGN\.md|STYLE\.md)\b"),
}


def text_of(page):
    return page.read_text(encoding="utf-8")


def navigated(entry):
    """Paths in a part of mkdocs's navigation."""
    if isinstance(entry, str):
        return [entry]
    parts = entry if isinstance(entry, list) else entry.values()
    return [path for part in parts for path in navigated(part)]


def test_navigation_covers_every_page():
    text = (ROOT / ".mkdocs.yml").read_text(encoding="utf-8")
    listed = navigated(yaml.safe_load(text[text.index("\nnav:") :])["nav"])
    there = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page != README]
    assert sorted(listed) == sorted(there)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target, _ in LINK.findall(text_of(page)):
        assert not target or (page.parent / target).exists(), f"{name_of(page)}: {target}"


@pytest.mark.parametrize("what", PRIVATE)
def test_nothing_private(what):
    for page in PAGES:
        found = PRIVATE[what].search(text_of(page))
        assert found is None, f"{name_of(page)} tells {what}: {found[0]!r}"


def test_readme_starts_with_the_two_commands():
    lines = text_of(README).splitlines()
    assert len(lines) < 100
    first = [line.split("#")[0].strip() for line in lines if line.startswith("$ ")]
    assert first[:2] == ["$ make run", "$ make test"]


def test_every_public_name_of_the_library_is_real():
    rooms = {"models", *(room.parent.name for room in (ROOT / "assim").glob("*/__init__.py"))}
    for page in PAGES:
        for name in re.findall(r"\bassim\.([A-Za-z_]\w*)", text_of(page)):
            assert name in rooms or hasattr(assim, name), f"{name_of(page)}: assim.{name}"


def keys(kind, path=""):
    """Dotted keys of the case file's fixed tables."""
    for name, field in kind.model_fields.items():
        yield name
        for part in re.findall(r"\w+Table", str(field.annotation)):
            module = sys.modules[kind.__module__]  # which defines or imports what it names
            yield from keys(getattr(module, part))


def test_the_case_page_names_every_key():
    page = text_of(ROOT / "docs" / "how-to" / "case.md")
    missing = {key for key in keys(CaseTable) if not re.search(rf"`[^`]*\b{key}\b[^`]*`", page)}
    assert not missing
