"""The cell service: labels cells and finds their nearest reference cells."""

from collections.abc import Generator
from typing import Any

import grpc

from cellkin.server import calls
from cellkin.server.cell_search import CellSearch, get_cells
from cellkin.server.explanation import explain
from cellkin.server.layouts import get_layout
from cellkin.server.prediction import PredictionQuery
from cellkin.server.version_cache import VersionCache
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.v1 import cell_service_pb2_grpc
from cellkin.wire.errors import InvalidArgumentError


class CellService(cell_service_pb2_grpc.CellServiceServicer):
    """Labels cells, finds their nearest reference cells, and explains labels."""

    def __init__(self, version_cache: VersionCache, max_k: int) -> None:
        self._version_cache, self._max_k = version_cache, max_k

    def PredictSubtypes(  # the name of the RPC
        self, request: wire.PredictSubtypesRequest, context: grpc.ServicerContext
    ) -> wire.PredictSubtypesResponse:
        """Label a block of cells."""
        query = self._predict(request.header)
        predictions = query.predict_alone(request.cells)
        return wire.PredictSubtypesResponse(report=query.report(), predictions=predictions)

    def StreamPredictSubtypes(self, request_iterator: Any, context: Any) -> Any:
        """Return a generator that labels blocks of cells; see `cellkin.server.methods`."""
        return self._predict_stream()

    def SearchCells(  # the name of the RPC
        self, request: wire.SearchCellsRequest, context: grpc.ServicerContext
    ) -> wire.SearchCellsResponse:
        """Find the reference cells nearest to a block of queries."""
        search = CellSearch(self._version_cache, self._max_k, request.header)
        return wire.SearchCellsResponse(
            versions=search.versions(),
            hits=search.hits(request.queries),
            genes=search.match(),
            space=search.space,
        )

    def StreamSearchCells(self, request_iterator: Any, context: Any) -> Any:
        """Return a generator that searches for blocks of queries; see `cellkin.server.methods`."""
        return self._search_stream()

    def ExplainCell(  # the name of the RPC
        self, request: wire.ExplainCellRequest, context: grpc.ServicerContext
    ) -> wire.ExplainCellResponse:
        """Return the contributions of genes to a label."""
        return explain(self._version_cache, request)

    def GetCells(  # the name of the RPC
        self, request: wire.GetCellsRequest, context: grpc.ServicerContext
    ) -> wire.GetCellsResponse:
        """Return reference cells by id or row."""
        return get_cells(self._version_cache, request)

    def GetLayout(  # the name of the RPC
        self, request: wire.GetLayoutRequest, context: grpc.ServicerContext
    ) -> wire.GetLayoutResponse:
        """Return a page of the layout of an index."""
        return get_layout(self._version_cache, request)

    def _predict_stream(
        self,
    ) -> Generator[
        wire.StreamPredictSubtypesResponse | None, wire.StreamPredictSubtypesRequest | None, None
    ]:
        first = (yield None) or wire.StreamPredictSubtypesRequest()
        _require(
            first.WhichOneof("payload") == "header", "the first message of a query is its header"
        )
        query = self._predict(first.header)
        if query.requires_background:
            second = (yield None) or wire.StreamPredictSubtypesRequest()
            _require(
                second.WhichOneof("payload") == "background",
                "after a header with CENTER_QUERY comes the background",
            )
            query.set_background(second.background)
        may_begin = query.wants_background
        request = yield wire.StreamPredictSubtypesResponse(report=query.report())
        while request is not None:
            if may_begin and request.WhichOneof("payload") == "background":
                query.set_background(request.background)
                answer = wire.StreamPredictSubtypesResponse(report=query.report())
            else:
                _require(
                    request.WhichOneof("payload") == "cells",
                    "after the header every message is a block of cells, but for a background that "
                    "the report asks for, which comes first",
                )
                answer = wire.StreamPredictSubtypesResponse(
                    predictions=query.predict(request.cells)
                )
            may_begin = False
            request = yield answer

    def _search_stream(
        self,
    ) -> Generator[
        wire.StreamSearchCellsResponse | None, wire.StreamSearchCellsRequest | None, None
    ]:
        first = (yield None) or wire.StreamSearchCellsRequest()
        _require(
            first.WhichOneof("payload") == "header", "the first message of a search is its header"
        )
        search = CellSearch(self._version_cache, self._max_k, first.header)
        calls.current().brief_bytes = search.brief_bytes
        report = wire.SearchReport(
            versions=search.versions(), genes=search.match(), space=search.space
        )
        request = yield wire.StreamSearchCellsResponse(report=report)
        while request is not None:
            _require(
                request.WhichOneof("payload") == "queries",
                "after the header every message is a block of queries",
            )
            request = yield wire.StreamSearchCellsResponse(hits=search.hits(request.queries))

    def _predict(self, header: wire.QueryHeader) -> PredictionQuery:
        return PredictionQuery(self._version_cache, header)


def _require(right: bool, what: str) -> None:
    if not right:
        raise InvalidArgumentError(what, field="payload")
