"""``cellkin store``: verify, back up, restore and upgrade a whole store."""

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellkin.indexer.commands.indexes import recall_now
from cellkin.indexer.commands.options import store_option
from cellkin.indexer.commands.versions import WHOLE, state_of
from cellkin.terminal.options import json_option
from cellkin.wire.errors import CellkinError, FailedPreconditionError, IntegrityError

if TYPE_CHECKING:
    from cellkin.store.store import Store


@click.group()
def store() -> None:
    """Manage a whole store."""


@store.command()
@store_option
@json_option
def verify(uri: str, as_json: bool) -> None:
    """Verify the catalog and all versions of a store.

    Does the work of `corpora verify`, `embeddings verify` and `indexes verify`, and compares the
    journal of the catalog with its tables. The exit code is 2 if anything is damaged.
    """
    from cellkin.store.gc import orphans
    from cellkin.store.store import Store

    where = Store.open(uri)
    rows = _states(where, recall=True)
    left = [] if _damaged(rows[:1]) else orphans(where)
    if as_json:
        click.echo(json.dumps({"store": uri, "found": rows, "n_orphans": len(left)}))
    else:
        _show(uri, rows)
        if left:
            click.echo(f"{len(left)} things no version refers to; gc of their kind removes them")
    _refuse_damage(uri, rows)


@store.command()
@click.argument("destination", metavar="BACKUP")
@store_option
@json_option
def backup(destination: str, uri: str, as_json: bool) -> None:
    """Copy a store to BACKUP: a folder, or s3://, gs://, az://.

    The copy is a consistent snapshot, even while the store is served and written to. If BACKUP has
    an earlier copy, only new files are copied. At the end the whole copy is read and verified.
    """
    _copy(uri, destination, as_json)


@store.command()
@click.argument("source", metavar="BACKUP")
@store_option
@json_option
def restore(source: str, uri: str, as_json: bool) -> None:
    """Copy BACKUP to a new store, or to one with an earlier state of it.

    Files of the store that are missing or differ in size are restored. At the end the whole store
    is read and verified.
    """
    _copy(source, uri, as_json)


@store.command()
@store_option
@click.option(
    "--files",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Where to look first for the files that indexes were made from.",
)
@json_option
def upgrade(uri: str, folders: tuple[Path, ...], as_json: bool) -> None:
    """Upgrade the store of an earlier cellkin to the current format.

    The catalog gets its journal. The newest version of each cell index is carried over unchanged if
    nothing is lost by that; otherwise it is made again from its source files, if they still exist
    and have the same digests. Failures are listed with their reasons, and the exit code is then 2.
    """
    from cellkin.indexer.cells.engines import LocalEngine
    from cellkin.indexer.cells.upgrade import upgrade_indexes
    from cellkin.store.machine import n_cores
    from cellkin.store.store import Store
    from cellkin.terminal.console import print_table, progress_bar

    where = Store.open(uri)
    begun = not where.catalog.has_journal
    where.catalog.upgrade()
    with closing(LocalEngine(n_cores())) as engine:
        found = upgrade_indexes(where, folders, progress_bar, engine)
    if as_json:
        click.echo(json.dumps({"journal_begun": begun, "indexes": [vars(each) for each in found]}))
    else:
        click.echo("the journal of the catalog was begun" if begun else "the catalog is up to date")
        rows = [(o.index, o.new or "none", o.how, ", ".join(o.aliases)) for o in found]
        print_table("Cell indexes", ("version", "now", "how", "aliases"), rows)
    failed = [each.index for each in found if not each.complete]
    if failed:
        raise FailedPreconditionError(
            f"{len(failed)} of {len(found)} cell indexes could not be upgraded, for the reasons "
            f"above: {', '.join(failed)}"
        )


def _copy(source: str, destination: str, as_json: bool) -> None:
    from cellkin.store.backup import copy_store
    from cellkin.terminal.console import progress_bar

    with progress_bar("copying bytes") as progress:
        copied = copy_store(source, destination, progress)
    rows = _states(copied.store, recall=False)
    said = {
        "store": destination,
        "n_versions": copied.n_versions,
        "n_files": copied.n_files,
        "n_bytes": copied.n_bytes,
        "n_files_before": copied.n_files_before,
    }
    if as_json:
        click.echo(json.dumps(said | {"found": rows}))
    else:
        click.echo(
            f"copied {copied.n_files} files, {copied.n_bytes:,} bytes, to {destination}; "
            f"{copied.n_files_before} files were there"
        )
    _refuse_damage(destination, rows)
    if not as_json:
        click.echo(f"all {copied.n_versions} versions there were read and are whole")


def _states(store: "Store", recall: bool) -> list[dict[str, Any]]:
    """Return the state of the catalog and of each version, as rows of a table."""
    from cellkin.store.catalog import Kind
    from cellkin.terminal.console import progress_bar

    try:
        entries, notes = store.catalog.entries(), store.catalog.problems()
    except CellkinError as error:
        return [{"kind": "catalog", "version": "", "state": error.message}]
    # A readable catalog has no other problems than copies that lag behind it.
    rows = [{"kind": "catalog", "version": "", "state": "; ".join([WHOLE, *notes])}]
    with progress_bar("verifying versions") as progress:
        for done, entry in enumerate(entries, 1):
            measure = recall and entry.kind is Kind.INDEX
            state = state_of(store, entry, recall_now) if measure else state_of(store, entry)
            rows.append({"kind": str(entry.kind), "version": entry.full_name} | state)
            progress(done, len(entries))
    return rows


def _damaged(rows: list[dict[str, Any]]) -> list[str]:
    bad = [row for row in rows if not row["state"].startswith(WHOLE)]
    return [f"{row['version'] or row['kind']}: {row['state']}" for row in bad]


def _show(uri: str, rows: list[dict[str, Any]]) -> None:
    from cellkin.terminal.console import print_table

    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    print_table(f"Store {uri}", columns, [[row.get(name, "") for name in columns] for row in rows])


def _refuse_damage(uri: str, rows: list[dict[str, Any]]) -> None:
    bad = _damaged(rows)
    if bad:
        raise IntegrityError(f"the store at {uri} is damaged: {'; '.join(bad)}")
