"""The server's code called directly, a server process asked, waiting or awaiting: one answer."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from tests.integration.live import GENES

from cellkin.client import AsyncClient, CellFilter, Client
from cellkin.client.calls import catalog, cells, genes
from cellkin.client.transport.core import Call, Pages, Stream
from cellkin.server.catalog import CatalogService
from cellkin.server.cells import CellService
from cellkin.server.genes import GeneService
from cellkin.server.metrics import Metrics
from cellkin.server.text_models import TextModels
from cellkin.server.version_cache import VersionCache
from cellkin.store.store import Store
from cellkin.wire.terms import ExpressionUnits

pytestmark = pytest.mark.integration
LINEAR = ExpressionUnits.LINEAR
EMBEDDING = "random-64-7"
ROUTES = ["3", "ENSG00000000005", "OLD7", "gene9", "SHARED", "none", *GENES[6:]]
"""Names of the columns that meet genes by every route."""


def test_answers_are_compared_to_the_bit() -> None:
    one = np.array([1, np.nan], np.float32)
    assert differing(one, one.copy()) is None
    assert differing({"a": (one,)}, {"a": (np.nextafter(one, 2),)}) == "['a'][0]"
    assert differing(one, one.astype(np.float64)) == ""
    assert differing([1], [1, 2]) == ""


def differing(a: Any, b: Any) -> str | None:
    """Return the path to the first difference of two results, None where there is none."""
    if type(a) is not type(b):
        return ""
    if is_dataclass(a):
        parts: Any = ((f".{f.name}", getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    elif isinstance(a, np.ndarray):
        same = (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        return None if same else ""
    elif isinstance(a, list | tuple) and len(a) == len(b):
        parts = ((f"[{at}]", *pair) for at, pair in enumerate(zip(a, b, strict=True)))
    elif isinstance(a, dict) and a.keys() == b.keys():
        parts = ((f"[{key!r}]", a[key], b[key]) for key in a)
    else:
        return None if a == b else ""
    for name, left, right in parts:
        path = differing(left, right)
        if path is not None:
            return f"{name}{path}"
    return None


@dataclass(frozen=True)
class Direct:
    """The services of a server without a server."""

    services: dict[str, Any]

    def answer(self, asked: Any) -> Any:
        """Answer a request as a client would have it read."""
        if isinstance(asked, Pages):
            items, token = self.answer(asked.page(""))
            assert not token
            return items
        service, _, method = asked.method.partition("/")
        serve = getattr(self.services[service], method)
        if isinstance(asked, Call):
            return asked.read(serve(asked.request, None))
        assert isinstance(asked, Stream)
        messages = [*asked.opening, *map(asked.message, asked.blocks)]  # type: ignore[arg-type]
        talk = serve(None, None)
        next(talk)
        answers = [answer for message in messages if (answer := talk.send(message)) is not None]
        first, *rest = answers
        return asked.read_first(first), [asked.read(message) for message in rest]


@pytest.fixture(scope="module")
def direct(store_path: Path) -> Direct:
    library = VersionCache(Store.open(str(store_path)), 60, 32, Metrics(), 1)
    assert library.load({"trio"}) == {}
    return Direct(
        {
            "CatalogService": CatalogService(library),
            "CellService": CellService(library, 1000),
            "GeneService": GeneService(library, TextModels(()), 1000),
        }
    )


@pytest.fixture(scope="module")
def counts(make_cells: Callable[..., anndata.AnnData]) -> sp.csr_matrix:
    return sp.csr_matrix(make_cells(240, 31).X)


def blocks(counts: sp.csr_matrix) -> list[sp.csr_matrix]:
    return [counts[start : start + 48] for start in range(0, 240, 48)]


Request = tuple[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]]


@pytest.fixture(scope="module")
def requests(counts: sp.csr_matrix) -> list[Request]:
    """One request of every kind that reads, and more where there are several ways."""
    few = counts[:7]
    given = {"units": LINEAR}
    vectors = np.random.default_rng(3).standard_normal((5, 64)).astype(np.float32)
    near = {"embedding": EMBEDDING, "k": 6}
    asked: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
        (
            genes.search_genes, ("GENE5",),
            {"taxon": 9606, "compare_embeddings": [EMBEDDING], **near},
        ),
        (genes.search_genes, (["GENE5", "OLD6"],), {"taxon": 9606, **near}),
        (genes.search_genes, (), {"vector": vectors[0], "target_taxon": 10090, **near}),
        (genes.get_gene, ("OLD5",), {"taxon": 9606}),
        (genes.batch_get_genes, (["3", "GENE10"],), {"taxon": 9606}),
        (genes.batch_get_genes, ([],), {}),
        (genes.resolve_genes, (["GENE5", "OLD5", "SHARED", "no"],), {"index": "trio"}),
        (genes.resolve_genes, (GENES,), {}),
        (cells.predict_subtypes, ("trio", GENES, few), given),
        (
            cells.predict_subtypes, ("trio", GENES, counts),
            {"space": "text", "own_mean": True, "return_vectors": True, **given},
        ),
        (
            cells.predict_subtypes, ("trio", GENES, few),
            {"exclude_batches": ["d0"], "min_probability": 0.9, **given},
        ),
        (
            cells.predict_subtypes, ("trio", ROUTES, few.log1p()),
            {"units": ExpressionUnits.LOG1P},
        ),
        (cells.stream_predict_subtypes, ("trio", GENES, blocks(counts)),
         {"return_vectors": True, **given}),
        (
            cells.stream_predict_subtypes, ("trio", GENES, blocks(counts)),
            {"space": "text", "background": counts, **given},
        ),
        (cells.stream_predict_subtypes, ("trio", GENES, []), given),
        (cells.search_cells, ("trio", vectors), {"k": 4}),
        (
            cells.search_cells, ("trio", few),
            {
                "genes": GENES, "filters": [CellFilter("label", ["beta"], exclude=True)],
                "exclude_batches": ["d0", *[""] * 6], "exact": True, **given,
            },
        ),
        (cells.stream_search_cells, ("trio", [vectors, (vectors[:2], ["d0", ""])]), {"k": 3}),
        (cells.explain_cell, ("trio", GENES, few), {"n_genes": 5, **given}),
        (cells.get_cells, ("trio", ["cell1-7", "cell1-2"]), {"return_vectors": True}),
        (cells.get_cells, ("trio", []), {}),
        (catalog.list_embedding_models, (), {}),
        (catalog.get_embedding_model, (EMBEDDING,), {}),
        (catalog.list_embedding_versions, (EMBEDDING,), {}),
        (catalog.get_embedding_version, (EMBEDDING,), {}),
        (catalog.list_cell_indexes, (), {"all_versions": True}),
        (catalog.get_cell_index, ("trio",), {}),
        (catalog.list_aliases, (), {}),
    ]  # fmt: skip
    return [(make.__name__, make, given_, named) for make, given_, named in asked]


@pytest.fixture(scope="module")
def expected(direct: Direct, requests: list[Request]) -> list[Any]:
    return [direct.answer(make(*given, **named)) for _, make, given, named in requests]


def test_expression_is_served_by_every_route(direct: Direct, counts: sp.csr_matrix) -> None:
    found = direct.answer(cells.predict_subtypes("trio", ROUTES, counts, units=LINEAR))
    shares = found.predictions.route_shares
    assert shares.sum(axis=0).all()
    assert differing(shares, found.report.match.route_shares(counts)) is None


def test_a_client_that_waits(server: str, requests: list[Request], expected: list[Any]) -> None:
    with Client(server) as client:
        for (name, _, given, named), right in zip(requests, expected, strict=True):
            answer = getattr(client, name)(*given, **named)
            if isinstance(answer, Iterator):
                answer = list(answer)
            elif isinstance(answer, tuple):
                answer = answer[0], list(answer[1])
            assert differing(answer, right) is None, (name, differing(answer, right))


def test_a_client_that_awaits_all_at_once(
    server: str, requests: list[Request], expected: list[Any]
) -> None:
    async def answer(client: AsyncClient, name: str, given: Any, named: Any) -> Any:
        found = getattr(client, name)(*given, **named)
        if hasattr(found, "__aiter__"):
            return [item async for item in found]
        found = await found
        return (found[0], [part async for part in found[1]]) if isinstance(found, tuple) else found

    async def answers() -> list[Any]:
        async with AsyncClient(server) as client:
            return await asyncio.gather(
                *(answer(client, name, given, named) for name, _, given, named in requests)
            )

    for (name, *_), found, right in zip(requests, asyncio.run(answers()), expected, strict=True):
        assert differing(found, right) is None, (name, differing(found, right))
