"""Clients and servers of other releases get along with the present ones."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tests.integration.live import GENES, Live, block
from tests.integration.releases import NEWEST_RPCS, Release, kept_sets, without_the_newest

from cellkin.client import Client
from cellkin.wire import codec
from cellkin.wire.errors import NotFoundError
from cellkin.wire.protos import descriptor_set_path
from cellkin.wire.terms import ExpressionUnits

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


def test_the_present_client_asks_an_old_server(
    old_server: str, live: Live, make_cells: Any
) -> None:
    blocks = [counts(make_cells)]
    answers = []
    for address in (old_server, live.address):
        with Client(address) as client:
            genes = client.search_genes("GENE1", taxon=9606, k=3, embedding=MODEL)
            report, parts = client.predict_subtypes("trio", GENES, iter(blocks), units=UNITS)
            (found,) = parts
            answers.append((genes.gene, genes.versions, report.versions, found.winners.tolist()))
            with pytest.raises(NotFoundError, match="no cell index 'none'"):
                client.predict_subtypes("none", GENES, iter(blocks), units=UNITS)
    assert answers[0] == answers[1]
