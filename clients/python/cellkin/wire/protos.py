"""The wire contract as data, from which other languages generate stubs."""

from importlib.resources import files
from pathlib import Path


def descriptor_set_path() -> Path:
    """Return the path of the descriptor set: every message and service of ``cellkin.v1``.

    protoc, buf, grpcurl and the gRPC libraries of most languages read it in place of the ``.proto``
    files. It has no comments; they are in ``protos/`` of the repository.

    Returns
    -------
    Path
        A file with a serialized ``google.protobuf.FileDescriptorSet``, with all imports.

    Examples
    --------
    >>> descriptor_set_path().name
    'descriptor_set.binpb'
    """
    return Path(str(files("cellkin.v1") / "descriptor_set.binpb"))
