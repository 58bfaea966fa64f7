"""Clients and servers of other releases, made from nothing but their descriptor sets."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

KEPT = Path(__file__).parents[2] / "protos" / "releases"
PACKAGE = "cellkin.v1"
# What the release before 0.1.0 would have lacked, had there been one.
NEWEST_FIELDS = {
    "QueryHeader": {"exclude_batches"},
    "QueryReport": {"calibration_error", "ancestors"},
    "PredictionBlock": {"fallbacks"},
    "SearchHeader": {"exact", "space"},
    "SearchCellsResponse": {"space"},
    "SearchReport": {"space"},
    "ExplainCellResponse": {"space"},
    "SearchGenesRequest": {"gene_set", "vector", "text", "compare_embeddings"},
    "SearchGenesResponse": {"gene_set", "compared_embeddings"},
    "GeneHit": {"background_percentile", "compared"},
    "CellIndex": {"loaded"},
}
NEWEST_RPCS = {"ListAliases", "ResolveGenes", "Reload"}


def kept_sets() -> dict[str, FileDescriptorSet]:
    """Return the descriptor set of every release that is kept, by its version."""
    return {
        path.stem.removeprefix("cellkin-v1-"): FileDescriptorSet.FromString(path.read_bytes())
        for path in sorted(KEPT.glob("*.binpb"))
    }


def without_the_newest(of: FileDescriptorSet) -> FileDescriptorSet:
    """Return a descriptor set as a release before it could have had it."""
    older = FileDescriptorSet.FromString(of.SerializeToString())
    for file in older.file:
        for message in file.message_type:
            _drop(message, NEWEST_FIELDS.get(message.name, set()))
        for service in file.service:
            methods = [method for method in service.method if method.name not in NEWEST_RPCS]
            del service.method[:]
            service.method.extend(methods)
    return older


def _drop(message: DescriptorProto, names: set[str]) -> None:
    missing = names - {field.name for field in message.field}
    assert not missing, f"{message.name} has no {missing}"
    fields = [field for field in message.field if field.name not in names]
    del message.field[:]
    message.field.extend(fields)


class Release:
    """The messages and methods of one release."""

    def __init__(self, descriptors: FileDescriptorSet) -> None:
        self._pool = DescriptorPool()
        for file in descriptors.file:
            self._pool.Add(file)
        self._services = [
            self._pool.FindServiceByName(f"{PACKAGE}.{service.name}")
            for file in descriptors.file
            for service in file.service
        ]

    def message(self, name: str) -> Any:
        """Return the class of a message."""
        return GetMessageClass(self._pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))

    def methods(self) -> Iterator[Any]:
        """Yield the descriptors of all methods."""
        for service in self._services:
            yield from service.methods

    def call(self, channel: grpc.Channel, name: str) -> Any:
        """Return what calls a method as a client of this release does."""
        (method,) = (each for each in self.methods() if each.name == name)
        return _callable(channel, method)

    @contextmanager
    def relay(self, channel: grpc.Channel) -> Iterator[str]:
        """Run a server of this release; yields its address.

        It knows the fields and methods of this release and no others, in what it is asked and in
        what it answers; what it says it asks of the present server at the other end of a channel.
        """
        server = grpc.server(ThreadPoolExecutor(8))
        for service in self._services:
            handlers = {method.name: _handler(channel, method) for method in service.methods}
            generic = grpc.method_handlers_generic_handler(service.full_name, handlers)
            server.add_generic_rpc_handlers((generic,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def _kind(method: Any) -> str:
    sides = (method.client_streaming, method.server_streaming)
    return "_".join("stream" if streams else "unary" for streams in sides)


def _callable(channel: grpc.Channel, method: Any) -> Any:
    request, response = map(GetMessageClass, (method.input_type, method.output_type))
    return getattr(channel, _kind(method))(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )


def _handler(channel: grpc.Channel, method: Any) -> Any:
    ask = _callable(channel, method)

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        asked = _known_only(request) if not method.client_streaming else map(_known_only, request)
        try:
            answered = ask(asked)
            if method.server_streaming:
                return _passed_on(answered, context)
            return _known_only(answered)
        except grpc.RpcError as error:
            _refuse(error, context)

    request, response = map(GetMessageClass, (method.input_type, method.output_type))
    return getattr(grpc, f"{_kind(method)}_rpc_method_handler")(
        answer,
        request_deserializer=request.FromString,
        response_serializer=response.SerializeToString,
    )


def _passed_on(answers: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
    try:
        yield from map(_known_only, answers)
    except grpc.RpcError as error:
        _refuse(error, context)


def _refuse(error: Any, context: grpc.ServicerContext) -> None:
    context.set_trailing_metadata(error.trailing_metadata())
    context.abort(error.code(), error.details())


def _known_only(message: Any) -> Any:
    """Drop the fields that this release does not know, which protobuf would pass on."""
    message.DiscardUnknownFields()
    return message
