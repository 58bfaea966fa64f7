"""The pages of `cellkin explore` against a server, without a browser."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import h5py
import pytest
from tests.integration.live import Live

from cellkin.client import Client
from cellkin.client.annotate import annotate_file, write_labels
from cellkin.client.contrast import Comparison
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError, PermissionDeniedError

pytest.importorskip("panel", reason="needs the extra explore")

from tornado.httpclient import AsyncHTTPClient

from cellkin.cli.folder import Files
from cellkin.explore.contrast_page import contrast_labeled
from cellkin.explore.genes_page import Asked, search
from cellkin.explore.indexes_page import described
from cellkin.explore.label_page import LabelPage
from cellkin.explore.labeled import Labeled, explain, label_file
from cellkin.explore.page import build
from cellkin.explore.serving import Settings, web_server
from cellkin.explore.session import Session, Shared

pytestmark = pytest.mark.integration


@pytest.fixture
def session(live: Live, tmp_path: Path, query_path: Path) -> Iterator[Session]:
    with Client(live.address) as client:
        shared = Shared(client, live.address, tmp_path, Files(query_path.parent), 10)
        found = Session(shared)
        found.index = client.get_cell_index("trio")
        yield found
        found.close()
        shared.close()


@pytest.fixture
def labeled(session: Session, query_path: Path) -> Labeled:
    return label_file(session.client, query_path, session.index.name, 0, False, ignore)


def ignore(done: int, total: int) -> None:
    """Progress that nobody looks at."""


def texts(parts: Any) -> str:
    """Return all texts of parts of a page."""
    found = [str(part.object) for part in parts if isinstance(getattr(part, "object", None), str)]
    return "\n".join(found)


def test_a_page_is_built_for_a_session(session: Session) -> None:
    async def built() -> Any:
        return build(session)  # where a loop runs, as in the web server

    assert asyncio.run(built()).title.endswith(session.shared.address)


def test_a_probe_is_answered_without_a_session(session: Session) -> None:
    async def asked() -> bytes:
        web = web_server(session.shared, Settings(None, "127.0.0.1", 0, (), None, 10))
        web.start()
        try:
            url = f"http://127.0.0.1:{web.port}/healthz"
            found = await AsyncHTTPClient().fetch(url)
            assert not web.get_sessions("/")
            return found.body
        finally:
            web.stop()

    assert asyncio.run(asked()) == b"ok\n"


def test_labels_are_those_of_the_command(
    session: Session, query_path: Path, tmp_path: Path
) -> None:
    page = LabelPage(session)
    page._take(query_path)
    asyncio.run(page._label(None))
    assert session.labeled is not None
    (csv,) = session.folder.glob("*.labels.csv")
    expected = tmp_path / "expected.csv"
    write_labels(annotate_file(session.client, query_path, "trio"), expected)
    assert csv.read_bytes() == expected.read_bytes()
    assert "60 cells" in texts(page._results.objects)


def test_what_weakens_labels_stands_before_them(session: Session, query_path: Path) -> None:
    page = LabelPage(session)
    page._take(query_path)
    asyncio.run(page._label(None))
    assert session.labeled is not None
    severities = [getattr(part, "severity", "") for part in page._results.objects]
    n_weak = len(session.labeled.annotation.weaknesses())
    assert severities[:n_weak] == ["warning"] * n_weak


def test_an_error_is_shown_and_the_page_goes_on(session: Session, tmp_path: Path) -> None:
    page, broken = LabelPage(session), session.folder / "broken.h5ad"
    broken.write_bytes(b"no file of cells")
    page._take(broken)
    asyncio.run(page._label(None))
    (alert,) = page._notices.view.objects
    assert alert.severity == "error"
    assert str(session.folder) not in alert.object
    assert session.labeled is None
    assert not page._go.disabled


def test_a_file_of_data_of_another_file_is_refused(session: Session, query_path: Path) -> None:
    path = session.folder / "linked.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = h5py.ExternalLink(str(query_path), "/X")
    with pytest.raises(PermissionDeniedError, match="another file"):
        label_file(session.client, path, "trio", 0, False, ignore)


def test_a_cell_is_explained(session: Session, labeled: Labeled) -> None:
    found = explain(session.client, labeled, 7)
    assert found.title.startswith("cell2-7")
    assert found.found is not None
    assert len(found.hits.labels) == 10
    assert "novelty" in found.facts


def test_labels_are_compared_with_a_column(labeled: Labeled, query_path: Path) -> None:
    counts = labeled.confusion("cell_type")
    assert counts.to_numpy().sum() == 60
    assert counts.index.name == "cell_type"
    adata = anndata.read_h5ad(query_path)
    assert counts.sum(axis=1).to_dict() == adata.obs["cell_type"].value_counts().to_dict()


def test_reasons_count_every_unknown_cell(labeled: Labeled) -> None:
    reasons = labeled.reasons()
    assert reasons["cells"].sum() == int(labeled.annotation.unknown.sum())


def test_clusters_have_a_label_each(labeled: Labeled) -> None:
    clusters = labeled.clustered("donor").annotation.clusters
    assert clusters is not None
    assert clusters.names == ("d0", "d1")


def test_the_labeled_cells_are_compared(session: Session, labeled: Labeled) -> None:
    names = [name for name in labeled.annotation.counts() if name != "unknown"]
    asked = Comparison(session.index.name, (names[0],), (names[1],))
    found = contrast_labeled(session.client, labeled, asked)
    assert found.n_a + found.n_b <= 60
    assert found.gene_test == "wilcoxon"


def test_genes_are_searched_with_their_links(session: Session) -> None:
    found = search(session.client, Asked("gene", "GENE5", "human", 8, "random-64-7", ()))
    assert found.gene is not None
    assert found.gene.symbol == "GENE5"
    assert len(found.neighborhood.hits) == 8
    assert all(0 <= a < b <= 8 for a, b in found.links)


@pytest.mark.parametrize(
    ("kind", "text"), [("gene", "  "), ("gene set", "hallmark")], ids=["nothing", "no collection"]
)
def test_what_cannot_be_searched_is_refused(session: Session, kind: str, text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        search(session.client, Asked(kind, text, "", 8, "random-64-7", ()))


def test_an_index_without_a_layout_has_no_map(session: Session) -> None:
    assert not asyncio.run(session.has_layout(session.index.name))
    with pytest.raises(FailedPreconditionError):
        asyncio.run(session.layout(session.index.name))


def test_an_index_is_described(session: Session) -> None:
    told = texts(described(session.index))
    assert session.index.name.partition("@")[0] in told


def test_positions_of_a_file_need_a_layout(session: Session, query_path: Path) -> None:
    with pytest.raises(FailedPreconditionError):
        label_file(session.client, query_path, session.index.name, 0, True, ignore)
