"""Look after a store: find damage, find what nothing refers to, remove that."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cellkin.store.catalog import Entry, Kind
from cellkin.store.cell_table import CELLS, check_rows, row_files
from cellkin.store.store import STAGING, Store
from cellkin.wire.errors import CellkinError, IntegrityError
from cellkin.wire.names import parse_version_name


@dataclass(frozen=True)
class Orphan:
    """Something in a store that no version refers to: what an interrupted run left.

    Parameters
    ----------
    what
        ``folder``, ``table``, ``table version``, ``rows`` of no version, or ``staging table``.
    where
        Its path, or the name of its table.
    table_version
        The Lance version, 0 for others.
    n_bytes
        Its size; 0 where that is not known.
    modified
        When it was written.
    """

    what: str
    where: str
    table_version: int
    n_bytes: int
    modified: datetime


def damage(store: Store, entry: Entry) -> str:
    """Say what is wrong with a version; an empty string where nothing is.

    Reads all of it: rows and files against their digests, vectors for values that are not finite
    and for their length, and the versions it was made from.
    """
    try:
        for key, kind in (("corpus", Kind.CORPUS), ("embedding", Kind.EMBEDDING)):
            if entry.kind is not kind and key in entry.manifest:
                source = store.catalog.version(kind, parse_version_name(entry.manifest[key], kind))
                if source.digest != entry.manifest[f"{key}_digest"]:
                    return f"was made from another {kind.noun} than {source.full_name} now is"
        if entry.kind is Kind.INDEX:
            store.index_folder(entry)
            if "rows_digest" in entry.manifest:
                check_rows(store, entry)
        elif entry.kind is Kind.CORPUS:
            store.corpus(entry)
        else:
            _check_vectors(store, entry)
    except CellkinError as error:
        return error.message
    return ""


def orphans(store: Store, kind: Kind | None = None) -> list[Orphan]:
    """Find what no version refers to, by kind and place.

    Parameters
    ----------
    store
        The store.
    kind
        Only what versions of this kind are made of, where given.
    """
    entries = store.catalog.entries()
    used = {
        (e.manifest["table"], e.manifest["table_version"]) for e in entries if "table" in e.manifest
    }
    paths = {e.manifest["path"] for e in entries if "path" in e.manifest}
    found = [
        Orphan("folder", folder.path, 0, folder.n_bytes, folder.modified)
        for folder in store.files.found("indexes")
        if kind in (None, Kind.INDEX) and folder.path not in paths
    ]
    for name in store.tables():
        if kind not in (None, _kind_of(name)):
            continue
        if name.startswith(STAGING):
            when = _when(_versions(store, name)[-1])
            found.append(Orphan("staging table", name, 0, 0, when))
        elif _kind_of(name):
            found += _orphans_of(store, name, {version for table, version in used if table == name})
    return found


def _kind_of(table: str) -> Kind | None:
    """Return the kind whose versions a table is for; None where it is for none."""
    # What is staged are the vectors of an embedding run.
    parts = {f"{Kind.CORPUS}-": Kind.CORPUS, f"{Kind.EMBEDDING}-": Kind.EMBEDDING}
    parts |= {STAGING: Kind.EMBEDDING, CELLS: Kind.INDEX}
    return next((kind for start, kind in parts.items() if table.startswith(start)), None)


def _orphans_of(store: Store, name: str, used: set[int]) -> list[Orphan]:
    """Find what nothing refers to in a table of which some versions are used."""
    versions = _versions(store, name)
    committed = row_files(store, name, [v["version"] for v in versions])
    stray = [
        Orphan("rows", file.path, 0, file.n_bytes, file.modified)
        for file in store.files.sizes(f"{name}.lance/data")
        if file.path.rpartition("/")[2] not in committed
    ]
    if versions and not used:
        modified = max([_when(versions[-1]), *(orphan.modified for orphan in stray)])
        return [Orphan("table", name, 0, 0, modified)]
    # The newest version stays whatever it is: Lance forgets it when there is a newer one.
    return stray + [
        Orphan("table version", name, version["version"], 0, _when(version))
        for version in versions[:-1]
        if version["version"] not in used
    ]


def collect(store: Store, older_than: timedelta, kind: Kind | None = None) -> list[Orphan]:
    """Remove the orphans of a certain age; what a version refers to is never touched.

    Parameters
    ----------
    store
        The store.
    older_than
        Younger orphans stay: they may belong to a run that is at work.
    kind
        Only what versions of this kind are made of, where given.

    Returns
    -------
    list
        What was removed.
    """
    limit = datetime.now(UTC) - older_than
    old = [orphan for orphan in orphans(store, kind) if orphan.modified <= limit]
    tables = {orphan.where for orphan in old if orphan.what == "table version"}
    for orphan in old:
        if orphan.what == "folder":
            store.files.remove(orphan.where)
        elif orphan.what == "rows":
            store.files.remove_file(orphan.where)
        elif orphan.what in ("staging table", "table"):
            store.database.drop_table(orphan.where, ignore_missing=True)
    for name in tables:
        gone = {o.table_version for o in old if o.where == name}
        _forget_versions(store, name, gone, older_than)
    return old


def _forget_versions(store: Store, name: str, gone: set[int], older_than: timedelta) -> None:
    """Free the files of some Lance versions; every other one is tagged first, and so kept."""
    table = store.database.open_table(name)
    tags: dict[str, Any] = table.tags.list()
    for tag, of in tags.items():
        if of["version"] in gone:
            table.tags.delete(tag)
    tagged = {of["version"] for of in tags.values()} - gone
    for version in (v["version"] for v in table.list_versions()):
        if version not in gone and version not in tagged:
            table.tags.create(f"kept-{version}", version)
    table.to_lance().cleanup_old_versions(older_than=older_than, error_if_tagged_old_versions=False)


def _versions(store: Store, name: str) -> list[dict[str, Any]]:
    try:
        versions: list[dict[str, Any]] = store.database.open_table(name).list_versions()
    except ValueError:
        # Rows were written and nothing was committed.
        return []
    return versions


def _check_vectors(store: Store, entry: Entry) -> None:
    embedding = store.embedding(entry)
    embedding.check()
    if len(embedding.vectors) != entry.manifest["n_genes"]:
        raise IntegrityError(
            f"{len(embedding.vectors)} rows where the manifest says {entry.manifest['n_genes']}"
        )


def _when(version: dict[str, Any]) -> datetime:
    stamp: datetime = version["timestamp"]
    # Lance gives local time without a zone.
    return stamp.astimezone(UTC)
