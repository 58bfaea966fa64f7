"""Upgrade cell indexes of older formats to the current one."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cellkin.indexer.cells.engines import Engine, LocalEngine
from cellkin.indexer.cells.job import (
    Job,
    append_cells,
    index_by_expression,
    index_cells,
    merge_indexes,
    place_like,
)
from cellkin.indexer.cells.publish import IndexChoice, Stages
from cellkin.indexer.cells.sources import Reference, read_sources
from cellkin.indexer.spaces.classifier import Votes
from cellkin.matrices.options import ReadOptions
from cellkin.space.recipe import RECIPES
from cellkin.store.catalog import CatalogView, Entry, Kind
from cellkin.store.cell_index import EXPRESSION, read_reference_cells, space_digests
from cellkin.store.cell_table import check_rows
from cellkin.store.digest import path_digest
from cellkin.store.row_digests import ROW_DIGESTS
from cellkin.store.schema import INDEX_FORMAT
from cellkin.store.store import Store
from cellkin.wire.errors import CellkinError, FailedPreconditionError, NotFoundError
from cellkin.wire.names import VersionName, parse_version_name

CARRIED, MADE = "carried over", "made again"


@dataclass(frozen=True)
class Upgraded:
    """Result of upgrading a version.

    Parameters
    ----------
    index
        The old version, ``name@version``.
    new
        The version that replaces it; empty if the upgrade failed.
    how
        ``carried over`` or ``made again``, or the reason of the failure.
    aliases
        Aliases moved from the old version to the new one.
    left
        Aliases that could not be moved and still point to the old version; ``how`` has the reason.
    """

    index: str
    new: str
    how: str
    aliases: Sequence[str] = ()
    left: Sequence[str] = ()

    @property
    def complete(self) -> bool:
        """Whether the new version was published and has all aliases."""
        return bool(self.new) and not self.left


def upgrade_indexes(
    store: Store, folders: Sequence[Path], stages: Stages, engine: Engine | None = None
) -> list[Upgraded]:
    """Upgrade the newest version of each cell index to the current format, as a new version.

    A version that only lacks the digests of its rows is copied. Older formats lack parts that are
    computed from the cells' expression: these versions are rebuilt with the files and options named
    in their manifest, if the files still exist.

    Parameters
    ----------
    store
        The store.
    folders
        Folders to search first for the reference files, by file name.
    stages
        Shows progress.
    engine
        Runs the shards; None for this process.

    Returns
    -------
    list
        Successes and failures, by name; indexes of the current format are not listed.
    """
    run = _Run(store, folders, stages, engine or LocalEngine(1))
    return [run.upgraded(entry) for entry in outdated(store.catalog.view())]


def outdated(view: CatalogView) -> list[Entry]:
    """Return the versions to upgrade, by name.

    These are the newest version that is not retracted, and older versions that have an alias and
    can no longer be read.
    """
    found = []
    for name in sorted({entry.name for entry in view.entries(Kind.INDEX)}):
        standing = [e for e in view.entries(Kind.INDEX, name) if view.retraction(e) is None]
        found += [e for e in standing[:-1] if view.aliases_of(e) and not _is_readable(e)]
        found += [e for e in standing[-1:] if not _is_readable(e) or _lacks_digests(e)]
    return found


def _is_readable(entry: Entry) -> bool:
    return bool(entry.manifest.get("format") == INDEX_FORMAT)


def _lacks_digests(entry: Entry) -> bool:
    return ROW_DIGESTS not in entry.manifest["files"]


@dataclass
class _Run:
    """One run of an upgrade.

    Parameters
    ----------
    store, folders, stages, engine
        As in `upgrade_indexes`.
    done
        New versions, by full name of the version they replace.
    wanted
        The version being upgraded.
    """

    store: Store
    folders: Sequence[Path]
    stages: Stages
    engine: Engine
    done: dict[str, Entry] = field(default_factory=dict)
    wanted: Entry | None = None

    def upgraded(self, entry: Entry) -> Upgraded:
        """Upgrade a version and move its aliases to the new one."""
        aliases = self.store.catalog.view().aliases_of(entry)
        try:
            how = CARRIED if _is_readable(entry) else MADE
            self._require_newest(entry)
            self.wanted = entry
            new = self._carried(entry) if how == CARRIED else self._again(entry)
        except CellkinError as error:
            return Upgraded(entry.full_name, "", error.message)
        finally:
            self.wanted = None
        moved, left = [], []
        for alias in aliases:
            try:
                self.store.catalog.set_alias(new, alias)
                moved.append(alias)
            except CellkinError as error:
                left.append(alias)
                how += (
                    f"; alias {alias} was not moved: {error.message}; move it by "
                    f"`cellkin indexes alias {new.full_name} {alias}`"
                )
        return Upgraded(entry.full_name, new.full_name, how, moved, tuple(left))

    def _carried(self, entry: Entry) -> Entry:
        """Publish a copy of an index with the digests of its rows."""
        folder, rows = self.store.index_folder(entry), check_rows(self.store, entry)

        def write(new: Path) -> None:
            for name in entry.manifest["files"]:
                shutil.copyfile(folder / name, new / name)
            rows.row_digests.save(new)

        manifest = {k: v for k, v in entry.manifest.items() if k not in ("path", "files")}
        return self.store.publish_index(entry.name, write, manifest)

    def _again(self, entry: Entry) -> Entry:
        """Rebuild an index, after the indexes it was made from."""
        if entry.full_name not in self.done:
            self._require_newest(entry)
            self.done[entry.full_name] = self._made(entry)
        return self.done[entry.full_name]

    def _require_newest(self, entry: Entry) -> None:
        """Raise an error for an older version: rebuilt, it would become the newest.

        Older versions that the wanted one is made from are allowed, as that one follows them.
        """
        view = self.store.catalog.view()
        entries = view.entries(Kind.INDEX, entry.name)
        newest = [e for e in entries if view.retraction(e) is None][-1:]
        if newest in ([entry], []) or newest[0] in self.done.values():
            return
        if self.wanted is not None and newest == [self.wanted]:
            return
        raise FailedPreconditionError(
            f"{entry.full_name} is of format {entry.manifest.get('format')} and not the newest of "
            f"its name, and made again it would be: let what means it mean {newest[0].full_name}"
        )

    def _made(self, entry: Entry) -> Entry:
        manifest, job = entry.manifest, self._job(entry)
        if "merged_from" in manifest:
            parts = [_named(self._present(name)) for name in manifest["merged_from"]]
            return merge_indexes(self.store, entry.name, parts, job)
        if "appended_to" in manifest:
            before = self._version(manifest["appended_to"])
            reference = self._reference(entry, before)
            base = _named(self._present(before.full_name))
            return append_cells(self.store, base, reference, job).entry
        reference = self._reference(entry)
        if "like" in manifest:
            model = _named(self._present(manifest["like"]))
            return place_like(self.store, entry.name, reference, model, job).entry
        if manifest["recipe"] == EXPRESSION:
            corpus = parse_version_name(manifest["corpus"], "corpus")
            return index_by_expression(self.store, entry.name, reference, corpus, job).entry
        if manifest["recipe"] not in RECIPES:
            raise FailedPreconditionError(f"there is no recipe {manifest['recipe']!r} any more")
        embedding = parse_version_name(manifest["embedding"], "gene embedding")
        expression = EXPRESSION in space_digests(entry)
        return index_cells(
            self.store, entry.name, reference, embedding, RECIPES[manifest["recipe"]], job,
            expression=expression,
        ).entry  # fmt: skip

    def _present(self, name: str) -> Entry:
        """Return a version that another was made from, rebuilt if its format is old."""
        entry = self._version(name)
        return entry if _is_readable(entry) else self._again(entry)

    def _version(self, name: str) -> Entry:
        return self.store.catalog.version(Kind.INDEX, parse_version_name(name, "cell index"))

    def _job(self, entry: Entry) -> Job:
        """Return the options an index was made with, as far as its manifest has them."""
        made = entry.manifest.get("made_with")
        if made is None:
            if not any(name.endswith(".faiss") for name in entry.manifest["files"]):
                raise FailedPreconditionError(
                    f"{entry.full_name} is searched in a Milvus server that its manifest does not "
                    "name; make it again by `cellkin cells index --index milvus://...`"
                )
            target = entry.manifest.get("certificate", {}).get("target", IndexChoice.recall)
            return Job(self.engine, index=IndexChoice(recall=target), stages=self.stages)
        choice = IndexChoice(made["index"], made["recall"], made["memory_bytes"])
        votes = Votes(false_alarms=made["false_alarms"])
        return Job(self.engine, index=choice, votes=votes, stages=self.stages)

    def _reference(self, entry: Entry, before: Entry | None = None) -> Reference:
        """Find the files of an index, without those of the version it was appended to.

        Raises
        ------
        NotFoundError
            If a file is missing.
        FailedPreconditionError
            If a file has changed.
        """
        files = _references(entry)[len(_references(before)) if before else 0 :]
        first = files[0]
        reference = Reference(
            [self._found(entry, file) for file in files],
            first.get("label", entry.manifest["label"]),
            first.get("batch", entry.manifest["batch"]) or None,
            first.get("taxon", 0),
            ReadOptions(**first.get("reading", {})),
            literal_labels=first.get("literal_labels", False),
            terms=entry.manifest.get("terms", {}),
        )
        if any("sha256" not in file for file in files):
            n_before = before.manifest["n_cells"] if before else 0
            self._require_same_cells(entry, reference, n_before)
        return reference

    def _found(self, entry: Entry, file: Mapping[str, Any]) -> Path:
        places: list[Path] = [folder / file["file"] for folder in self.folders]
        places += [Path(file["path"])] if "path" in file else []
        path = next((place for place in places if place.exists()), None)
        if path is None:
            looked = (
                f"is not at {', '.join(map(str, places))}"
                if places
                else ("may be anywhere, as the manifest does not say")
            )
            raise NotFoundError(
                f"{file['file']}, which {entry.full_name} was made from, {looked}; give its folder "
                "by --files FOLDER"
            )
        if "sha256" in file and path_digest(path) != file["sha256"]:
            raise FailedPreconditionError(
                f"{entry.full_name} was made from {file['file']}, and {path} has another digest "
                "than that had; give --files FOLDER with the one that it was made from, or index "
                "the other by `cellkin cells index`"
            )
        return path

    def _require_same_cells(self, entry: Entry, reference: Reference, n_before: int) -> None:
        """Raise an error if files without a known digest have other cells, labels or batches."""
        path, files = entry.manifest["path"], entry.manifest["files"]
        folder = self.store.files.folder(path, files, f"cell index {entry.full_name}")
        cells = read_reference_cells(folder)
        labels = pa.array(cells.label_names).take(pa.array(cells.labels))
        old = {"id": cells.ids, "label": labels, "batch": cells.batches}
        sources = [source.renamed(reference.terms) for source in read_sources(reference)]
        new = pa.concat_tables([source.rows for source in sources])
        at = pc.index_in(old["id"], new["id"].combine_chunks())[n_before:]
        same = not at.null_count and all(
            new[name].take(at).combine_chunks().equals(_plain(values)[n_before:])
            for name, values in old.items()
        )
        if not same:
            raise FailedPreconditionError(
                f"{entry.full_name} has other cells, labels or batches than "
                f"{', '.join(map(str, reference.paths))}; index these by `cellkin cells index`"
            )


def _plain(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _references(entry: Entry) -> list[Mapping[str, Any]]:
    """Return the manifest entry of each file; the first format only had the name of one file."""
    manifest = entry.manifest
    return list(manifest.get("references") or [{"file": manifest["reference"]}])


def _named(entry: Entry) -> VersionName:
    return VersionName(entry.name, entry.version)
