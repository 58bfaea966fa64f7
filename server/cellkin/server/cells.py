"""The cell service."""

from collections.abc import Iterator

import grpc

from cellkin.server.library import Library
from cellkin.server.prediction import PredictionQuery, index_versions
from cellkin.store.catalog import Entry
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.v1 import cell_service_pb2_grpc
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.names import parse_version_name

_DEFAULT_PAGE = 100
_MAX_PAGE = 1000


class CellService(cell_service_pb2_grpc.CellServiceServicer):
    """Labels cells by their nearest reference cells."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def ListCellIndexes(  # the name of the RPC
        self, request: wire.ListCellIndexesRequest, context: grpc.ServicerContext
    ) -> wire.ListCellIndexesResponse:
        """List the newest version of every cell index, by name."""
        if request.page_size < 0:
            raise InvalidArgumentError(f"page_size is {request.page_size}; give 0 or more")
        size = min(request.page_size or _DEFAULT_PAGE, _MAX_PAGE)
        # The token is the last name seen, so a page stays right when indexes come and go.
        entries = [e for e in self._library.indexes() if e.name > request.page_token]
        page = entries[:size]
        return wire.ListCellIndexesResponse(
            cell_indexes=[_describe(entry) for entry in page],
            next_page_token=page[-1].name if len(entries) > size else "",
        )

    def GetCellIndex(  # the name of the RPC
        self, request: wire.GetCellIndexRequest, context: grpc.ServicerContext
    ) -> wire.CellIndex:
        """Describe one cell index."""
        return _describe(self._library.index(parse_version_name(request.name, "cell index")).entry)

    def PredictSubtypes(  # the name of the RPC
        self,
        request_iterator: Iterator[wire.PredictSubtypesRequest],
        context: grpc.ServicerContext,
    ) -> Iterator[wire.PredictSubtypesResponse]:
        """Label a stream of cells."""
        first = next(request_iterator, wire.PredictSubtypesRequest())
        if first.WhichOneof("payload") != "header":
            raise InvalidArgumentError("the first message of a query is its header")
        query = PredictionQuery(self._library, first.header)
        yield wire.PredictSubtypesResponse(report=query.report())
        for request in request_iterator:
            if request.WhichOneof("payload") != "cells":
                raise InvalidArgumentError("after the header every message is a block of cells")
            yield wire.PredictSubtypesResponse(predictions=query.predict(request.cells))


def _describe(entry: Entry) -> wire.CellIndex:
    counts: dict[str, int] = entry.manifest["label_counts"]
    return wire.CellIndex(
        name=entry.full_name,
        n_cells=entry.manifest["n_cells"],
        dim=entry.manifest["dim"],
        labels=list(counts),
        label_counts=list(counts.values()),
        recipe=entry.manifest["recipe"],
        versions=index_versions(entry),
    )
