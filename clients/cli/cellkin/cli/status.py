"""``cellkin status``: health and content of a server."""

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from cellkin.cli.records import Record, embedding_rows, index_rows
from cellkin.terminal.options import json_option, server_option
from cellkin.wire.errors import CellkinError, UnavailableError

if TYPE_CHECKING:
    from cellkin.client import Client
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
@click.option(
    "--watch",
    "every_s",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Show it again every SECONDS, until interrupted; with --json a line each time.",
)
@server_option
@json_option
def status(every_s: float | None, server: str | None, as_json: bool) -> None:
    """Show a server's health, latency, indexes and versions.

    The exit code is 2 if the server does not respond or does not serve cells.
    """
    from cellkin.cli.connection import connect, endpoint_of

    endpoint = endpoint_of(server)
    with connect(server) as client:
        if every_s is not None:
            _watch(endpoint, client, every_s, as_json)
        _show(_look(endpoint, client), as_json, indent=1)


def _watch(endpoint: "Endpoint", client: "Client", every_s: float, as_json: bool) -> None:
    """Show the status again and again, also while the server does not answer."""
    while True:
        began = time.monotonic()
        at = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        try:
            seen = at | _look(endpoint, client)
        except CellkinError as error:
            seen = at | {"server": endpoint.address, "error": error.message}
        if not as_json:
            click.clear()
            click.echo(seen["at"])
        with suppress(UnavailableError):  # shown, and may end
            _show(seen, as_json, indent=None)
        time.sleep(max(0.0, every_s - (time.monotonic() - began)))


def _look(endpoint: "Endpoint", client: "Client") -> Record:
    """Ask for everything that is shown."""
    health = _check(endpoint)
    indexes = index_rows(client)
    return {
        "server": endpoint.address,
        "release": next((index["server"] for index in indexes), ""),
        "health": health.states,
        "latency_ms": health.latency_ms,
        "indexes": indexes,
        "embeddings": embedding_rows(client),
    }


def _show(seen: Record, as_json: bool, indent: int | None) -> None:
    """Print what was seen.

    Raises
    ------
    UnavailableError
        If the server does not serve cells.
    """
    if as_json:
        click.echo(json.dumps(seen, indent=indent))
    elif "error" in seen:
        click.secho(seen["error"], fg="red")
    else:
        _print(seen)
    state = seen["health"]["cellkin.v1.CellService"] if "health" in seen else "SERVING"
    if state != "SERVING":
        raise UnavailableError(f"{seen['server']} does not serve cells: {state}")


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


def _print(seen: Record) -> None:
    from cellkin.terminal.console import print_table

    indexes = seen["indexes"]
    rows = [
        ("server", seen["server"]),
        ("release", seen["release"] or "not told: it has no index"),
        ("latency", f"{seen['latency_ms']:.1f} ms, median of {_TIMES} health checks"),
        *seen["health"].items(),
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
        [(each["name"], each["latest"], each["n_versions"]) for each in seen["embeddings"]],
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
