"""``cellkin store``: look at the versions of a store and look after them."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from cellkin.indexer.commands.options import store_option
from cellkin.terminal.options import json_option

if TYPE_CHECKING:
    from cellkin.store.catalog import Entry
    from cellkin.store.store import Store

_KINDS = ("corpus", "embedding", "index")
_kind = click.argument("kind", type=click.Choice(_KINDS))


@click.group()
def store() -> None:
    """Look at the versions of a store and look after them."""


@store.command("list")
@store_option
@json_option
def list_(uri: str, as_json: bool) -> None:
    """List all versions, the aliases that mean them, and which were retracted."""
    from cellkin.store.store import Store
    from cellkin.terminal.console import print_table

    catalog = Store.open(uri).catalog
    aliases, retractions = catalog.aliases(), catalog.retractions()
    rows = []
    for entry in catalog.entries():
        key = entry.kind, entry.name, entry.version
        names = sorted(a for (k, n, a), v in aliases.items() if (k, n, v) == key)
        why = retractions.get(key)
        rows.append((entry, names, why))
    if as_json:
        fields = [
            {
                "kind": str(e.kind), "name": e.full_name, "digest": e.digest,
                "created_at": e.created_at, "aliases": names,
                "retracted": vars(why) if why else None, "manifest": dict(e.manifest),
            }
            for e, names, why in rows
        ]  # fmt: skip
        click.echo(json.dumps(fields, indent=1))
        return
    print_table(
        f"Versions in {uri}",
        ("kind", "version", "made", "digest", "aliases", "retracted"),
        [
            (
                e.kind,
                e.full_name,
                e.created_at,
                e.digest[:12],
                ", ".join(names),
                why.reason if why else "",
            )
            for e, names, why in rows
        ],
    )


@store.command()
@_kind
@click.argument("version", metavar="NAME[@VERSION]")
@click.argument("alias")
@store_option
def alias(kind: str, version: str, alias: str, uri: str) -> None:
    """Let ALIAS, such as stable, mean a version from now on."""
    opened, entry = _resolve(uri, kind, version)
    opened.catalog.set_alias(entry, alias)
    click.echo(f"{entry.name}@{alias} is now {entry.full_name}")


@store.command()
@_kind
@click.argument("version", metavar="NAME@VERSION")
@click.option("--reason", required=True, help="What is wrong with it.")
@click.option("--replacement", metavar="NAME@VERSION", help="What to use instead.")
@store_option
def retract(kind: str, version: str, reason: str, replacement: str | None, uri: str) -> None:
    """Withdraw a version: it is refused from now on, but kept for what was made from it."""
    opened, entry = _resolve(uri, kind, version)
    other = _resolve(uri, kind, replacement)[1] if replacement else None
    opened.catalog.retract(entry, reason, other)
    click.echo(f"{kind} {entry.full_name} is retracted: {reason}")


@store.command()
@click.argument("kind", type=click.Choice(_KINDS[:2]))
@click.argument("first", metavar="NAME@VERSION")
@click.argument("second", metavar="NAME@VERSION")
@store_option
@json_option
def diff(kind: str, first: str, second: str, uri: str, as_json: bool) -> None:
    """Say what changed from one version to another: genes, texts, and how far vectors moved."""
    import numpy as np

    from cellkin.store.compare import compare
    from cellkin.store.corpus import read_gene_names
    from cellkin.terminal.console import print_table

    opened, before = _resolve(uri, kind, first)
    _, after = _resolve(uri, kind, second)
    found = compare(opened, before, after)
    if as_json:
        lists = {
            k: getattr(found, k).tolist() for k in ("added", "removed", "text_changed", "moved")
        }
        click.echo(
            json.dumps({**lists, "distances": found.distances.tolist(), "n_common": found.n_common})
        )
        return
    names = read_gene_names(opened, _corpus_of(opened, after))

    def examples(ids: "np.typing.NDArray[np.int64]") -> str:
        at = np.searchsorted(names.gene_ids, ids[:5]).clip(max=len(names.gene_ids) - 1)
        met = zip(ids[:5], at, strict=True)
        return ", ".join(
            f"{names.table['symbol'][int(i)].as_py() or '-'} ({g})"
            if names.gene_ids[i] == g
            else str(g)
            for g, i in met
        )

    far = found.moved[np.argsort(-found.distances, kind="stable")]
    rows = [
        ("genes added", len(found.added), examples(found.added)),
        ("genes removed", len(found.removed), examples(found.removed)),
        ("texts changed", len(found.text_changed), examples(found.text_changed)),
    ]
    if kind == "embedding":
        rows.append(("vectors moved, farthest first", len(far), examples(far)))
    print_table(
        f"From {before.full_name} to {after.full_name}", ("what", "n", "such as (GeneID)"), rows
    )
    if len(far):
        click.echo(
            f"moved by (1 - cosine): median {np.median(found.distances):.2g}, "
            f"at most {found.distances.max():.2g}"
        )


@store.command()
@store_option
def verify(uri: str) -> None:
    """Read every version and compare it with its digest; exit code 2 where one is damaged."""
    from cellkin.store.maintenance import damage, orphans
    from cellkin.store.store import Store
    from cellkin.terminal.console import print_table, progress_bar
    from cellkin.wire.errors import IntegrityError

    opened = Store.open(uri)
    entries = opened.catalog.entries()
    rows = []
    with progress_bar("verifying versions") as progress:
        for done, entry in enumerate(entries, 1):
            rows.append((entry.kind, entry.full_name, damage(opened, entry) or "whole"))
            progress(done, len(entries))
    print_table(f"Versions in {uri}", ("kind", "version", "state"), rows)
    left = orphans(opened)
    if left:
        click.echo(f"{len(left)} things no version refers to; `cellkin store gc` removes them")
    bad = [name for _, name, state in rows if state != "whole"]
    if bad:
        raise IntegrityError(f"{len(bad)} of {len(rows)} versions are damaged: {', '.join(bad)}")


@store.command()
@store_option
@click.option(
    "--older-than-h",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Leave what is younger: it may belong to a run at work.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def gc(uri: str, older_than_h: float, dry_run: bool) -> None:
    """Remove what no version refers to: what interrupted runs left."""
    from datetime import UTC, datetime

    from cellkin.store.maintenance import collect, orphans
    from cellkin.store.store import Store
    from cellkin.terminal.console import print_table

    opened = Store.open(uri)
    age = timedelta(hours=older_than_h)
    if dry_run:
        limit = datetime.now(UTC) - age
        found = [orphan for orphan in orphans(opened) if orphan.modified <= limit]
    else:
        found = collect(opened, age)
    print_table(
        "Would be removed" if dry_run else "Removed",
        ("what", "where", "version", "bytes", "written"),
        [
            (o.what, o.where, o.table_version or "", o.n_bytes or "", f"{o.modified:%F %T}")
            for o in found
        ],
    )


def _resolve(uri: str, kind: str, version: str) -> "tuple[Store, Entry]":
    from cellkin.store.catalog import Kind
    from cellkin.store.store import Store
    from cellkin.wire.names import embedding_name, parse_version_name

    opened = Store.open(uri)
    name = embedding_name(version) if kind == "embedding" else version
    return opened, opened.catalog.version(Kind(kind), parse_version_name(name, kind))


def _corpus_of(opened: "Store", entry: "Entry") -> "Entry":
    from cellkin.store.catalog import Kind
    from cellkin.wire.names import parse_version_name

    if entry.kind is Kind.CORPUS:
        return entry
    name = parse_version_name(entry.manifest["corpus"], "corpus")
    return opened.catalog.version(Kind.CORPUS, name)
