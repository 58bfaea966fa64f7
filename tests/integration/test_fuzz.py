"""Whatever is sent is answered, or refused with a reason; nothing crashes, nothing leaks."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzzing import METHODS, Harness, any_messages
from tests.integration.live import GENES, block

from cellkin.indexer.genesets.collection import match_sets
from cellkin.indexer.genesets.named_sets import NamedSet
from cellkin.store.catalog import Kind
from cellkin.store.corpus import read_gene_names
from cellkin.store.store import Store
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.names import VersionName

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory, store_path: Path) -> Harness:
    copy = shutil.copytree(store_path, tmp_path_factory.mktemp("fuzz") / "store")
    store = Store.open(str(copy))
    corpus = store.catalog.resolve(Kind.CORPUS, VersionName("genes"))
    sets, _ = match_sets(
        [NamedSet("alpha", "of alpha", dict.fromkeys(GENES[:40], 1.0))],
        read_gene_names(store, corpus),
    )
    made_from = {"corpus": corpus.full_name, "corpus_digest": corpus.digest}
    described = {"set_kind": "markers", "taxon": 9606, "n_sets": 1, "n_genes": 40}
    store.publish_gene_sets("sets", sets, described | made_from | {"carried_from_taxon": 0})
    return Harness(Path(copy))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_any_bytes(harness: Harness, method: str) -> None:
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.binary(max_size=300), min_size=1, max_size=3))
    def check(messages: list[bytes]) -> None:
        harness.send(method, messages)

    check()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_any_values(harness: Harness, method: str) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data: st.DataObject) -> None:
        draw = st.integers(0, 1 << 16)
        harness.send(method, any_messages(method, lambda n: data.draw(draw) % n))

    check()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"genes": ["GENE5"] * 1_000_000}, "1000000 names in header.genes"),
        ({"genes": ["x" * 1_000_000]}, "header.genes[0] has 1000000 signs"),
        ({"genes": []}, "0 gene names mean 0 genes that count"),
        ({"genes": GENES, "min_probability": float("nan")}, "min_probability is nan"),
        ({"genes": GENES, "space": 3}, "space is 3; give one of SPACE_KIND_UNSPECIFIED, "),
        ({"genes": GENES, "center": 77}, "center is 77; give one of CENTER_UNSPECIFIED, "),
        ({"genes": GENES, "exclude_batches": ["x"] * 100_000}, "100000 names in header.exclude"),
        ({"genes": GENES, "index": "trio" * 100_000}, "a name has up to 100"),
        ({"genes": GENES, "taxon": -5}, "taxon is -5; give 0 or more"),
        ({"genes": GENES, "units": 77}, "units are not given"),
    ],
)
def test_extremes(harness: Harness, header: dict[str, object], message: str) -> None:
    query = wire.QueryHeader(**{"index": "trio", "units": 1} | header)  # type: ignore[arg-type]
    request = wire.PredictSubtypesRequest(header=query, cells=block(np.ones((1, 120))))
    status = harness.send("/cellkin.v1.CellService/PredictSubtypes", [request.SerializeToString()])
    assert status is not None
    assert message in status.details


def test_genes_that_repeat_add_up(harness: Harness) -> None:
    method = "/cellkin.v1.CellService/PredictSubtypes"
    query = wire.QueryHeader(index="trio", units=1, genes=[*GENES, *GENES])
    cells = block(np.hstack([np.ones((1, 120)), np.ones((1, 120))]))
    request = wire.PredictSubtypesRequest(header=query, cells=cells)
    assert harness.send(method, [request.SerializeToString()]) is None


def test_a_block_whose_index_pointers_overflow(harness: Harness) -> None:
    huge = wire.CellBlock(
        indptr=codec.encode(np.array([0, 2**62, -(2**62), 1])),
        columns=codec.encode(np.zeros(1, np.int32)),
        values=codec.encode(np.ones(1, np.float32)),
    )
    for cells in (
        huge,
        wire.CellBlock(),
        wire.CellBlock(indptr=codec.encode(np.zeros(1, np.int64))),
    ):
        query = wire.QueryHeader(index="trio", units=1, genes=GENES)
        request = wire.PredictSubtypesRequest(header=query, cells=cells)
        harness.send("/cellkin.v1.CellService/PredictSubtypes", [request.SerializeToString()])


@pytest.mark.slow
def test_a_hundred_thousand_cases_guided_by_coverage(store_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="the coverage-guided fuzzer is not installed")
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/fuzz.py", str(store_path), "--cases", "100000"],
        capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "grew by" in done.stdout
