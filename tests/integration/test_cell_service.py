"""Nearest cells, filters, streams, explanations, over the wire and beside numpy."""

from collections.abc import Callable, Iterator
from typing import Any

import anndata
import grpc
import numpy as np
import pytest
from tests.integration.live import GENES, Live, block

from cellkin.client.results.predictions import read_predictions
from cellkin.client.transport.errors import error_from_rpc
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import (
    GenesUnmatchedError,
    InvalidArgumentError,
    NotFoundError,
)

pytestmark = pytest.mark.integration
LINEAR = wire.EXPRESSION_UNITS_LINEAR


def refused(call: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return error_from_rpc(caught.value, "here")


def header(**given: Any) -> wire.SearchHeader:
    return wire.SearchHeader(**{"index": "trio", "k": 5} | given)


def by_expression(**given: Any) -> wire.SearchHeader:
    return header(genes=GENES, units=LINEAR, **given)


def search(
    live: Live, header: wire.SearchHeader, queries: wire.SearchQueries
) -> wire.SearchCellsResponse:
    request = wire.SearchCellsRequest(header=header, queries=queries)
    answer: wire.SearchCellsResponse = live.cells.SearchCells(request)
    return answer


@pytest.fixture(scope="module")
def counts(make_cells: Callable[..., anndata.AnnData]) -> Any:
    return make_cells(6, 21).X


@pytest.fixture(scope="module")
def reference(live: Live) -> tuple[list[wire.Cell], Any]:
    """All cells of the index with their vectors."""
    ids = [f"cell1-{i}" for i in range(150)]
    request = wire.GetCellsRequest(index="trio", cell_ids=ids, return_vectors=True)
    cells = list(live.cells.GetCells(request).cells)
    return cells, np.stack([codec.decode(c.vector, np.float32, "vector") for c in cells])


def test_cells_are_described(reference: tuple[list[wire.Cell], Any]) -> None:
    cells, vectors = reference
    assert [c.cell_id for c in cells] == [f"cell1-{i}" for i in range(150)]
    assert [c.label for c in cells[:4]] == ["alpha", "beta", "delta", "alpha"]
    assert [c.batch for c in cells[:3]] == ["d0", "d1", "d0"]
    assert [c.row for c in cells] == list(range(150))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_search_finds_what_numpy_finds(
    live: Live, reference: tuple[list[wire.Cell], Any]
) -> None:
    cells, vectors = reference
    queries = vectors[:7] + 0.05 * np.random.default_rng(0).standard_normal((7, 64))
    answer = search(
        live, header(), wire.SearchQueries(vectors=codec.encode(queries.astype(np.float32)))
    )
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    expected = np.argsort(-(unit @ vectors.T), axis=1)[:, :5]
    assert answer.hits.counts == [5] * 7
    assert np.array(answer.hits.rows).reshape(7, 5).tolist() == expected.tolist()
    np.testing.assert_allclose(
        np.array(answer.hits.similarities).reshape(7, 5),
        np.take_along_axis(unit @ vectors.T, expected, axis=1),
        atol=1e-5,
    )
    assert answer.hits.cell_ids == [cells[r].cell_id for r in expected.ravel()]
    assert answer.hits.labels == [cells[r].label for r in expected.ravel()]
    assert answer.hits.batches == [cells[r].batch for r in expected.ravel()]
    assert answer.versions.index.startswith("trio@")
    assert not answer.HasField("genes")


def test_cells_and_their_vectors_have_the_same_kin(live: Live, counts: Any) -> None:
    predicted = live.cells.PredictSubtypes(
        wire.PredictSubtypesRequest(
            header=wire.QueryHeader(
                index="trio", genes=GENES, units=LINEAR, return_vectors=True,
                space=wire.SPACE_KIND_TEXT,
            ),
            cells=block(counts),
        )
    )  # fmt: skip
    in_text = by_expression(space=wire.SPACE_KIND_TEXT)
    by_cells = search(live, in_text, wire.SearchQueries(cells=block(counts)))
    by_vectors = search(live, header(), wire.SearchQueries(vectors=predicted.predictions.vectors))
    assert by_cells.hits == by_vectors.hits
    assert by_cells.genes.taxon == 9606
    in_text.exact = True
    exact = search(live, in_text, wire.SearchQueries(cells=block(counts)))
    assert exact.hits == by_cells.hits


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ([("label", ["beta"], False)], lambda c: c.label == "beta"),
        ([("label", ["beta"], True)], lambda c: c.label != "beta"),
        (
            [("label", ["beta", "delta"], False), ("batch", ["d1"], False)],
            lambda c: c.label != "alpha" and c.batch == "d1",
        ),
        ([("id", ["cell1-7", "none"], False)], lambda c: c.cell_id == "cell1-7"),
        ([("label", ["none"], False)], lambda c: False),
    ],
)
def test_filters(
    live: Live,
    reference: tuple[list[wire.Cell], Any],
    filters: list[tuple[str, list[str], bool]],
    passes: Callable[[wire.Cell], bool],
) -> None:
    cells, vectors = reference
    given = [wire.CellFilter(column=c, values=v, exclude=e) for c, v, e in filters]
    queries = wire.SearchQueries(vectors=codec.encode(vectors[:3]))
    hits = search(live, header(filters=given), queries).hits
    mask = np.array([passes(c) for c in cells])
    similarities = np.where(mask, vectors[:3] @ vectors.T, -np.inf)
    n = min(5, int(mask.sum()))
    expected = np.argsort(-similarities, axis=1, kind="stable")[:, :n]
    assert hits.counts == [n] * 3
    assert list(hits.rows) == expected.ravel().tolist()


def test_a_donors_own_cells_can_be_left_out(
    live: Live, reference: tuple[list[wire.Cell], Any]
) -> None:
    cells, vectors = reference
    queries = wire.SearchQueries(
        vectors=codec.encode(vectors[:4]), exclude_batches=[cells[0].batch, "", "other", "d1"]
    )
    hits = search(live, header(), queries).hits
    batches = np.array(hits.batches).reshape(4, 5)
    assert cells[0].batch not in batches[0]
    assert hits.rows[5] == 1
    assert hits.rows[10] == 2
    assert "d1" not in batches[3]


def test_an_empty_cell_has_no_kin(live: Live, counts: Any) -> None:
    hollow = counts.toarray()
    hollow[2] = 0
    hits = search(live, by_expression(), wire.SearchQueries(cells=block(hollow))).hits
    assert list(hits.counts) == [5, 5, 0, 5, 5, 5]


def test_a_stream_answers_as_single_requests_do(live: Live, counts: Any) -> None:
    def requests() -> Iterator[wire.StreamSearchCellsRequest]:
        yield wire.StreamSearchCellsRequest(header=by_expression())
        for row in range(6):
            yield wire.StreamSearchCellsRequest(
                queries=wire.SearchQueries(cells=block(counts[row]))
            )

    report, *answers = live.cells.StreamSearchCells(requests())
    assert report.report.versions.index.startswith("trio@")
    assert report.report.genes.taxon == 9606
    for row, answer in enumerate(answers):
        alone = search(live, by_expression(), wire.SearchQueries(cells=block(counts[row])))
        assert answer.hits == alone.hits
    assert len(answers) == 6


def test_labels_in_one_request_are_those_of_a_stream(live: Live, counts: Any) -> None:
    query = wire.QueryHeader(index="trio", genes=GENES, units=LINEAR)
    one = live.cells.PredictSubtypes(wire.PredictSubtypesRequest(header=query, cells=block(counts)))
    messages = [
        wire.StreamPredictSubtypesRequest(header=query),
        wire.StreamPredictSubtypesRequest(cells=block(counts)),
    ]
    report, predictions = live.cells.StreamPredictSubtypes(iter(messages))
    assert (one.report, one.predictions) == (report.report, predictions.predictions)


@pytest.mark.parametrize("space", [wire.SPACE_KIND_TEXT, wire.SPACE_KIND_EXPRESSION])
def test_a_cell_is_read_alike_in_any_company(
    live: Live, counts: Any, space: "wire.SpaceKind.ValueType"
) -> None:
    query = wire.QueryHeader(
        index="trio", genes=GENES, units=LINEAR, space=space, return_vectors=True
    )

    def read(rows: slice) -> Any:
        request = wire.PredictSubtypesRequest(header=query, cells=block(counts[rows]))
        return read_predictions(live.cells.PredictSubtypes(request).predictions)

    whole = read(slice(None))
    for first, stop in ((0, 1), (7, 8), (29, 30), (3, 20)):
        part = read(slice(first, stop))
        for name in ("winners", "probabilities", "supports", "novelties", "vectors"):
            found, said = getattr(part, name), getattr(whole, name)[first:stop]
            assert found.tobytes() == said.tobytes(), name


def test_cells_are_searched_by_expression_where_genes_are_shared(live: Live, counts: Any) -> None:
    header = wire.SearchHeader(index="trio", k=5, genes=GENES, units=LINEAR)
    cells = wire.SearchQueries(cells=block(counts))
    by_cells = live.cells.SearchCells(wire.SearchCellsRequest(header=header, queries=cells))
    assert by_cells.space == wire.SPACE_KIND_EXPRESSION
    own = np.repeat(["alpha", "beta", "delta"] * 2, 5).tolist()
    assert by_cells.hits.labels == own
    query = wire.QueryHeader(index="trio", genes=GENES, units=LINEAR, return_vectors=True)
    placed = live.cells.PredictSubtypes(
        wire.PredictSubtypesRequest(header=query, cells=block(counts))
    ).predictions
    vectors = wire.SearchQueries(vectors=placed.vectors)
    by_place = wire.SearchHeader(index="trio", k=5, space=wire.SPACE_KIND_EXPRESSION)
    by_vectors = live.cells.SearchCells(wire.SearchCellsRequest(header=by_place, queries=vectors))
    assert by_vectors.hits.rows == by_cells.hits.rows
    np.testing.assert_allclose(by_vectors.hits.similarities, by_cells.hits.similarities, atol=1e-6)
    by_place.exact = True
    assert (
        live.cells.SearchCells(wire.SearchCellsRequest(header=by_place, queries=vectors)).hits.rows
        == by_cells.hits.rows
    )
    header.space = wire.SPACE_KIND_TEXT
    by_text = live.cells.SearchCells(wire.SearchCellsRequest(header=header, queries=cells))
    assert by_text.space == wire.SPACE_KIND_TEXT
    assert by_text.hits.labels == own
    assert by_text.hits.similarities != by_cells.hits.similarities


@pytest.mark.parametrize("space", [wire.SPACE_KIND_TEXT, wire.SPACE_KIND_EXPRESSION])
def test_an_explanation_adds_up(live: Live, counts: Any, space: "wire.SpaceKind.ValueType") -> None:
    request = wire.ExplainCellRequest(
        header=wire.QueryHeader(index="trio", genes=GENES, units=LINEAR, space=space),
        cells=block(counts),
        n_genes=8,
    )
    answer = live.cells.ExplainCell(request)
    assert answer.space == space
    explained = answer.explanations
    assert [e.label for e in explained] == ["alpha", "beta", "delta"] * 2
    for explanation in explained:
        parts = [g.contribution for g in explanation.contributions]
        assert len(parts) == 8
        assert sum(parts) + explanation.remainder == pytest.approx(explanation.score, abs=1e-5)
        assert np.abs(parts).tolist() == sorted(np.abs(parts), reverse=True)
        own = {"alpha": 0, "beta": 40, "delta": 80}[explanation.label]
        markers = [
            g
            for g in explanation.contributions
            if g.contribution > 0 and (own < g.gene_id <= own + 40) == (g.weight > 0)
        ]
        assert len(markers) >= 7, "its own genes, and the lack of others', pull a cell to its type"
        assert all(g.symbol == f"GENE{g.gene_id}" for g in explanation.contributions)
    request.label = "beta"
    other = live.cells.ExplainCell(request).explanations
    assert {e.label for e in other} == {"beta"}
    assert other[0].similarity < explained[0].similarity
    everything = wire.ExplainCellRequest(header=request.header, cells=request.cells, n_genes=1000)
    whole = live.cells.ExplainCell(everything).explanations[0]
    assert whole.n_remaining == 0
    assert whole.remainder == pytest.approx(0, abs=1e-6 if space == wire.SPACE_KIND_TEXT else 0.01)


@pytest.mark.parametrize(
    ("given", "queries", "field", "message"),
    [
        ({"k": -1}, {"vectors": b"\0" * 256}, "header.k", "k is -1; ask for 1 to 1000"),
        ({"k": 1001}, {"vectors": b"\0" * 256}, "header.k", "k is 1001"),
        ({}, {}, "queries", "no queries are given"),
        ({}, {"vectors": b"\0" * 255}, "queries.vectors", "no whole number of 4-byte values"),
        ({}, {"vectors": b"\0" * 252}, "queries.vectors", "vectors of 64 dimensions"),
        ({}, {"vectors": b"\0" * 256}, "queries.vectors", "vector 0 is all zero"),
        ({}, {"vectors": np.full(64, np.nan, "<f4").tobytes()}, "queries.vectors", "not finite"),
        ({}, {"vectors": b"\1" * 256 * 4097}, "queries.vectors", "send at most 4096"),
        ({"k": 1000}, {"vectors": b"\1" * 256 * 401}, "queries", "at most 400000"),
        ({}, {"cells": block(np.ones((1, 120)))}, "header.genes", "the header has no genes"),
        ({"genes": GENES}, {"cells": block(np.ones((1, 120)))}, "header.units", "units are not"),
        (
            {"filters": [wire.CellFilter(column="sex")]}, {"vectors": b"\1" * 256},
            "header.filters[0].column", "no column 'sex'; filter by label, batch or id",
        ),
        (
            {}, {"vectors": b"\1" * 256, "exclude_batches": ["a", "b"]},
            "queries.exclude_batches", "2 batches to exclude for 1 queries",
        ),
    ],
)  # fmt: skip
def test_searches_that_are_refused(
    live: Live, given: dict[str, Any], queries: dict[str, Any], field: str, message: str
) -> None:
    error = refused(lambda: search(live, header(**given), wire.SearchQueries(**queries)))
    assert isinstance(error, InvalidArgumentError)
    assert error.field == field
    assert message in error.message


def test_other_refusals(live: Live, counts: Any) -> None:
    lost = refused(
        lambda: live.cells.GetCells(wire.GetCellsRequest(index="trio", cell_ids=["x", "cell1-1"]))
    )
    assert isinstance(lost, NotFoundError)
    assert lost.metadata["cell_id"] == "x"
    query = wire.QueryHeader(index="trio", genes=GENES, units=LINEAR)
    unknown = refused(
        lambda: live.cells.ExplainCell(
            wire.ExplainCellRequest(header=query, cells=block(counts), label="gamma")
        )
    )
    assert "the reference has no label 'gamma'; it has alpha, beta, delta" in unknown.message
    many = refused(
        lambda: live.cells.ExplainCell(
            wire.ExplainCellRequest(header=query, cells=block(np.ones((65, 120))))
        )
    )
    assert "65 cells to explain; send at most 64" in many.message
    alien = refused(
        lambda: search(
            live,
            header(genes=[f"probe{i}" for i in range(120)], units=LINEAR),
            wire.SearchQueries(cells=block(counts)),
        )
    )
    assert isinstance(alien, GenesUnmatchedError)
    assert alien.metadata["genes_used"] == "0"
    headless = refused(lambda: list(live.cells.StreamSearchCells(iter([]))))
    assert headless.message == "the first message of a search is its header"
    bare = iter([wire.StreamSearchCellsRequest(header=header()), wire.StreamSearchCellsRequest()])
    empty = refused(lambda: list(live.cells.StreamSearchCells(bare)))
    assert empty.message == "after the header every message is a block of queries"
