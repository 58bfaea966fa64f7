"""Report of a cell job for the user, and the entries it adds to the manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.indexer.cells.plan import MatchedFile
from cellkin.indexer.cells.sources import Reference, SourceFile
from cellkin.indexer.cells.worker import Placed
from cellkin.store.catalog import CatalogView, Entry
from cellkin.store.controls import embedding_manifest, of_control
from cellkin.store.corpus import OWN_NAMES_CAUTION
from cellkin.store.digest import path_digest
from cellkin.store.partial import partial_caution
from cellkin.store.quality import few_cells_caution
from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import control_caution


@dataclass(frozen=True)
class FileReport:
    """Genes and expression of one file.

    Parameters
    ----------
    source
        The file.
    match
        Report on the matching of its genes.
    mass
        (n_names,) float64, summed linear expression of each gene name in a sample of the cells.
    """

    source: SourceFile
    match: GeneMatch
    mass: npt.NDArray[np.float64]


@dataclass(frozen=True)
class IndexReport:
    """Result of a cell job.

    Parameters
    ----------
    entry
        The published version.
    files
        The files, in the order given.
    n_unlabeled, n_empty
        Cells without a label, and labeled cells without a usable gene; both are left out.
    n_cells, read_s, compute_s, write_s
        Cells read for placing, and the seconds this took, summed over all workers.
    """

    entry: Entry
    files: list[FileReport]
    n_unlabeled: int
    n_empty: int
    n_cells: int
    read_s: float
    compute_s: float
    write_s: float

    @classmethod
    def of(
        cls,
        entry: Entry,
        matched: Sequence[MatchedFile],
        masses: Sequence[npt.NDArray[np.float64]],
        placed: Sequence[Placed],
    ) -> "IndexReport":
        """Sum up the results of a job."""
        files = [
            FileReport(f.source, f.match, mass) for f, mass in zip(matched, masses, strict=True)
        ]
        return cls(
            entry,
            files,
            sum(f.source.rows["label"].null_count for f in files),
            sum(p.n_empty for p in placed),
            sum(p.n_cells for p in placed),
            sum(p.read_s for p in placed),
            sum(p.compute_s for p in placed),
            sum(p.write_s for p in placed),
        )


NOT_LEFT_OUT = (
    "not measured: whether cells of a type that the reference lacks are called unknown or given "
    "another label; `cellkin cells index` without --quick leaves each label out in turn and "
    "measures it"
)
"""The evaluation that `--quick` and a quickstart skip to save time."""


def inherited(entry: Entry) -> dict[str, Any]:
    """Return the manifest entries that an index inherits with the spaces of another."""
    keys = (
        "recipe", "embedding", "embedding_digest", "corpus", "corpus_digest", "quality",
        "control_embedding", "likely_batch", "own_names", "label_counts", "few_cells",
    )  # fmt: skip
    # Keys missing in a version (an older one, or one without embedding) stay missing.
    kept = {key: entry.manifest[key] for key in keys if key in entry.manifest}
    return kept | {"terms": entry.manifest.get("terms", {})}


def cautions_of(view: CatalogView, entry: Entry) -> list[str]:
    """Return warnings about what weakens all labels of a version of an index."""
    partial = partial_caution(entry.manifest.get("embedding", ""), embedding_manifest(view, entry))
    found = cautions(entry.manifest, control=of_control(view, entry))
    return [*found, partial] if partial else found


def cautions(manifest: Mapping[str, Any], *, control: bool) -> list[str]:
    """Return warnings about what weakens all labels of an index.

    Parameters
    ----------
    manifest
        Manifest of a cell index version.
    control
        Whether its gene embedding is a control; see `cellkin.store.controls.of_control`.

    Returns
    -------
    list of str
        Sentences; empty if nothing is known to weaken them.
    """
    found = []
    if control:
        found.append(control_caution(manifest["embedding"]))
    if manifest.get("own_names"):
        found.append(OWN_NAMES_CAUTION)
    if donors := manifest.get("likely_batch"):
        found.append(
            f"labels are judged on parts of the same donors, as no batch column was given though "
            f"obs has {donors!r}: give --batch {donors}"
        )
    if few := few_cells_caution(manifest):
        found.append(few)
    if any(space.get("not_left_out") for space in (manifest.get("quality") or {}).values()):
        found.append(NOT_LEFT_OUT)
    return found


def digests_of(files: Sequence[MatchedFile]) -> dict[Path, str]:
    """Return the digest of each source file, by path; reads them whole."""
    return {file.source.path: path_digest(file.source.path) for file in files}


def described(
    reference: Reference, matched: Sequence[MatchedFile], digests: Mapping[Path, str]
) -> dict[str, Any]:
    """Return the manifest entries about the source files, from which an index can be rebuilt.

    Parameters
    ----------
    reference, matched
        The reference, and its files with their genes.
    digests
        Of the files; see `digests_of`.
    """
    reading = {name: value for name, value in vars(reference.how).items() if value}
    return {
        "references": [
            {
                "file": file.source.path.name,
                "path": str(file.source.path.absolute()),
                "sha256": digests[file.source.path],
                "reading": reading,
                "taxon": reference.taxon,
                "literal_labels": reference.literal_labels,
                "label": reference.label,
                "batch": reference.batch or "",
                "format": file.source.format,
                "n_cells": file.source.n_cells,
                "units": file.source.units.why,
                "gene_match": file.match.to_metadata(),
            }
            for file in matched
        ],
        "label": reference.label,
        "batch": reference.batch or "",
    }


def likely_batch(sources: Sequence[SourceFile]) -> str:
    """Return the likely donor column of the first file that has one; see `cautions`."""
    return next((s.likely_batch for s in sources if s.likely_batch), "")
