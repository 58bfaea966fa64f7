"""The wire contract as data: for stubs and channels of other languages."""

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


def service_config_path() -> Path:
    """Return the path of the gRPC service config: which requests are sent again, and when.

    Any gRPC library takes its text for a channel. ``UNAVAILABLE`` and ``RESOURCE_EXHAUSTED`` are
    retried, after the delay of the server's ``grpc-retry-pushback-ms`` if there is one. Methods
    that change the catalog are retried only if the server refused them.

    Returns
    -------
    Path
        A JSON file.

    Examples
    --------
    >>> service_config_path().name
    'service_config.json'
    """
    return Path(str(files("cellkin.v1") / "service_config.json"))
