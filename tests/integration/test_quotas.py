"""Tokens with limits and an expiry, at a real server."""

import hashlib
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tests.integration.live import GENES, block, live_server

from cellkin.v1 import catalog_service_pb2, cell_service_pb2

pytestmark = pytest.mark.integration


def line(name: str, terms: str) -> str:
    return f"{name} read sha256:{hashlib.sha256(name.encode()).hexdigest()} {terms}\n"


def test_limits_and_expiry_of_tokens(store_path: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(line("few", "requests=2") + line("old", "expires=2026-01-01")
                      + line("some", "cells=10"))  # fmt: skip
    header = cell_service_pb2.QueryHeader(index="trio", genes=GENES, units=1)
    request = cell_service_pb2.PredictSubtypesRequest(
        header=header, cells=block(np.ones((30, len(GENES))))
    )
    with live_server(store_path, tokens=tokens) as live:

        def refused(stub: Any, message: object, name: str) -> grpc.RpcError:
            with pytest.raises(grpc.RpcError) as refusal:
                ask(stub, message, name)
            return refusal.value

        def ask(stub: Any, message: object, name: str) -> object:
            metadata = [("authorization", f"Bearer {name}"), ("x-request-id", f"of-{name}")]
            return stub(message, metadata=metadata)

        listing = catalog_service_pb2.ListCellIndexesRequest()
        for _ in range(2):
            ask(live.catalog.ListCellIndexes, listing, "few")
        error = refused(live.catalog.ListCellIndexes, listing, "few")
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "2 requests a minute" in str(error.details())
        assert ("x-request-id", "of-few") in [tuple(pair) for pair in error.trailing_metadata()]
        assert refused(live.catalog.ListCellIndexes, listing, "old").code() is (
            grpc.StatusCode.UNAUTHENTICATED
        )
        ask(live.cells.PredictSubtypes, request, "some")
        error = refused(live.cells.PredictSubtypes, request, "some")
        assert "10 cells a minute" in str(error.details())
        ask(live.catalog.ListCellIndexes, listing, "some")
