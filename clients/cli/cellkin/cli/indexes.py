"""``cellkin indexes``: show and change the cell indexes of a server."""

import json
from typing import TYPE_CHECKING

import click

from cellkin.cli.administer import add_version_commands
from cellkin.cli.records import index_record
from cellkin.cli.suggestions import SuggestingGroup
from cellkin.terminal.options import json_option, server_option
from cellkin.wire.terms import VersionKind, control_caution

if TYPE_CHECKING:
    from cellkin.client import CellIndex, Certificate

_BATCHES_SHOWN = 20


@click.group(cls=SuggestingGroup)
def indexes() -> None:
    """Show and change the cell indexes of a server."""


add_version_commands(indexes, VersionKind.INDEX)


@indexes.command()
@click.argument("version", metavar="NAME[@VERSION]")
@server_option
@json_option
def show(version: str, server: str | None, as_json: bool) -> None:
    """Show the certificate and the label quality of a cell index."""
    from cellkin.cli.connection import connect

    with connect(server) as client:
        index = client.get_cell_index(version)
    if as_json:
        click.echo(json.dumps(index_record(index), indent=1))
    else:
        _print(index)


def _print(index: "CellIndex") -> None:
    from cellkin.terminal.console import print_table
    from cellkin.terminal.quality import NO_EMBEDDING, print_quality, weakness

    batches = index.batches[:_BATCHES_SHOWN]
    more = f" and {len(index.batches) - len(batches)} more" if batches != index.batches else ""
    rows = [
        ("made", index.create_time.isoformat()),
        ("embedding", index.versions.embedding or NO_EMBEDDING),
        ("corpus", index.versions.corpus),
        ("aliases", ", ".join(index.aliases) or "none"),
        *([("retracted", index.retraction.reason)] if index.retraction else []),
        ("cells, dimensions", f"{index.n_cells}, {index.dim}"),
        ("labels", f"{len(index.labels)}"),
        ("batches", ", ".join(batches) + more or "none"),
        ("recipe", index.recipe),
        *(_lines(index.certificate) if index.certificate else [("certificate", "none")]),
    ]
    print_table(f"Cell index {index.name}", ("what", "value"), rows)
    for space, quality in index.qualities.items():
        print_quality(space, quality)
        if weak := weakness(space, quality):
            click.echo(weak)
    if index.control_embedding:
        click.echo(f"WARNING: {control_caution(index.versions.embedding)}")


def _lines(certificate: "Certificate") -> list[tuple[str, str]]:
    settings = ", ".join(f"{name} {value}" for name, value in certificate.parameters.items())
    return [
        ("index", certificate.factory),
        ("why", certificate.why),
        ("settings", settings or "none"),
        *((f"recall@{k}", f"{recall:.4f}") for k, recall in certificate.recalls.items()),
        ("recall@10 wanted", f"{certificate.target:g}" if certificate.target else "none"),
        ("measured with", f"{certificate.n_queries} {certificate.queries}"),
        ("queries a CPU-second, batch", f"{certificate.qps_batch:.0f}"),
        ("queries a CPU-second, single", f"{certificate.qps_single:.0f}"),
        ("bytes a cell", f"{certificate.bytes_per_cell:.0f}"),
    ]
