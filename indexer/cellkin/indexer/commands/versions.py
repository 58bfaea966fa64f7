"""Commands shared by corpora, embeddings and indexes, which are all kept as versions."""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from cellkin.indexer.commands.options import store_option
from cellkin.indexer.commands.removal import add_gc, add_prune
from cellkin.terminal.options import json_option

if TYPE_CHECKING:
    from cellkin.store.catalog import CatalogView, Entry
    from cellkin.store.store import Store

_MOST_SHOWN = 200
version_argument = click.argument("version", metavar="NAME[@VERSION]")


def add_version_commands(group: click.Group, kind: str) -> None:
    """Add the commands that are the same for every kind of version.

    Parameters
    ----------
    group
        Command group of the kind.
    kind
        Value of a `cellkin.store.catalog.Kind`; that module is imported only when needed.
    """
    for add in (_add_alias, _add_retract, _add_unretract, add_prune, add_gc):
        add(group, kind)


def _add_alias(group: click.Group, kind: str) -> None:
    @group.command()
    @version_argument
    @click.argument("alias")
    @store_option
    @json_option
    def alias(version: str, alias: str, uri: str, as_json: bool) -> None:
        """Set ALIAS, such as stable, to a version."""
        store, entry = resolve(uri, kind, version)
        store.catalog.set_alias(entry, alias)
        if as_json:
            click.echo(json.dumps({"alias": f"{entry.name}@{alias}", "version": entry.full_name}))
            return
        click.echo(f"{entry.name}@{alias} is now {entry.full_name}")


def _add_retract(group: click.Group, kind: str) -> None:
    @group.command()
    @click.argument("version", metavar="NAME@VERSION")
    @click.option("--reason", required=True, help="What is wrong with it.")
    @click.option("--replacement", metavar="NAME@VERSION", help="What to use instead.")
    @click.option(
        "--force", is_flag=True, help="Also if an alias means it, or no other version is left."
    )
    @store_option
    @json_option
    def retract(
        version: str,
        reason: str,
        replacement: str | None,
        force: bool,
        uri: str,
        as_json: bool,
    ) -> None:
        """Retract a version.

        It can no longer be used, but is kept for the versions made from it.
        """
        store, entry = resolve(uri, kind, version)
        other = resolve(uri, kind, replacement)[1] if replacement else None
        store.catalog.retract(entry, reason, other, force)
        if as_json:
            instead = other.full_name if other else ""
            said = {"version": entry.full_name, "reason": reason, "replacement": instead}
            click.echo(json.dumps(said))
            return
        click.echo(f"{entry.kind.noun} {entry.full_name} is retracted: {reason}")


def _add_unretract(group: click.Group, kind: str) -> None:
    @group.command()
    @click.argument("version", metavar="NAME@VERSION")
    @store_option
    @json_option
    def unretract(version: str, uri: str, as_json: bool) -> None:
        """Undo the retraction of a version."""
        store, entry = resolve(uri, kind, version)
        store.catalog.unretract(entry)
        if as_json:
            click.echo(json.dumps({"version": entry.full_name}))
            return
        click.echo(f"{entry.kind.noun} {entry.full_name} is retracted no longer")


def add_verify(
    group: click.Group,
    kind: str,
    examine: "Callable[[Store, Entry], dict[str, Any]]" = lambda store, entry: {},
) -> None:
    """Add the command that verifies versions.

    Parameters
    ----------
    group
        Command group of the kind.
    kind
        As in `add_version_commands`.
    examine
        Further check of a version whose digests are right; returns more columns, by name, and
        raises a `CellkinError` if something is wrong.
    """

    @group.command()
    @click.argument("version", required=False, metavar="[NAME[@VERSION]]")
    @store_option
    @json_option
    def verify(version: str | None, uri: str, as_json: bool) -> None:
        """Verify a version, or all versions.

        The files and rows of a version are compared with its digests, and the recall of an index
        with its certificate. The exit code is 2 if any version is damaged.
        """
        from cellkin.store.catalog import Kind
        from cellkin.store.gc import orphans
        from cellkin.store.store import Store
        from cellkin.terminal.console import print_table, progress_bar
        from cellkin.wire.errors import IntegrityError

        store = Store.open(uri)
        entries = [resolve(uri, kind, version)[1]] if version else store.catalog.entries(Kind(kind))
        rows: list[dict[str, Any]] = []
        with progress_bar("verifying versions") as progress:
            for done, entry in enumerate(entries, 1):
                rows.append({"version": entry.full_name} | state_of(store, entry, examine))
                progress(done, len(entries))
        noun, left = Kind(kind).noun, orphans(store, Kind(kind))
        if as_json:
            click.echo(json.dumps({"versions": rows, "n_orphans": len(left)}))
        else:
            columns = tuple(dict.fromkeys(name for row in rows for name in row))
            lines = [[row.get(name, "") for name in columns] for row in rows]
            print_table(f"{noun.capitalize()} versions in {uri}", columns, lines)
            if left:
                click.echo(f"{len(left)} things no {noun} refers to; gc removes them")
        bad = [f"{row['version']}: {row['state']}" for row in rows if row["state"] != WHOLE]
        if bad:
            raise IntegrityError(
                f"{len(bad)} of {len(rows)} versions are damaged: {'; '.join(bad)}"
            )


WHOLE = "whole"
"""State of a version that matches its digest."""


def state_of(
    store: "Store",
    entry: "Entry",
    examine: "Callable[[Store, Entry], dict[str, Any]]" = lambda store, entry: {},
) -> dict[str, Any]:
    """Read all of a version and return its state, as columns by name.

    Parameters
    ----------
    store
        The store.
    entry
        The version.
    examine
        As in `add_verify`.

    Returns
    -------
    dict
        ``state``, which is `WHOLE` or describes the damage, and the columns of ``examine``.
    """
    from cellkin.store.maintenance import damage
    from cellkin.wire.errors import CellkinError

    wrong = damage(store, entry)
    if wrong:
        return {"state": wrong}
    try:
        return {"state": WHOLE} | examine(store, entry)
    except CellkinError as error:
        return {"state": error.message}


def print_versions(
    uri: str, kind: str, columns: "dict[str, Callable[[Entry], object]]", as_json: bool
) -> None:
    """Print the versions of a kind with their aliases and retractions.

    Parameters
    ----------
    uri
        The store.
    kind
        As in `add_version_commands`.
    columns
        Further columns, by title.
    as_json
        Print JSON, with the whole manifests.
    """
    from cellkin.store.catalog import Kind
    from cellkin.store.store import Store
    from cellkin.terminal.console import print_table

    view = Store.open(uri).catalog.view()
    entries = view.entries(Kind(kind))
    if as_json:
        click.echo(json.dumps([described(view, entry) for entry in entries], indent=1))
        return
    rows: list[Sequence[object]] = []
    for entry in entries:
        why = view.retraction(entry)
        marks = ", ".join(view.aliases_of(entry)), why.reason if why else ""
        rows.append((entry.full_name, *(read(entry) for read in columns.values()), *marks))
    title = f"{Kind(kind).noun.capitalize()} versions in {uri}"
    print_table(title, ("version", *columns, "aliases", "retracted"), rows)


def described(view: "CatalogView", entry: "Entry") -> dict[str, Any]:
    """Return all catalog entries of a version, for JSON."""
    why = view.retraction(entry)
    return {
        "version": entry.full_name,
        "created_at": entry.created_at,
        "digest": entry.digest,
        "aliases": view.aliases_of(entry),
        "retracted": vars(why) if why else None,
        "manifest": dict(entry.manifest),
    }


def print_version(uri: str, kind: str, version: str, as_json: bool) -> None:
    """Print all catalog entries of one version.

    Parameters
    ----------
    uri
        The store.
    kind
        As in `add_version_commands`.
    version
        ``NAME[@VERSION_OR_ALIAS]``.
    as_json
        Print JSON.
    """
    from cellkin.terminal.console import print_table

    store, entry = resolve(uri, kind, version)
    said = described(store.catalog.view(), entry)
    if as_json:
        click.echo(json.dumps(said, indent=1))
        return
    manifest, retracted = said.pop("manifest"), said.pop("retracted")
    rows = [
        (what, ", ".join(value) if what == "aliases" else value) for what, value in said.items()
    ]
    if retracted:
        rows.append(("retracted", retracted["reason"]))
        rows.append(("replacement", retracted["replacement"] or "none"))
    rows += [(what, _short(value)) for what, value in manifest.items()]
    print_table(f"{entry.kind.noun.capitalize()} {entry.full_name}", ("what", "value"), rows)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}... (--json shows all)"


def resolve(uri: str, kind: str, version: str) -> "tuple[Store, Entry]":
    """Open a store and look up a version, retracted or not.

    Raises
    ------
    NotFoundError
        If there is no such store or version.
    """
    from cellkin.store.catalog import Kind
    from cellkin.store.store import Store
    from cellkin.wire.names import embedding_name, parse_version_name

    wanted = Kind(kind)
    store = Store.open(uri)
    name = embedding_name(version) if wanted is Kind.EMBEDDING else version
    return store, store.catalog.version(wanted, parse_version_name(name, wanted.noun))
