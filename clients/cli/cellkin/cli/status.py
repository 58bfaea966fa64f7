"""``cellkin status``: health and content of a server."""

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from cellkin.cli.records import embedding_rows, index_rows
from cellkin.terminal.options import json_option, server_option
from cellkin.wire.errors import UnavailableError

if TYPE_CHECKING:
    from cellkin.client.transport.profile import Endpoint

_SERVICES = (
    "",
    *(f"cellkin.v1.{name}Service" for name in ("Cell", "Gene", "GeneSet", "Catalog")),
)
_TIMES, _WAIT_S = 5, 10.0


@dataclass(frozen=True)
class _Health:
    states: dict[str, str]
    latency_ms: float


@click.command()
@server_option
@json_option
def status(server: str | None, as_json: bool) -> None:
    """Show a server's health, latency, indexes and versions.

    The exit code is 2 if the server does not respond or does not serve cells.
    """
    from cellkin.cli.connection import connect, endpoint_of

    endpoint = endpoint_of(server)
    health = _check(endpoint)
    with connect(server) as client:
        indexes, embeddings = index_rows(client), embedding_rows(client)
    release = next((index["server"] for index in indexes), "")
    if as_json:
        said = {
            "server": endpoint.address,
            "release": release,
            "health": health.states,
            "latency_ms": health.latency_ms,
            "indexes": indexes,
            "embeddings": embeddings,
        }
        click.echo(json.dumps(said, indent=1))
    else:
        _print(endpoint, release, health, indexes, embeddings)
    state = health.states["cellkin.v1.CellService"]
    if state != "SERVING":
        raise UnavailableError(f"{endpoint.address} does not serve cells: {state}")


def _check(endpoint: "Endpoint") -> _Health:
    """Call ``grpc.health.v1.Health``."""
    from statistics import median

    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from cellkin.client.transport.connection import Channel
    from cellkin.client.transport.errors import error_from_rpc

    with Channel(endpoint, grpc).channel as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        states = health_pb2.HealthCheckResponse.ServingStatus

        def state(service: str) -> str:
            request = health_pb2.HealthCheckRequest(service=service)
            try:
                return str(states.Name(stub.Check(request, timeout=_WAIT_S).status))
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return "SERVICE_UNKNOWN"
                raise

        try:
            found = {service or "server": state(service) for service in _SERVICES}
            taken = []
            for _ in range(_TIMES):
                start_s = time.perf_counter()
                state("")
                taken.append(1e3 * (time.perf_counter() - start_s))
        except grpc.RpcError as error:
            raise error_from_rpc(error, endpoint.address) from None
    return _Health(found, round(median(taken), 3))


def _print(
    endpoint: "Endpoint",
    release: str,
    health: _Health,
    indexes: list[dict[str, Any]],
    embeddings: list[dict[str, Any]],
) -> None:
    from cellkin.terminal.console import print_table

    rows = [
        ("server", endpoint.address),
        ("release", release or "not told: it has no index"),
        ("latency", f"{health.latency_ms:.1f} ms, median of {_TIMES} health checks"),
        *health.states.items(),
    ]
    print_table("Server", ("what", "value"), rows)
    print_table(
        "Cell indexes",
        ("version", "cells", "labels", "recipe", "embedding", "aliases", "loaded"),
        [
            (
                index["name"] + (" (retracted)" if index["retracted"] else ""),
                index["n_cells"],
                index["n_labels"],
                index["recipe"],
                index["embedding"] or "none",
                ", ".join(index["aliases"]),
                "yes" if index["loaded"] else "at first use",
            )
            for index in indexes
        ],
    )
    _print_quality([index for index in indexes if index["loaded"]])
    print_table(
        "Gene embeddings",
        ("model", "latest", "versions"),
        [(each["name"], each["latest"], each["n_versions"]) for each in embeddings],
    )


def _print_quality(indexes: list[dict[str, Any]]) -> None:
    """Print the accuracy of the indexes on held-out cells, and their weak labels."""
    from cellkin.terminal.console import print_table

    rows = [
        (
            index["name"],
            f"{space} (control)" if space == "text" and index["control_embedding"] else space,
            f"{accuracy:.3f}",
            ", ".join(index["weak_labels"][space]) or "none",
        )
        for index in indexes
        for space, accuracy in index["accuracy"].items()
    ]
    if rows:
        print_table(
            "Labels of the indexes in memory",
            ("version", "by", "accuracy, held out", "cannot be told from what it lacks"),
            rows,
        )
