"""Pages of docs/ are found from the first one, their links resolve, and what they list is whole."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.contract.embedding_model import EmbeddingModelTests
from tests.packaging.public import MODULES

from cellkin.indexer.models.contract import EmbeddingModel

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FIRST = DOCS / "index.md"
MADE = {"_build", "_api"}
PAGES = [page for page in DOCS.rglob("*.md") if MADE.isdisjoint(page.relative_to(DOCS).parts)]
LINKED = sorted([*PAGES, *ROOT.glob("*.md")])
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WARNING = re.compile(r'(?:reason=|ReportWarning\(|\bwarning\()\s*"([A-Z][A-Z_]+)"')


def below(page: Path) -> Iterator[Path]:
    """Yield the pages that the toctrees of a page name."""
    for entries in TOCTREE.findall(page.read_text()):
        names = [line for line in entries.splitlines() if line and not line.startswith(":")]
        for name in names:
            yield from sorted(page.parent.glob(f"{name}.md")) or [page.parent / f"{name}.md"]


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return what headings of a page are linked by, as GitHub and MyST make it of their text."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE):
        text = LINK.sub("]", heading).replace("[", "").replace("]", "")
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(slug)
    return frozenset(found)


def test_every_page_is_in_one_tree() -> None:
    seen: list[Path] = []
    waiting = [FIRST]
    while waiting:
        page = waiting.pop().resolve()
        seen.append(page)
        waiting += below(page)
    assert len(seen) == len(set(seen)), "a page is in two toctrees"
    missing = {str(page.relative_to(DOCS)) for page in set(PAGES) ^ set(seen)}
    assert missing == set(), "every page belongs in a toctree, see docs/index.md"


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_links_resolve(page: Path) -> None:
    wrong = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        target, _, anchor = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        there = (page.parent / target).resolve() if target else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(link)
    assert wrong == []


def test_every_warning_is_explained() -> None:
    sources = [
        source.read_text()
        for folder in ("server", "clients", "store")
        for source in (ROOT / folder).rglob("*.py")
    ]
    raised = {reason for text in sources for reason in WARNING.findall(text)}
    assert raised
    page = (DOCS / "reference/errors.md").read_text()
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE)) == raised


def test_every_public_module_and_proto_file_has_a_page() -> None:
    listed = re.findall(r"^   (cellkin[\w.]+)$", (DOCS / "reference/python.md").read_text(), re.M)
    assert sorted(listed) == sorted(MODULES)
    pages = (DOCS / "reference/protos").glob("*.md")
    shown = {
        name for page in pages for name in re.findall(r"generated: proto (\w+)", page.read_text())
    }
    assert shown == {file.stem for file in (ROOT / "protos/cellkin/v1").glob("*.proto")}


class TestModelOfTheGuide(EmbeddingModelTests):
    """The model that howto/add-a-model.md shows keeps to the contract."""

    @pytest.fixture
    def model(self) -> EmbeddingModel:
        page = (DOCS / "howto/add-a-model.md").read_text()
        (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        namespace: dict[str, Any] = {}
        exec(code, namespace)
        model: EmbeddingModel = namespace["load"]()
        return model
