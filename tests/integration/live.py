"""A server in the process of the tests, and stubs that speak to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import scipy.sparse as sp

from cellkin.server.process import running
from cellkin.server.settings import ServerSettings
from cellkin.v1 import (
    catalog_service_pb2_grpc,
    cell_service_pb2,
    cell_service_pb2_grpc,
    gene_service_pb2_grpc,
)
from cellkin.wire import codec

GENES = [f"GENE{i}" for i in range(1, 121)]


@dataclass(frozen=True)
class Live:
    """A server and the stubs of its services."""

    address: str
    channel: grpc.Channel
    cells: cell_service_pb2_grpc.CellServiceStub
    genes: gene_service_pb2_grpc.GeneServiceStub
    catalog: catalog_service_pb2_grpc.CatalogServiceStub


@contextmanager
def live_server(store: Path, **settings: Any) -> Iterator[Live]:
    """Run a server in this process, on a free port."""
    given = {"listen": "127.0.0.1:0", "grace_s": 5.0, "refresh_s": 0.1} | settings
    with running(ServerSettings(store=str(store), **given)) as address, connected(address) as live:
        yield live


@contextmanager
def connected(address: str) -> Iterator[Live]:
    """Connect to a server."""
    with grpc.insecure_channel(address) as channel:
        yield Live(
            address,
            channel,
            cell_service_pb2_grpc.CellServiceStub(channel),
            gene_service_pb2_grpc.GeneServiceStub(channel),
            catalog_service_pb2_grpc.CatalogServiceStub(channel),
        )


def block(counts: Any) -> cell_service_pb2.CellBlock:
    """Return counts as they are sent."""
    cells = sp.csr_matrix(counts, dtype=np.float32)
    return cell_service_pb2.CellBlock(
        indptr=codec.encode(cells.indptr.astype(np.int64)),
        columns=codec.encode(cells.indices.astype(np.int32)),
        values=codec.encode(cells.data),
    )
