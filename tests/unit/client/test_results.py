"""Results beside the messages they are read from."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkin.client.labels.annotation import _names
from cellkin.client.results.catalog import read_alias, read_embedding, read_index
from cellkin.client.results.cells import CellHits, Explanations, read_cells, read_hits
from cellkin.client.results.genes import read_neighborhood, read_record, read_resolved
from cellkin.client.results.predictions import (
    Predictions,
    read_prediction,
    read_predictions,
    read_report,
)
from cellkin.client.results.sample import ReportWarning, read_sample_check
from cellkin.client.results.versions import Versions
from cellkin.v1 import catalog_service_pb2, cell_service_pb2, gene_service_pb2
from cellkin.wire import codec
from cellkin.wire.terms import GeneRoute

FLOATS = st.floats(-1, 1, width=32)
HIT = st.tuples(st.text(max_size=5), st.text(max_size=5), FLOATS, st.integers(0, 2**40))


@given(st.lists(st.lists(HIT, max_size=4), max_size=6), st.integers(0, 6))
def test_hits_are_read_and_joined_as_they_were(queries: list[list[Any]], cut: int) -> None:
    def message(part: list[list[Any]]) -> CellHits:
        hits = [hit for query in part for hit in query]
        sent = cell_service_pb2.CellHits(
            counts=[len(query) for query in part],
            cell_ids=[hit[0] for hit in hits],
            labels=[hit[1] for hit in hits],
            batches=["" for _ in hits],
            similarities=[hit[2] for hit in hits],
            rows=[hit[3] for hit in hits],
        )
        return read_hits(cell_service_pb2.CellHits.FromString(sent.SerializeToString()))

    whole, parts = message(queries), CellHits.join([message(queries[:cut]), message(queries[cut:])])
    for name in CellHits.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    columns = whole.columns()
    assert len({len(column) for column in columns.values()}) == 1
    back: list[list[Any]] = [[] for _ in queries]
    rows = zip(*(columns[n] for n in ("query", "rank", "cell_id", "label", "similarity", "row")),
               strict=True)  # fmt: skip
    for query, rank, *hit in rows:
        back[query].append(tuple(hit))
        assert rank == len(back[query])
    assert back == queries
    assert whole.rows.dtype == np.int64
    assert whole.similarities.dtype == np.float32


@given(st.integers(0, 4), st.integers(0, 3))
def test_vectors_of_cells(n: int, dim: int) -> None:
    vectors = np.arange(n * dim, dtype=np.float32).reshape(n, dim)
    cells = [cell_service_pb2.Cell(cell_id="x", vector=codec.encode(row)) for row in vectors]
    found = read_cells(cell_service_pb2.GetCellsResponse(cells=cells))
    assert found.vectors.shape == ((n, dim) if n else (0, 0))
    np.testing.assert_array_equal(found.vectors.ravel(), vectors.ravel())


def test_neighborhoods_of_nothing_and_of_several() -> None:
    empty = read_neighborhood((), gene_service_pb2.SearchGenesResponse())
    assert (empty.genes, empty.neighbors, empty.compared_ranks.shape) == ((), [], (0, 0))
    record = gene_service_pb2.GeneRecord(
        gene_id=7, symbol="INS", rung=gene_service_pb2.TEXT_RUNG_OWN_SUMMARY
    )
    hit = gene_service_pb2.GeneHit(
        gene=record,
        similarity=0.5,
        compared=[gene_service_pb2.ComparedHit(rank=r, similarity=0.25) for r in (3, 0)],
    )
    answer = gene_service_pb2.SearchGenesResponse(
        gene_set=[record, record], hits=[hit], compared_embeddings=["a@1", "b@2"]
    )
    found = read_neighborhood((), answer)
    assert len(found.genes) == 2
    assert found.compared_ranks.tolist() == [[3, 0]]
    assert found.columns()["rank in b@2"].tolist() == [0]
    assert found.neighbors[0][1] == 0.5


def test_what_is_not_there_is_none() -> None:
    index = read_index(catalog_service_pb2.CellIndex(name="a"))
    assert (index.retraction, index.certificate) == (None, None)
    retracted = catalog_service_pb2.EmbeddingVersion(
        retraction=catalog_service_pb2.Retraction(reason="wrong"), manifest_json='{"a": 1}'
    )
    found = read_embedding(retracted)
    assert found.retraction is not None
    assert (found.retraction.reason, found.manifest) == ("wrong", {"a": 1})
    assert found.create_time.utcoffset() is not None
    columns = Explanations(Versions(), (), "text").columns()
    assert {len(column) for column in columns.values()} == {0}


def test_terms_of_newer_releases_are_read() -> None:
    alias = read_alias(catalog_service_pb2.Alias(kind=9, name="a@b"))  # type: ignore[arg-type]
    assert alias.kind == 9
    record = read_record(gene_service_pb2.GeneRecord(rung=9))  # type: ignore[arg-type]
    assert record.rung.label == "other (9)"
    nine = codec.encode(np.array([9], np.uint8))
    genes = cell_service_pb2.GeneMatch(
        gene_ids=codec.encode(np.array([7])), routes=nine, rungs=nine, in_space=nine
    )
    resolved = read_resolved(("x",), gene_service_pb2.ResolveGenesResponse(genes=genes)).columns()
    assert resolved["route"] == resolved["text"] == ["other (9)"]
    block = cell_service_pb2.PredictionBlock(
        winners=codec.encode(np.array([-1], np.int32)),
        probabilities=codec.encode(np.zeros(1, np.float32)),
        unknown_reasons=nine,
    )
    message = cell_service_pb2.PredictSubtypesResponse(predictions=block)
    assert read_prediction(message).columns()["reason"] == ["other (9)"]


@pytest.mark.parametrize(("code", "name"), [(255, "not a gene"), (9, "other (9)")])
def test_codes_of_newer_releases_have_a_category(code: int, name: str) -> None:
    labels = {1: "a", 255: "not a gene"}
    found = _names(np.array([1, code], np.uint8), GeneRoute, labels)
    assert found.tolist() == ["a", name]


def predicted(n_cells: int, route_shares: Any) -> Predictions:
    """Read predictions of which nothing but the shares by route is looked at."""
    return read_predictions(
        cell_service_pb2.PredictionBlock(
            winners=codec.encode(np.zeros(n_cells, np.int32)),
            route_shares=codec.encode(np.array(route_shares, np.float32)),
        )
    )


def test_shares_by_route_and_what_matched() -> None:
    found = predicted(
        3, [[0.25, 0, 0, 0.5, 0.125, 0, 0.125], [0] * 7, [0, 0.1, 0.2, 0.3, 0.2, 0.2, 0]]
    )
    assert found.route_shares[0, GeneRoute.SYNONYM] == 0.125
    np.testing.assert_allclose(found.matched_shares, [0.625, 0, 1])
    assert found.matched_shares.max() <= 1
    assert found.matched_shares.dtype == np.float32


def test_a_server_that_knows_no_routes_says_nothing_of_them() -> None:
    found = read_predictions(
        cell_service_pb2.PredictionBlock(winners=codec.encode(np.zeros(2, np.int32)))
    )
    assert found.route_shares.shape == (2, 7)
    assert np.isnan(found.route_shares).all()
    assert np.isnan(found.matched_shares).all()
    assert predicted(0, []).route_shares.shape == (0, 7)


def test_routes_of_other_releases() -> None:
    fewer = predicted(2, [[0.5, 0.5], [0, 1]]).route_shares
    assert fewer.tolist() == [[0.5, 0.5, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0]]
    more = predicted(1, [[0.5, 0, 0, 0.25, 0, 0, 0, 0.25]])
    assert more.route_shares.tolist() == [[0.5, 0, 0, 0.25, 0, 0, 0]]
    joined = Predictions.join([more, predicted(0, []), more])
    assert joined.route_shares.shape == (2, 7)


def test_runners_up_and_the_probability_of_every_label() -> None:
    message = cell_service_pb2.PredictionBlock(
        winners=codec.encode(np.array([0, 1], np.int32)),
        probabilities=codec.encode(np.array([0.75, 0.5], np.float32)),
        unknown_reasons=codec.encode(np.array([0, 5], np.uint8)),
        runners_up=codec.encode(np.array([1, -1], np.int32)),
        runner_up_probabilities=codec.encode(np.array([0.25, 0], np.float32)),
        label_probabilities=codec.encode(np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)),
    )
    found = read_predictions(message)
    assert found.label_probabilities.tolist() == [[0.75, 0.25], [0.5, 0.5]]
    np.testing.assert_array_equal(found.known_probabilities, [0.75, np.nan])
    assert found.known_probabilities.dtype == np.float32
    message.label_probabilities = b""
    assert read_predictions(message).label_probabilities.shape == (2, 0)
    older = read_predictions(
        cell_service_pb2.PredictionBlock(winners=codec.encode(np.zeros(2, np.int32)))
    )
    assert older.runners_up.tolist() == [-1, -1]
    assert np.isnan(older.runner_up_probabilities).all()


def test_a_prediction_as_a_table() -> None:
    report = cell_service_pb2.QueryReport(labels=["a", "b"])
    block = cell_service_pb2.PredictionBlock(
        winners=codec.encode(np.array([0, 1, -1], np.int32)),
        probabilities=codec.encode(np.array([0.75, 0.5, 0], np.float32)),
        unknown_reasons=codec.encode(np.array([0, 5, 1], np.uint8)),
        runners_up=codec.encode(np.array([1, 0, -1], np.int32)),
        runner_up_probabilities=codec.encode(np.array([0.25, 0.5, 0], np.float32)),
        supports=codec.encode(np.zeros(3, np.float32)),
        novelties=codec.encode(np.zeros(3, np.float32)),
        n_votes=codec.encode(np.zeros(3, np.uint8)),
    )
    answer = cell_service_pb2.PredictSubtypesResponse(report=report, predictions=block)
    columns = read_prediction(answer).columns()
    assert columns["label"] == ["a", "unknown", "unknown"]
    assert columns["winner"] == ["a", "b", ""]
    assert columns["runner_up"] == ["b", "a", ""]
    np.testing.assert_array_equal(columns["probability"], [0.75, np.nan, np.nan])
    assert columns["winner_probability"].tolist() == [0.75, 0.5, 0]
    assert columns["reason"] == ["", "label not confirmed", "no gene matched"]


def test_warnings_and_the_check_of_a_sample() -> None:
    plain = read_report(cell_service_pb2.QueryReport())
    assert (plain.warnings, plain.sample_check, plain.foreign) == ((), None, False)
    check = cell_service_pb2.SampleCheck(
        verdict=cell_service_pb2.SAMPLE_VERDICT_FOREIGN, n_cells=3072, n_genes=1200,
        confirmed_share=0.03,
        labels=[cell_service_pb2.LabelCheck(label="b", n_cells=9, similarity=0.5, confirmed=True)],
    )  # fmt: skip
    warned = cell_service_pb2.Warning(reason="WEAK_LABELS", message="b is weak", labels=["b", "c"])
    message = cell_service_pb2.QueryReport(foreign=True, warnings=[warned], sample_check=check)
    report = read_report(message)
    (warning,) = report.warnings
    assert (warning.reason, warning.labels) == ("WEAK_LABELS", ("b", "c"))
    assert str(warning) == "b is weak: c"
    assert str(ReportWarning("X", "all is weak")) == "all is weak"
    found = report.sample_check
    assert found is not None
    assert found.verdict == "foreign"
    assert found.unconfirmed == ()
    assert found.columns()["similarity"].tolist() == [0.5]
    assert found.sentence("trio@1") == "", "of that the server warns"
    check.verdict = cell_service_pb2.SAMPLE_VERDICT_BELONGS
    said = read_sample_check(check).sentence("trio@1")
    assert said.startswith("the sample belongs to trio@1: 3% of the cells' labels")
    check.verdict = 77  # type: ignore[assignment]  # of a later release
    assert read_sample_check(check).verdict == "undecided"
    assert read_sample_check(check).sentence("trio@1") == ""
