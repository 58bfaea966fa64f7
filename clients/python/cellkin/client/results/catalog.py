"""Versions in the catalog, and their descriptions."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.client.results.predictions import space_name
from cellkin.client.results.tables import Shown, Tabular
from cellkin.client.results.versions import Versions
from cellkin.v1 import catalog_service_pb2 as wire
from cellkin.wire.terms import VersionKind


@dataclass(frozen=True, repr=False)
class Retraction(Shown):
    """Why a version was retracted.

    Parameters
    ----------
    reason
        The reason, in words.
    replacement
        The version to use instead; empty if there is none.
    """

    reason: str
    replacement: str


@dataclass(frozen=True, repr=False)
class RetractedVersion(Shown):
    """A retracted version.

    Parameters
    ----------
    version
        ``NAME@DATE.N``.
    retraction
        Why.
    """

    version: str
    retraction: Retraction


@dataclass(frozen=True, repr=False)
class EmbeddingModel(Shown):
    """A language model with gene embeddings in the store.

    Parameters
    ----------
    name
        Name of the model and its versions.
    n_versions
        Number of versions.
    latest_version
        The version that ``latest`` means; empty if all were retracted.
    dim
        Dimension of the vectors of the newest version.
    """

    name: str
    n_versions: int
    latest_version: str
    dim: int


@dataclass(frozen=True, repr=False)
class EmbeddingVersion(Shown):
    """One immutable version of a gene embedding.

    Parameters
    ----------
    name
        ``MODEL@DATE.N``.
    create_time
        Time of publication, UTC.
    digest
        SHA-256 of its rows, hexadecimal.
    n_genes, dim
        Number of genes with a vector, and dimension of a vector.
    corpus
        The corpus whose texts were embedded, ``NAME@DATE.N``.
    aliases
        Aliases that mean it now, ascending.
    retraction
        Set if it was retracted.
    manifest
        All inputs and settings it was made from.
    control
        Whether its vectors are a control without information from texts: random, permuted, or of
        symbols only.
    """

    name: str
    create_time: datetime
    digest: str
    n_genes: int
    dim: int
    corpus: str
    aliases: tuple[str, ...]
    retraction: Retraction | None
    manifest: dict[str, Any]
    control: bool


@dataclass(frozen=True, repr=False)
class Certificate(Shown):
    """Measurements of an index against exact search, made when it was built.

    Parameters
    ----------
    recalls
        By k: recall in [0, 1], the share of the exact k nearest cells that the index finds.
    n_queries, queries
        Number of queries it was measured with, and their description.
    target
        The recall at 10 to which its settings were tuned.
    qps_batch, qps_single
        Queries per second of one thread's CPU time at k 10, in one batch and one by one.
    bytes_per_cell
        Bytes per cell of the index file.
    factory, parameters
        FAISS factory string and search settings.
    why
        Why this index was chosen.
    vectors_digest
        SHA-256 of the vectors, hexadecimal.
    """

    recalls: dict[int, float]
    n_queries: int
    queries: str
    target: float
    qps_batch: float
    qps_single: float
    bytes_per_cell: float
    factory: str
    parameters: dict[str, int]
    why: str
    vectors_digest: str


@dataclass(frozen=True, repr=False)
class LabelQuality(Shown):
    """How well cells of one label are detected as unknown when the reference lacks it.

    Parameters
    ----------
    label
        The label.
    n_cells
        Number of its cells that were tested.
    auroc
        Area under the ROC curve of the novelty of its cells against known cells, in [0, 1]; 0.5 is
        chance.
    found
        Share of its cells above the novelty limit, in [0, 1].
    weak
        Whether detection is unreliable: if the label were missing, many of its cells would get
        another one.
    """

    label: str
    n_cells: int
    auroc: float
    found: float
    weak: bool


@dataclass(frozen=True, repr=False)
class SpaceQuality(Tabular):
    """Quality of the labels of held-out reference cells in one space.

    Everything was fitted without the held-out cells.

    Parameters
    ----------
    space
        ``text`` or ``expression``.
    held_out
        What was held out, such as ``4 batches in turn``.
    n_cells
        Number of held-out cells.
    accuracy
        Share of correct labels if every cell gets one, in [0, 1].
    macro_f1
        Mean F1 over labels, in [0, 1].
    calibration_error
        Expected calibration error of the probabilities.
    novelty_limit
        Cells of higher novelty are unknown.
    labels
        The labels that could be left out of the reference, ascending.
    """

    space: str
    held_out: str
    n_cells: int
    accuracy: float
    macro_f1: float
    calibration_error: float
    novelty_limit: float
    labels: tuple[LabelQuality, ...]

    @property
    def weak_labels(self) -> tuple[str, ...]:
        """The labels whose cells are not detected as unknown when they are missing, ascending."""
        return tuple(label.label for label in self.labels if label.weak)

    def columns(self) -> dict[str, Any]:
        """Return one row per label."""
        return {
            "label": [each.label for each in self.labels],
            "n_cells": np.array([each.n_cells for each in self.labels], np.int64),
            "auroc": np.array([each.auroc for each in self.labels], np.float64),
            "found": np.array([each.found for each in self.labels], np.float64),
            "weak": np.array([each.weak for each in self.labels], np.bool_),
        }


@dataclass(frozen=True, repr=False)
class CellIndex(Tabular):
    """One version of an index over reference cells.

    Parameters
    ----------
    name
        ``NAME@DATE.N``.
    n_cells, dim
        Number of reference cells, and dimension of a cell vector.
    labels, label_counts
        The labels, ascending, and (n_labels,) int64 number of reference cells of each.
    recipe
        Recipe of the text space, such as ``text-v2``.
    versions
        Versions that the index was made from.
    create_time
        Time of publication, UTC.
    aliases
        Aliases that mean it now, ascending.
    retraction
        Set if it was retracted.
    certificate
        Measurements of the index; None if it was published before certificates existed.
    loaded
        Whether this server holds it in memory now.
    qualities
        Label quality on held-out cells, by ``text`` and ``expression``; empty if none could be held
        out.
    control_embedding
        Whether its gene embedding is a control, so that labels by text are meaningless.
    batches
        Batches of the reference, ascending, at most 1000; empty if none were given.
    """

    name: str
    n_cells: int
    dim: int
    labels: tuple[str, ...]
    label_counts: npt.NDArray[np.int64]
    recipe: str
    versions: Versions
    create_time: datetime
    aliases: tuple[str, ...]
    retraction: Retraction | None
    certificate: Certificate | None
    loaded: bool
    qualities: dict[str, SpaceQuality]
    control_embedding: bool
    batches: tuple[str, ...]

    def columns(self) -> dict[str, Any]:
        """Return one row per label."""
        return {"label": list(self.labels), "n_cells": self.label_counts}


@dataclass(frozen=True, repr=False)
class Alias(Shown):
    """A movable name of a version.

    Parameters
    ----------
    kind
        Kind of the version.
    name
        ``NAME@ALIAS``.
    version
        Version it means now, ``NAME@DATE.N``.
    """

    kind: VersionKind
    name: str
    version: str


@dataclass(frozen=True, repr=False)
class Reloaded(Shown):
    """Changes of a server after it read the catalog.

    Parameters
    ----------
    switched
        Versions that are newly served under their names, ascending.
    refused
        By version: why it was refused. The previous version is still served.
    """

    switched: tuple[str, ...]
    refused: dict[str, str]


@dataclass(frozen=True, repr=False)
class StoreBackup(Shown):
    """A copy of a store, whose versions were all read and are whole.

    Parameters
    ----------
    n_versions
        Versions in the copy.
    n_files, n_bytes
        Files that were copied, and their size in bytes.
    n_files_before
        Files that an earlier copy had already.
    """

    n_versions: int
    n_files: int
    n_bytes: int
    n_files_before: int


def read_model(message: wire.EmbeddingModel) -> EmbeddingModel:
    """Read a language model."""
    return EmbeddingModel(message.name, message.n_versions, message.latest_version, message.dim)


def read_embedding(message: wire.EmbeddingVersion) -> EmbeddingVersion:
    """Read a version of a language model."""
    return EmbeddingVersion(
        message.name,
        message.create_time.ToDatetime(UTC),
        message.digest,
        message.n_genes,
        message.dim,
        message.corpus,
        tuple(message.aliases),
        _retraction_of(message),
        json.loads(message.manifest_json),
        message.control,
    )


def read_index(message: wire.CellIndex) -> CellIndex:
    """Read a version of a cell index."""
    measured = message.HasField("certificate")
    qualities = [_read_quality(quality) for quality in message.qualities]
    return CellIndex(
        message.name,
        message.n_cells,
        message.dim,
        tuple(message.labels),
        np.array(message.label_counts, np.int64),
        message.recipe,
        Versions.from_message(message.versions),
        message.create_time.ToDatetime(UTC),
        tuple(message.aliases),
        _retraction_of(message),
        _read_certificate(message.certificate) if measured else None,
        message.loaded,
        {quality.space: quality for quality in qualities},
        message.control_embedding,
        tuple(message.batches),
    )


def read_alias(message: wire.Alias) -> Alias:
    """Read an alias."""
    return Alias(VersionKind(message.kind), message.name, message.version)


def read_retracted(message: wire.RetractVersionResponse) -> RetractedVersion:
    """Read a retraction."""
    return RetractedVersion(message.version, _read_retraction(message.retraction))


def read_reloaded(message: wire.ReloadResponse) -> Reloaded:
    """Read the result of a reload."""
    return Reloaded(
        tuple(message.switched_versions),
        {refused.version: refused.message for refused in message.refused_versions},
    )


def read_backup(message: wire.BackUpStoreResponse) -> StoreBackup:
    """Read the result of a backup."""
    return StoreBackup(message.n_versions, message.n_files, message.n_bytes, message.n_files_before)


def _retraction_of(message: wire.EmbeddingVersion | wire.CellIndex) -> Retraction | None:
    return _read_retraction(message.retraction) if message.HasField("retraction") else None


def _read_retraction(message: wire.Retraction) -> Retraction:
    return Retraction(message.reason, message.replacement)


def _read_certificate(message: wire.Certificate) -> Certificate:
    return Certificate(
        {recall.k: recall.recall for recall in message.recalls},
        message.n_queries,
        message.queries,
        message.target,
        message.qps_batch,
        message.qps_single,
        message.bytes_per_cell,
        message.factory,
        dict(message.parameters),
        message.why,
        message.vectors_digest,
    )


def _read_quality(message: wire.SpaceQuality) -> SpaceQuality:
    return SpaceQuality(
        space_name(message.space),
        message.held_out,
        message.n_cells,
        message.accuracy,
        message.macro_f1,
        message.calibration_error,
        message.novelty_limit,
        tuple(LabelQuality(x.label, x.n_cells, x.auroc, x.found, x.weak) for x in message.labels),
    )
