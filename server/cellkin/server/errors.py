"""Errors as gRPC statuses: one interceptor turns whatever a method raises into one."""

from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeAlias

import grpc
import structlog
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from cellkin.wire.errors import ERROR_DOMAIN, CellkinError, InternalError

Handler: TypeAlias = Any
"""A ``grpc.RpcMethodHandler``, whose class takes the type arguments of its stubs only on paper."""

_log = structlog.get_logger("cellkin.server")


class ErrorInterceptor(grpc.ServerInterceptor):
    """Sends errors with their reason and metadata; anything unforeseen as an internal error."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the method that was called."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        if handler.response_streaming:
            streaming: Any = handler.stream_stream or handler.unary_stream

            def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
                try:
                    yield from streaming(request, context)
                except Exception as error:  # noqa: BLE001  # the edge of the process
                    _abort(context, method, error)

            wrapped: Any = stream
        else:
            single: Any = handler.unary_unary or handler.stream_unary

            def unary(request: Any, context: grpc.ServicerContext) -> Any:
                try:
                    return single(request, context)
                except Exception as error:  # noqa: BLE001  # the edge of the process
                    _abort(context, method, error)

            wrapped = unary
        make: Any = _MAKERS[bool(handler.request_streaming), bool(handler.response_streaming)]
        made: Handler = make(wrapped, handler.request_deserializer, handler.response_serializer)
        return made


_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _abort(context: grpc.ServicerContext, method: str, error: Exception) -> NoReturn:
    if not context.is_active():
        # The caller left, or the method aborted by itself: there is nobody to tell.
        raise error
    if not isinstance(error, CellkinError):
        _log.exception("request failed", method=method)
        error = InternalError("the server met an unforeseen error; its log says which")
    else:
        _log.info("request refused", method=method, reason=error.reason)
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=ERROR_DOMAIN, metadata=error.metadata
    )
    detail = any_pb2.Any()
    detail.Pack(info)
    code: int = getattr(grpc.StatusCode, error.code).value[0]
    status = status_pb2.Status(code=code, message=error.message, details=[detail])
    context.abort_with_status(rpc_status.to_status(status))
    raise error
