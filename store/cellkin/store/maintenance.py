"""Store maintenance: find damaged versions."""

from cellkin.store.catalog import Entry, Kind
from cellkin.store.cell_table import check_rows
from cellkin.store.store import Store
from cellkin.wire.errors import CellkinError, IntegrityError
from cellkin.wire.names import parse_version_name


def damage(store: Store, entry: Entry) -> str:
    """Describe the damage to a version; empty if there is none.

    Reads all of it: checks rows and files against their digests, vectors for finite values and unit
    length, and the versions it was made from.
    """
    try:
        for key, kind in (("corpus", Kind.CORPUS), ("embedding", Kind.EMBEDDING)):
            if entry.kind is not kind and key in entry.manifest:
                source = store.catalog.version(kind, parse_version_name(entry.manifest[key], kind))
                if source.digest != entry.manifest[f"{key}_digest"]:
                    return f"was made from another {kind.noun} than {source.full_name} now is"
        if entry.kind is Kind.INDEX:
            # The files in the store itself, not a copy in this machine's cache.
            what = f"cell index {entry.full_name}"
            store.files.check(entry.manifest["path"], entry.manifest["files"], what)
            if "rows_digest" in entry.manifest:
                check_rows(store, entry)
        elif entry.kind is Kind.CORPUS:
            store.corpus(entry)
        elif entry.kind is Kind.GENE_SETS:
            store.gene_sets(entry)
        else:
            _check_vectors(store, entry)
    except CellkinError as error:
        return error.message
    return ""


def _check_vectors(store: Store, entry: Entry) -> None:
    embedding = store.embedding(entry)
    embedding.check()
    if len(embedding.vectors) != entry.manifest["n_genes"]:
        raise IntegrityError(
            f"{len(embedding.vectors)} rows where the manifest says {entry.manifest['n_genes']}"
        )
