"""Clients and servers of other releases get along with the present ones."""

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tests.integration.live import GENES, Live, block
from tests.integration.releases import NEWEST_RPCS, Release, kept_sets, without_the_newest

from cellkin.client import Client
from cellkin.client.surface import Surface
from cellkin.wire import codec
from cellkin.wire.errors import NotFoundError, UnimplementedError
from cellkin.wire.protos import descriptor_set_path
from cellkin.wire.terms import ExpressionUnits, GeneRoute

pytestmark = pytest.mark.integration
MODEL = "random:64:7"
UNITS = ExpressionUnits.LINEAR
ROOT = Path(__file__).parents[2]
PRESENT = FileDescriptorSet.FromString(descriptor_set_path().read_bytes())
RELEASES = {name: Release(kept) for name, kept in kept_sets().items()} | {
    "older": Release(without_the_newest(next(iter(kept_sets().values()))))
}


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest) -> Release:
    return RELEASES[request.param]


@pytest.fixture(scope="module")
def old_server(release: Release, live: Live) -> Iterator[str]:
    with release.relay(live.channel) as address:
        yield address


def counts(make_cells: Any) -> Any:
    return make_cells(6, 5).X


def test_this_release_is_kept() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version in kept_sets(), (
        f"protos/releases has no descriptor set of {version}; see README.md there"
    )


def test_the_older_release_lacks_what_it_should() -> None:
    lacks = {method.name for method in Release(PRESENT).methods()} - {
        method.name for method in RELEASES["older"].methods()
    }
    assert lacks >= NEWEST_RPCS
    assert "fallbacks" not in RELEASES["older"].message("PredictionBlock").DESCRIPTOR.fields_by_name


def test_an_old_client_labels_cells(release: Release, live: Live, make_cells: Any) -> None:
    sent = block(counts(make_cells))
    cells = {"indptr": sent.indptr, "columns": sent.columns, "values": sent.values}
    header = {"index": "trio", "genes": GENES, "units": 1}
    request = release.message("PredictSubtypesRequest")(header=header, cells=cells)
    answer = release.call(live.channel, "PredictSubtypes")(request)
    labels = np.array(answer.report.labels)
    found = labels[codec.decode(answer.predictions.winners, np.int32, "winners")]
    assert found.tolist() == ["alpha", "beta", "delta"] * 2
    part = release.message("StreamPredictSubtypesRequest")
    stream = release.call(live.channel, "StreamPredictSubtypes")(
        iter([part(header=header), part(cells=cells)])
    )
    report, predictions = stream
    assert report.report.versions == answer.report.versions
    assert predictions.predictions.winners == answer.predictions.winners


def test_an_old_client_finds_genes_and_versions(release: Release, live: Live) -> None:
    request = release.message("SearchGenesRequest")(gene="GENE1", taxon=9606, k=3, embedding=MODEL)
    answer = release.call(live.channel, "SearchGenes")(request)
    assert len(answer.hits) == 3
    request = release.message("ListCellIndexesRequest")()
    (index,) = release.call(live.channel, "ListCellIndexes")(request).cell_indexes
    assert index.name.startswith("trio@")
    assert index.n_cells == 150


# What the client calls the fields that a release lacks.
LACKS = {
    "0.1.0": {
        "background_cells", "batches", "control", "control_embedding", "cosine_ranks", "foreign",
        "gene_types", "n_searched", "qualities", "reference_depth", "route_shares",
        "runner_up_probabilities", "runners_up", "score", "scores", "searched", "warnings",
    },
}  # fmt: skip
LACKS["older"] = LACKS["0.1.0"] | {
    "background_percentiles", "compared_embeddings", "compared_ranks", "compared_similarities",
    "calibration_error", "ancestors", "fallbacks", "loaded", "space",
}  # fmt: skip
ASKED: dict[str, Callable[[Client, Any], Any]] = {
    "search_genes": lambda c, x: c.search_genes("GENE1", taxon=9606, k=3, embedding=MODEL),
    "get_gene": lambda c, x: c.get_gene("GENE3", taxon=9606),
    "batch_get_genes": lambda c, x: c.batch_get_genes(["GENE3", "GENE5"], taxon=9606),
    "resolve_genes": lambda c, x: c.resolve_genes(["GENE3", "none"], index="trio"),
    "predict_subtypes": lambda c, x: c.predict_subtypes("trio", GENES, x, units=UNITS),
    "stream_predict_subtypes": lambda c, x: _stream(
        c.stream_predict_subtypes("trio", GENES, [x, x], units=UNITS)
    ),
    "search_cells": lambda c, x: c.search_cells("trio", x, k=3, genes=GENES, units=UNITS),
    "stream_search_cells": lambda c, x: _stream(
        c.stream_search_cells("trio", [x, x], k=3, genes=GENES, units=UNITS)
    ),
    "explain_cell": lambda c, x: c.explain_cell("trio", GENES, x, units=UNITS),
    "get_cells": lambda c, x: c.get_cells("trio", ["cell1-0"]),
    "list_embedding_models": lambda c, x: list(c.list_embedding_models()),
    "get_embedding_model": lambda c, x: c.get_embedding_model("random-64-7"),
    "list_embedding_versions": lambda c, x: list(c.list_embedding_versions("random-64-7")),
    "get_embedding_version": lambda c, x: c.get_embedding_version("random-64-7"),
    "list_cell_indexes": lambda c, x: list(c.list_cell_indexes()),
    "get_cell_index": lambda c, x: c.get_cell_index("trio"),
    "list_aliases": lambda c, x: list(c.list_aliases()),
}
# What no server of these releases answers.
NEW: dict[str, Callable[[Client, Any], Any]] = {
    "list_gene_set_collections": lambda c, x: list(c.list_gene_set_collections()),
    "list_gene_sets": lambda c, x: list(c.list_gene_sets("go")),
    "get_gene_set": lambda c, x: c.get_gene_set("go", "vision"),
    "enrich_genes": lambda c, x: c.enrich_genes(["go"], genes=["GENE1"]),
    "contrast_subtypes": lambda c, x: c.contrast_subtypes("trio", a=["alpha"]),
    "get_layout": lambda c, x: c.get_layout("trio"),
    "back_up_store": lambda c, x: c.back_up_store("s3://bucket/backup"),
}
# What a server of these releases answers as if an option had not been given.
IGNORED: dict[str, Callable[[Client, Any], Any]] = {
    "rows": lambda c, x: c.get_cells("trio", rows=[0]),
    "positions": lambda c, x: c.predict_subtypes(
        "trio", GENES, x, units=UNITS, return_positions=True
    ),
}
CHANGING = {"set_alias", "retract_version", "reload"}


def _stream(opened: Any) -> list[Any]:
    first, answers = opened
    return [first, *answers]


def plain(answer: Any, without: set[str]) -> Any:
    """Return an answer as lists, dictionaries and arrays, without some of its fields."""
    if isinstance(answer, list | tuple):
        return [plain(each, without) for each in answer]
    if not is_dataclass(answer):
        return answer
    names = {field.name for field in fields(answer)} - without
    return {name: plain(getattr(answer, name), without) for name in sorted(names)}


def test_every_question_is_asked() -> None:
    methods = {name for name in vars(Surface) if not name.startswith("_")}
    assert methods == set(ASKED) | set(NEW) | CHANGING


@pytest.mark.parametrize("what", NEW)
def test_what_an_old_server_lacks_is_said(what: str, old_server: str, make_cells: Any) -> None:
    with Client(old_server) as client, pytest.raises(UnimplementedError):
        NEW[what](client, counts(make_cells))


@pytest.mark.parametrize("what", ASKED)
def test_the_present_client_asks_an_old_server(
    what: str, request: pytest.FixtureRequest, old_server: str, live: Live, make_cells: Any
) -> None:
    name = request.node.callspec.params["release"]
    cells = counts(make_cells)
    with Client(old_server) as of_old, Client(live.address) as present:
        if name == "older" and what in {"resolve_genes", "list_aliases"}:
            with pytest.raises(UnimplementedError):
                ASKED[what](of_old, cells)
            return
        asked = [ASKED[what](client, cells) for client in (of_old, present)]
    np.testing.assert_equal(*(plain(answer, LACKS.get(name, set())) for answer in asked))


@pytest.mark.parametrize("option", [{"gene_types": ["*"]}, {"score": "csls"}, {"taxa": [9606]}])
def test_an_old_server_that_ignores_a_filter_is_refused(
    old_server: str, option: dict[str, Any]
) -> None:
    with Client(old_server) as client, pytest.raises(UnimplementedError, match="earlier release"):
        client.search_genes("GENE1", taxon=9606, embedding=MODEL, **option)


@pytest.mark.parametrize("option", IGNORED)
def test_an_old_server_that_ignores_an_option_is_refused(
    option: str, old_server: str, make_cells: Any
) -> None:
    with Client(old_server) as client, pytest.raises(UnimplementedError, match="earlier release"):
        IGNORED[option](client, counts(make_cells))


def test_an_old_server_does_not_say_by_which_routes(old_server: str, make_cells: Any) -> None:
    with Client(old_server) as client:
        found = client.predict_subtypes("trio", GENES, counts(make_cells), units=UNITS)
    assert found.predictions.route_shares.shape == (6, len(GeneRoute))
    assert found.to_pandas()["matched_share"].isna().all()


def test_errors_of_an_old_server_are_what_they_were(old_server: str, make_cells: Any) -> None:
    with Client(old_server) as client, pytest.raises(NotFoundError, match="no cell index 'none'"):
        client.predict_subtypes("none", GENES, counts(make_cells), units=UNITS)
