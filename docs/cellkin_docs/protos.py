"""The reference of a proto file, from its comments."""

import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).parents[2] / "protos"
SERVICE, MESSAGE, ENUM = 6, 4, 5
"""Numbers of the parts of a file in the paths of its comments, as descriptor.proto has them."""


@cache
def described() -> dict[str, FileDescriptorProto]:
    """Return all proto files with their comments, by name."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "set.binpb"
        command = [
            "protoc",
            f"-I{ROOT}",
            f"-I{files('grpc_tools') / '_proto'}",
            "--include_source_info",
            f"--descriptor_set_out={made}",
            *map(str, sorted(ROOT.glob("cellkin/v1/*.proto"))),
        ]
        if protoc.main(command):
            raise RuntimeError(f"protoc failed: {command}")
        return {file.name: file for file in FileDescriptorSet.FromString(made.read_bytes()).file}


def page(name: str) -> str:
    """Return the services, messages and enumerations of a file as Markdown."""
    file = described()[f"cellkin/v1/{name}.proto"]
    said = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
    return "\n".join(_parts(file, said))


def _parts(file: FileDescriptorProto, said: dict[tuple[int, ...], str]) -> Iterator[str]:
    for i, service in enumerate(file.service):
        yield f"{prose(said.get((SERVICE, i), ''))}\n## Requests\n"
        for j, method in enumerate(service.method):
            yield f"### {method.name}\n"
            takes = "stream " * method.client_streaming + last(method.input_type)
            gives = "stream " * method.server_streaming + last(method.output_type)
            yield f"    rpc {method.name}({takes}) returns ({gives})\n"
            yield prose(said.get((SERVICE, i, 2, j), ""))
    if file.message_type:
        yield "## Messages\n"
    for i, message in enumerate(file.message_type):
        yield from _message(message, (MESSAGE, i), said, "")
    if file.enum_type:
        yield "## Enumerations\n"
    for i, enum in enumerate(file.enum_type):
        yield from _enum(enum, (ENUM, i), said, "")


def _message(message: Any, path: tuple[int, ...], said: Any, inside: str) -> Iterator[str]:
    name = f"{inside}{message.name}"
    yield f"### {name}\n\n{prose(said.get(path, ''))}"
    nested = {f".{entry.name}": entry for entry in message.nested_type if entry.options.map_entry}
    rows = [
        (each.number, f"`{each.name}`", kind(each, nested), cell(said.get((*path, 2, i), "")))
        for i, each in enumerate(message.field)
    ]
    if rows:
        yield table(("", "field", "type", ""), rows)
    for i, entry in enumerate(message.nested_type):
        if not entry.options.map_entry:
            yield from _message(entry, (*path, 3, i), said, f"{name}.")
    for i, enum in enumerate(message.enum_type):
        yield from _enum(enum, (*path, 4, i), said, f"{name}.")


def _enum(enum: Any, path: tuple[int, ...], said: Any, inside: str) -> Iterator[str]:
    yield f"### {inside}{enum.name}\n\n{prose(said.get(path, ''))}"
    rows = [
        (value.number, f"`{value.name}`", cell(said.get((*path, 2, i), "")))
        for i, value in enumerate(enum.value)
    ]
    yield table(("", "value", ""), rows)


def kind(field: Field, nested: dict[str, Any]) -> str:
    """Return the type of a field as a proto file has it, and whether it is one of several."""
    name = Field.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.type_name:
        name = last(field.type_name)
        entry = nested.get(f".{name}")
        if entry:
            key, value = (kind(part, {}) for part in entry.field)
            return f"map of {key} to {value}"
    told = f"`{name}`"
    if field.label == Field.LABEL_REPEATED:
        return f"repeated {told}"
    if field.proto3_optional:
        return f"optional {told}"
    return f"{told}, one of" if field.HasField("oneof_index") else told


def last(name: str) -> str:
    """Return a type's name without its package."""
    return name.removeprefix(".cellkin.v1.").removeprefix(".")


def prose(comment: str) -> str:
    """Return a comment as paragraphs."""
    lines = [line.removeprefix(" ").rstrip() for line in comment.splitlines()]
    return "\n".join(lines) + "\n"


def cell(comment: str) -> str:
    """Return a comment on one line, for a table."""
    return " ".join(comment.split()).replace("|", "\\|")


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """Return a table of Markdown."""
    every = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in every)
