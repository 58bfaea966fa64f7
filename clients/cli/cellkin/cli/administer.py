"""Commands that change what a server serves; its administrator has to allow them."""

import json

import click

from cellkin.cli.suggestions import SuggestingGroup
from cellkin.terminal.options import json_option, server_option
from cellkin.wire.terms import VersionKind

_BACKUP_S = 24 * 3600.0
"""Longest time that a backup may take."""


def add_version_commands(group: click.Group, kind: VersionKind) -> None:
    """Add the commands ``alias`` and ``retract``, which ask a server, to a group.

    Parameters
    ----------
    group
        The group, such as ``indexes``.
    kind
        The kind of its versions.
    """

    @group.command()
    @click.argument("version", metavar="NAME[@VERSION]")
    @click.argument("alias")
    @server_option
    @json_option
    def alias(version: str, alias: str, server: str | None, as_json: bool) -> None:
        """Set ALIAS, such as stable, to a version.

        A server needs a token of role admin for it, and serves the version at once; others of the
        store follow within their refresh time.
        """
        from cellkin.cli.connection import connect

        with connect(server) as client:
            found = client.set_alias(kind, version, alias)
        if as_json:
            click.echo(json.dumps({"alias": found.name, "version": found.version}))
        else:
            click.echo(f"{found.name} is now {found.version}")

    @group.command()
    @click.argument("version", metavar="NAME@VERSION")
    @click.option("--reason", default="", help="What is wrong with it.")
    @click.option("--replacement", default="", metavar="NAME@VERSION", help="What to use instead.")
    @server_option
    @json_option
    def retract(
        version: str, reason: str, replacement: str, server: str | None, as_json: bool
    ) -> None:
        """Retract a version.

        It can no longer be used, but is kept for the versions made from it. A server needs a token
        of role admin for it.
        """
        from cellkin.cli.connection import connect

        with connect(server) as client:
            found = client.retract_version(kind, version, reason, replacement=replacement)
        why = found.retraction
        if as_json:
            said = {"version": found.version, "reason": why.reason}
            click.echo(json.dumps(said | {"replacement": why.replacement}))
        else:
            click.echo(f"{found.version} is retracted: {why.reason}")


@click.group(cls=SuggestingGroup)
def corpora() -> None:
    """Change which gene texts a server uses."""


@click.group(cls=SuggestingGroup)
def embeddings() -> None:
    """Change which gene embeddings a server uses."""


add_version_commands(corpora, VersionKind.CORPUS)
add_version_commands(embeddings, VersionKind.EMBEDDING)


@click.group(cls=SuggestingGroup)
def store() -> None:
    """Look after the store of a server."""


@store.command()
@server_option
@json_option
def reload(server: str | None, as_json: bool) -> None:
    """Have a server read the catalog of its store now.

    It returns when new versions are loaded and tested, or refused. The exit code is 2 if any was
    refused. The server needs a token of role admin for it.
    """
    from cellkin.cli.connection import connect
    from cellkin.wire.errors import FailedPreconditionError

    with connect(server) as client:
        found = client.reload()
    if as_json:
        click.echo(json.dumps({"switched": list(found.switched), "refused": found.refused}))
    else:
        click.echo(f"newly served: {', '.join(found.switched) or 'none'}")
    if found.refused:
        said = "; ".join(f"{version}: {why}" for version, why in found.refused.items())
        raise FailedPreconditionError(f"the server goes on with what it has: {said}")


@store.command()
@click.argument("destination", metavar="BACKUP")
@server_option
@json_option
def backup(destination: str, server: str | None, as_json: bool) -> None:
    """Copy a store to BACKUP: a folder, or s3://, gs://, az://.

    The copy is a consistent snapshot, even while the store is served and written to. If BACKUP has
    an earlier copy, only new files are copied. At the end the whole copy is read and verified.

    Without --store a server copies its own store. BACKUP is then one of those that its setting
    backups names, and a token of role admin is needed.
    """
    from dataclasses import asdict

    from cellkin.cli.connection import connect

    with connect(server) as client:
        made = client.using(timeout_s=_BACKUP_S).back_up_store(destination)
    if as_json:
        click.echo(json.dumps({"store": destination} | asdict(made)))
        return
    click.echo(
        f"copied {made.n_files} files, {made.n_bytes:,} bytes, to {destination}; "
        f"{made.n_files_before} files were there"
    )
    click.echo(f"all {made.n_versions} versions there were read and are whole")
