"""What is said and kept of a cell job: a report for the user, and the manifest's account of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.indexer.cells.plan import MatchedFile
from cellkin.indexer.cells.sources import Reference, SourceFile
from cellkin.indexer.cells.worker import Placed
from cellkin.store.catalog import Entry
from cellkin.store.corpus import OWN_NAMES_CAUTION
from cellkin.store.digest import path_digest
from cellkin.store.quality import few_cells_caution
from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import control_caution


@dataclass(frozen=True)
class FileReport:
    """What became of one file.

    Parameters
    ----------
    source
        The file.
    match
        The report on its genes.
    mass
        (n_names,) float64, the summed linear expression of each name, in a sample of the cells.
    """

    source: SourceFile
    match: GeneMatch
    mass: npt.NDArray[np.float64]


@dataclass(frozen=True)
class IndexReport:
    """What was indexed.

    Parameters
    ----------
    entry
        The published version.
    files
        The files, in the order given.
    n_unlabeled, n_empty
        Cells left out: without a label, and without a gene that counts.
    n_cells, read_s, compute_s, write_s
        Cells read to be placed, and the seconds of all workers this took.
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
        """Sum up a job."""
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


def inherited(entry: Entry) -> dict[str, Any]:
    """Return what an index keeps of the one whose spaces it takes."""
    keys = (
        "recipe", "embedding", "embedding_digest", "corpus", "corpus_digest", "quality",
        "control_embedding", "likely_batch", "own_names", "label_counts", "few_cells",
    )  # fmt: skip
    # What a version does not say, for it is older or has no embedding, none that follows it says.
    kept = {key: entry.manifest[key] for key in keys if key in entry.manifest}
    return kept | {"terms": entry.manifest.get("terms", {})}


def cautions(manifest: Mapping[str, Any], *, control: bool) -> list[str]:
    """Say what weakens all labels of an index.

    Parameters
    ----------
    manifest
        Of a version of a cell index.
    control
        Whether its gene vectors are a control, as `cellkin.store.controls.of_control` says.

    Returns
    -------
    list of str
        Sentences; none where nothing is known to.
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
    return found


def described(reference: Reference, matched: Sequence[MatchedFile]) -> dict[str, Any]:
    """Return what an index keeps of the files it was made from, to make it again by."""
    reading = {name: value for name, value in vars(reference.how).items() if value}
    return {
        "references": [
            {
                "file": file.source.path.name,
                "path": str(file.source.path.absolute()),
                "sha256": path_digest(file.source.path),
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
    """Return the obs column that plainly has donors, where none was given; `cautions` says so."""
    return next((s.likely_batch for s in sources if s.likely_batch), "")
