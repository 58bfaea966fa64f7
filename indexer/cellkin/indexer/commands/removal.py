"""Commands that remove superseded versions and unreferenced files from a store."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from cellkin.indexer.commands.options import store_option
from cellkin.terminal.options import json_option
from cellkin.wire.errors import InvalidArgumentError

if TYPE_CHECKING:
    from cellkin.store.gc import Orphan

_dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what would be removed.")


def add_prune(group: click.Group, kind: str) -> None:
    """Add the command that removes versions of one name from the catalog.

    Parameters
    ----------
    group
        Command group of the kind.
    kind
        Value of a `cellkin.store.catalog.Kind`; that module is imported only when needed.
    """

    @group.command()
    @click.argument("name")
    @store_option
    @click.option(
        "--keep",
        type=click.IntRange(min=1),
        metavar="N",
        help="Of the versions that were not retracted, leave the newest N.",
    )
    @click.option("--retracted", is_flag=True, help="Remove those that were retracted.")
    @_dry_run_option
    @json_option
    def prune(
        name: str, uri: str, keep: int | None, retracted: bool, dry_run: bool, as_json: bool
    ) -> None:
        """Remove versions of NAME that are no longer needed.

        Versions with an alias, and versions that others were made from, are kept. The files are
        deleted by gc, which counts their age from now.
        """
        from cellkin.store.catalog import Kind
        from cellkin.store.prune import superseded
        from cellkin.store.store import Store
        from cellkin.terminal.console import print_table

        if keep is None and not retracted:
            raise InvalidArgumentError("say what to remove: --keep N, --retracted, or both")
        store = Store.open(uri)
        found = superseded(store.catalog.view(), Kind(kind), name, keep, retracted)
        if not dry_run:
            store.catalog.remove([each.entry for each in found if not each.why_kept])
        if as_json:
            said = [{"version": each.entry.full_name, "why_kept": each.why_kept} for each in found]
            click.echo(json.dumps({"removed": not dry_run, "versions": said}))
            return
        gone = "would be removed" if dry_run else "removed"
        rows = [(each.entry.full_name, each.why_kept or gone) for each in found]
        print_table(f"{Kind(kind).noun.capitalize()} versions of {name}", ("version", "what"), rows)


def add_gc(group: click.Group, kind: str) -> None:
    """Add the command that removes files no version refers to.

    Parameters
    ----------
    group
        Command group of the kind.
    kind
        As in `add_prune`.
    """

    @group.command()
    @store_option
    @click.option(
        "--older-than-h",
        type=click.FloatRange(min=0),
        default=24.0,
        show_default=True,
        metavar="HOURS",
        help="Leave what is younger: it may belong to a run at work. 1 or more.",
    )
    @click.option("--force", is_flag=True, help="Allow less than an hour, where no run is at work.")
    @_dry_run_option
    @json_option
    def gc(uri: str, older_than_h: float, force: bool, dry_run: bool, as_json: bool) -> None:
        """Remove the files left by interrupted runs and pruned versions.

        Only files that were written by cellkin and that no version refers to are removed.
        """
        from cellkin.store.catalog import Kind
        from cellkin.store.gc import collect, orphans
        from cellkin.store.store import Store

        store, age = Store.open(uri), timedelta(hours=older_than_h)
        of = Kind(kind)
        found = orphans(store, of, age) if dry_run else collect(store, age, of, force)
        if as_json:
            said = [vars(each) | {"modified": each.modified.isoformat()} for each in found]
            totals = {"n_files": _n_files(found), "n_bytes": _n_bytes(found)}
            click.echo(json.dumps({"removed": not dry_run, **totals, "found": said}))
            return
        _show(found, "Would be removed" if dry_run else "Removed")


def _n_files(found: "Sequence[Orphan]") -> int:
    return sum(each.n_files for each in found)


def _n_bytes(found: "Sequence[Orphan]") -> int:
    return sum(each.n_bytes for each in found)


def _show(found: "Sequence[Orphan]", title: str) -> None:
    from cellkin.terminal.console import print_table

    rows = [(o.what, o.where, o.n_files, o.n_bytes, f"{o.modified:%F %T}") for o in found]
    print_table(title, ("what", "where", "files", "bytes", "written"), rows)
    click.echo(f"{_n_files(found)} files, {_n_bytes(found):,} bytes")
