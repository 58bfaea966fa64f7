"""Blocks of cells as they go over the wire, plain and compact."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from cellkin.client.calls.cells import stream_predict_subtypes
from cellkin.client.calls.messages import to_message
from cellkin.server import calls
from cellkin.server.blocks import read_block
from cellkin.server.calls import Call
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import ExpressionUnits


@pytest.fixture(autouse=True)
def _a_call() -> Any:
    calls.work_on(Call("/test", 0.0, None))
    yield
    calls.work_on(None)


def cells(values: str, n_genes: int = 400) -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    x = sp.random(60, n_genes, 0.2, "csr", np.float32, rng)
    draws = {
        "counts": lambda: rng.poisson(4, x.nnz) + 1,
        "large counts": lambda: rng.poisson(4, x.nnz) * rng.choice([1, 1, 1, 400], x.nnz) + 1,
        "fractions": lambda: rng.random(x.nnz),
    }
    x.data = draws[values]().astype(np.float32)
    return x


@pytest.mark.parametrize("values", ["counts", "large counts", "fractions"])
@pytest.mark.parametrize("n_genes", [400, 1 << 16, (1 << 16) + 1])
def test_compact_blocks_are_the_same_cells(values: str, n_genes: int) -> None:
    sent = cells(values, n_genes)
    plain, compact = to_message(sent), to_message(sent, compact=True)
    for message in (plain, compact):
        got = read_block(wire.CellBlock.FromString(message.SerializeToString()), n_genes)
        assert got.data.dtype == np.float32
        for name in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(got, name), getattr(sent, name))
    bytes_a_value = (2 if n_genes <= 1 << 16 else 4) + {"counts": 1, "fractions": 4}.get(values, 2)
    assert (compact.ByteSize() - 8 * 61) / sent.nnz < bytes_a_value + 0.05
    assert plain.ByteSize() / sent.nnz > 8


def test_a_block_without_values() -> None:
    empty = sp.csr_matrix((3, 5), dtype=np.float32)
    assert read_block(to_message(empty, compact=True), 5).shape == (3, 5)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"columns": codec.encode(np.zeros(2, np.int32))}, "columns and short_columns are given"),
        ({"short_columns": b"123"}, "short_columns: 3 bytes are no whole number of 2-byte"),
        (
            {"short_columns": b"\x05\x00\x00\x00"},
            "columns from 0 to 5; the header has genes 0 to 4",
        ),
        ({"small_values": b"\x01"}, "ascend from 0 to the number of values, 1"),
        ({"small_values": b"\x01\xff"}, "1 small_values are 255, .* there are 0 values"),
        (
            {"values": codec.encode(np.ones(1, np.float32))},
            "0 small_values are 255, .* are 1 values",
        ),
        (
            {"small_values": b"\x01\xff", "values": codec.encode(np.array([np.nan], np.float32))},
            "finite and not negative",
        ),
    ],
)
def test_damaged_compact_blocks_are_refused(fields: dict[str, Any], said: str) -> None:
    whole = {
        "indptr": codec.encode(np.array([0, 2], np.int64)),
        "short_columns": codec.encode(np.array([0, 3], np.uint16)),
        "small_values": b"\x01\x02",
    }
    with pytest.raises(InvalidArgumentError, match=said):
        read_block(wire.CellBlock(**{**whole, **fields}), 5)


@pytest.mark.parametrize("reads_compact_blocks", [False, True])
def test_compact_blocks_are_sent_only_to_servers_that_read_them(reads_compact_blocks: bool) -> None:
    stream = stream_predict_subtypes(
        "retina", ["a", "b"], [], units=ExpressionUnits.LINEAR, n_ahead=1
    )
    block = sp.csr_matrix(np.ones((1, 2), np.float32))
    assert not stream.message(block).cells.short_columns, "no server has said that it reads them"
    report = wire.QueryReport(reads_compact_blocks=reads_compact_blocks)
    stream.read_first(wire.StreamPredictSubtypesResponse(report=report))
    assert bool(stream.message(block).cells.short_columns) is reads_compact_blocks
    assert bool(stream.message(block).cells.columns) is not reads_compact_blocks
