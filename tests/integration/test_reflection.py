"""A client that has only the address: services, messages and answers by reflection alone.

This is what ``grpcurl`` and its like do; no stub of cellkin is imported here.
"""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

pytestmark = pytest.mark.integration


class Reflected:
    """What a server says of itself."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        self._pool = descriptor_pool.DescriptorPool()
        self._known: set[str] = set()

    def services(self) -> list[str]:
        (answer,) = self._ask(reflection_pb2.ServerReflectionRequest(list_services=""))
        return [service.name for service in answer.list_services_response.service]

    def call(self, method: str, request: dict[str, object]) -> dict[str, object]:
        """Call ``package.Service/Method`` with JSON, as one message."""
        service, _, name = method.partition("/")
        self._add(reflection_pb2.ServerReflectionRequest(file_containing_symbol=service))
        found: MethodDescriptor = self._pool.FindServiceByName(service).methods_by_name[name]
        kind = message_factory.GetMessageClass(found.input_type)
        answer_kind = message_factory.GetMessageClass(found.output_type)
        ask: Any = self._channel.unary_unary(
            f"/{method}",
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=answer_kind.FromString,
        )
        answer = ask(json_format.ParseDict(request, kind()))
        return json_format.MessageToDict(answer, preserving_proto_field_name=True)

    def _add(self, request: reflection_pb2.ServerReflectionRequest) -> None:
        for answer in self._ask(request):
            files = [
                descriptor_pb2.FileDescriptorProto.FromString(data)
                for data in answer.file_descriptor_response.file_descriptor_proto
            ]
            for file in files:
                for name in file.dependency:
                    if name not in self._known:
                        self._add(reflection_pb2.ServerReflectionRequest(file_by_filename=name))
                if file.name not in self._known:
                    self._known.add(file.name)
                    self._pool.Add(file)

    def _ask(
        self, request: reflection_pb2.ServerReflectionRequest
    ) -> Iterator[reflection_pb2.ServerReflectionResponse]:
        yield from self._stub.ServerReflectionInfo(iter([request]))


@pytest.fixture(scope="module")
def reflected(server: str) -> Iterator[Reflected]:
    with grpc.insecure_channel(server) as channel:
        yield Reflected(channel)


def test_the_services_are_listed(reflected: Reflected) -> None:
    assert set(reflected.services()) == {
        "cellkin.v1.CatalogService", "cellkin.v1.CellService", "cellkin.v1.GeneService",
        "cellkin.v1.GeneSetService", "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }  # fmt: skip


def test_questions_in_json_are_answered_in_json(reflected: Reflected) -> None:
    indexes = reflected.call("cellkin.v1.CatalogService/ListCellIndexes", {})
    index: Any = indexes["cell_indexes"][0]  # type: ignore[index]  # JSON
    assert index["certificate"]["factory"] == "Flat"
    found = reflected.call(
        "cellkin.v1.GeneService/SearchGenes",
        {"gene": "GENE5", "taxon": 9606, "k": 2, "embedding": "random-64-7"},
    )
    assert [hit["gene"]["taxon"] for hit in found["hits"]] == [9606, 9606]  # type: ignore[attr-defined]
    cells = reflected.call(
        "cellkin.v1.CellService/GetCells", {"index": "trio", "cell_ids": ["cell1-4"]}
    )
    assert cells["cells"][0]["label"] == "beta"  # type: ignore[index]
    assert json.dumps(cells)


def test_a_wrong_question_is_answered_with_what_is_wrong(reflected: Reflected) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        reflected.call("cellkin.v1.CatalogService/GetCellIndex", {"name": "none"})
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "there is: trio" in str(caught.value.details())


def test_health_needs_no_protos_of_ours(reflected: Reflected) -> None:
    answer = reflected.call("grpc.health.v1.Health/Check", {"service": "cellkin.v1.CellService"})
    assert answer == {"status": "SERVING"}
