"""The descriptor set in the wheel is fresh, small, and breaks no release that is kept."""

import re
from collections.abc import Callable, Iterator
from importlib import import_module

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from tests.integration.releases import kept_sets, without_the_newest

from cellkin.wire.protos import descriptor_set_path

PRESENT = FileDescriptorSet.FromString(descriptor_set_path().read_bytes())
MODULES = ("catalog_service", "cell_service", "gene_service", "versions")


def breaks(old: FileDescriptorSet, new: FileDescriptorSet) -> list[str]:
    """Say what a client or server of an old release would miss or misread in a new one."""
    found = []
    old_parts, new_parts = dict(_parts(old)), dict(_parts(new))
    for name, part in old_parts.items():
        if name not in new_parts:
            found.append(f"{name} is gone")
        elif new_parts[name] != part:
            found.append(f"{name} was {part}, is {new_parts[name]}")
    return found


def _parts(of: FileDescriptorSet) -> Iterator[tuple[str, object]]:
    """Yield all that must stay, by name: fields with what they mean on the wire, values, RPCs."""
    for file in of.file:
        for message in file.message_type:
            yield from _fields(f"{file.package}.{message.name}", message)
        for enum in file.enum_type:
            yield from _values(f"{file.package}.{enum.name}", enum)
        for service in file.service:
            yield from _rpcs(f"{file.package}.{service.name}", service)


def _fields(name: str, message: DescriptorProto) -> Iterator[tuple[str, object]]:
    yield name, "message"
    for field in message.field:
        oneof = field.HasField("oneof_index") and message.oneof_decl[field.oneof_index].name
        meaning = (field.number, field.type, field.label, field.type_name, oneof)
        yield f"{name}.{field.name}", meaning
    for nested in message.nested_type:
        yield from _fields(f"{name}.{nested.name}", nested)


def _values(name: str, enum: EnumDescriptorProto) -> Iterator[tuple[str, object]]:
    for value in enum.value:
        yield f"{name}.{value.name}", value.number


def _rpcs(name: str, service: ServiceDescriptorProto) -> Iterator[tuple[str, object]]:
    for rpc in service.method:
        sides = (rpc.input_type, rpc.client_streaming, rpc.output_type, rpc.server_streaming)
        yield f"{name}.{rpc.name}", sides


def test_the_descriptor_set_is_that_of_the_stubs() -> None:
    by_name = {file.name: file for file in PRESENT.file}
    for name in MODULES:
        stub = FileDescriptorProto()
        import_module(f"cellkin.v1.{name}_pb2").DESCRIPTOR.CopyToProto(stub)
        kept = FileDescriptorProto.FromString(
            by_name[f"cellkin/v1/{name}.proto"].SerializeToString()
        )
        # protoc notes the JSON names in a descriptor set and not in stubs.
        for message in kept.message_type:
            _forget_json_names(message)
        assert kept == stub, "run make protos"


def _forget_json_names(message: DescriptorProto) -> None:
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        _forget_json_names(nested)


def test_the_descriptor_set_is_small_and_whole() -> None:
    assert descriptor_set_path().stat().st_size < 32_000
    files = {file.name for file in PRESENT.file}
    assert {name for file in PRESENT.file for name in file.dependency} <= files


@pytest.mark.parametrize("release", kept_sets())
def test_no_release_is_broken(release: str) -> None:
    assert breaks(kept_sets()[release], PRESENT) == []


def test_what_is_added_breaks_nothing() -> None:
    assert breaks(without_the_newest(PRESENT), PRESENT) == []


def _number(of: FileDescriptorSet) -> None:
    _message(of, "GeneHit").field[1].number = 99


def _type(of: FileDescriptorSet) -> None:
    _message(of, "GeneHit").field[1].type = FieldDescriptorProto.TYPE_DOUBLE


def _gone(of: FileDescriptorSet) -> None:
    del _message(of, "GeneHit").field[1]


def _rpc(of: FileDescriptorSet) -> None:
    (service,) = (s for f in of.file for s in f.service if s.name == "GeneService")
    del service.method[0]


def _value(of: FileDescriptorSet) -> None:
    (enum,) = (e for f in of.file for e in f.enum_type if e.name == "TextRung")
    enum.value[1].number = 77


def _message(of: FileDescriptorSet, name: str) -> DescriptorProto:
    (found,) = (m for f in of.file for m in f.message_type if m.name == name)
    return found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_number, r"GeneHit\.similarity was \(2, .* is \(99"),
        (_type, r"GeneHit\.similarity was"),
        (_gone, r"GeneHit\.similarity is gone"),
        (_rpc, r"GeneService\.GetGene is gone"),
        (_value, r"TextRung\.TEXT_RUNG_OWN_SUMMARY was 1, is 77"),
    ],
)
def test_a_break_is_found(change: Callable[[FileDescriptorSet], None], said: str) -> None:
    changed = FileDescriptorSet.FromString(PRESENT.SerializeToString())
    change(changed)
    (found,) = breaks(PRESENT, changed)
    assert re.search(said, found)
