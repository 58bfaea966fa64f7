"""Versions there are, and what is known of each."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.client.results.predictions import space_name
from cellkin.client.results.tables import Tabular
from cellkin.client.results.versions import Versions
from cellkin.v1 import catalog_service_pb2 as wire
from cellkin.wire.terms import VersionKind


@dataclass(frozen=True)
class Retraction:
    """Why a version was withdrawn.

    Parameters
    ----------
    reason
        In words.
    replacement
        The version to use instead; empty where there is none.
    """

    reason: str
    replacement: str


@dataclass(frozen=True)
class RetractedVersion:
    """A version that was withdrawn.

    Parameters
    ----------
    version
        ``NAME@DATE.N``.
    retraction
        Why.
    """

    version: str
    retraction: Retraction


@dataclass(frozen=True)
class EmbeddingModel:
    """A language model of which gene vectors are kept.

    Parameters
    ----------
    name
        Which its versions bear.
    n_versions
        Versions there are.
    latest_version
        What ``latest`` means; empty where all were retracted.
    dim
        Width of a vector of the newest version.
    """

    name: str
    n_versions: int
    latest_version: str
    dim: int


@dataclass(frozen=True)
class EmbeddingVersion:
    """One immutable table of gene vectors.

    Parameters
    ----------
    name
        ``MODEL@DATE.N``.
    create_time
        When it was published, UTC.
    digest
        SHA-256 of its rows, hexadecimal.
    n_genes, dim
        Genes with a vector, and the width of one.
    corpus
        The corpus whose texts were embedded, ``NAME@DATE.N``.
    aliases
        That mean it now, ascending.
    retraction
        Set where it was withdrawn.
    manifest
        Everything it was made from and by.
    control
        Whether its vectors are a control, which say nothing about genes: random, permuted, or of
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


@dataclass(frozen=True)
class Certificate:
    """What was measured of an index against exact search when it was built.

    Parameters
    ----------
    recalls
        By k: the share in [0, 1] of the k exactly nearest cells that the index finds.
    n_queries, queries
        Queries it was measured with, and what these were.
    target
        The recall at 10 that its settings were tuned to.
    qps_batch, qps_single
        Queries a second of one thread's CPU time at k 10, in one batch and one by one.
    bytes_per_cell
        Of the index file.
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


@dataclass(frozen=True)
class LabelQuality:
    """How well cells of one label are found to be unknown where the reference lacks it.

    Parameters
    ----------
    label
        The label.
    n_cells
        Its cells that were asked.
    auroc
        Area under the curve of the novelty of its cells against that of known cells, in [0, 1];
        0.5 is chance.
    found
        The share of its cells beyond the novelty limit, in [0, 1].
    weak
        Whether that is too weak to trust: were the label missing, many of its cells would be given
        another one.
    """

    label: str
    n_cells: int
    auroc: float
    found: float
    weak: bool


@dataclass(frozen=True)
class SpaceQuality(Tabular):
    """How well cells of the reference that were held out were labelled in one space by the rest.

    Everything was fitted anew without them.

    Parameters
    ----------
    space
        ``text`` or ``expression``.
    held_out
        What was held out, such as ``4 batches in turn``.
    n_cells
        Cells that were.
    accuracy
        The share of right labels where every cell gets one, in [0, 1].
    macro_f1
        The mean F1 over labels, in [0, 1].
    calibration_error
        Expected calibration error of the probabilities.
    novelty_limit
        A cell of more novelty than this is unknown.
    labels
        The labels that could be left out, ascending.
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
        """The labels whose cells are not found to be unknown where they are missing, ascending."""
        return tuple(label.label for label in self.labels if label.weak)

    def columns(self) -> dict[str, Any]:
        """Return one row a label."""
        return {
            "label": [each.label for each in self.labels],
            "n_cells": np.array([each.n_cells for each in self.labels], np.int64),
            "auroc": np.array([each.auroc for each in self.labels], np.float64),
            "found": np.array([each.found for each in self.labels], np.float64),
            "weak": np.array([each.weak for each in self.labels], np.bool_),
        }


@dataclass(frozen=True)
class CellIndex(Tabular):
    """One version of an index over reference cells.

    Parameters
    ----------
    name
        ``NAME@DATE.N``.
    n_cells, dim
        Reference cells, and the width of a cell vector.
    labels, label_counts
        The subtypes, ascending, and (n_labels,) int64 reference cells of each.
    recipe
        Of the text space, such as ``text-v2``.
    versions
        What the index was made from.
    create_time
        When it was published, UTC.
    aliases
        That mean it now, ascending.
    retraction
        Set where it was withdrawn.
    certificate
        What was measured of it; None where it was published before there were any.
    loaded
        Whether this server holds it in memory now.
    qualities
        By ``text`` and ``expression``, how well cells that were held out were labelled; empty where
        none could be.
    control_embedding
        Whether its gene vectors are a control, so that labels by text mean nothing.
    batches
        Of the reference, ascending, at most 1000; empty where none were given.
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
        """Return one row a subtype."""
        return {"label": list(self.labels), "n_cells": self.label_counts}


@dataclass(frozen=True)
class Alias:
    """A movable name of a version.

    Parameters
    ----------
    kind
        What it names a version of.
    name
        ``NAME@ALIAS``.
    version
        What it means now, ``NAME@DATE.N``.
    """

    kind: VersionKind
    name: str
    version: str


@dataclass(frozen=True)
class Reloaded:
    """What a server serves after it read the catalog.

    Parameters
    ----------
    switched
        Versions that names mean from now on and did not before, ascending.
    refused
        By version: why it was refused. What was served before still is.
    """

    switched: tuple[str, ...]
    refused: dict[str, str]


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
    """Read what was withdrawn."""
    return RetractedVersion(message.version, _read_retraction(message.retraction))


def read_reloaded(message: wire.ReloadResponse) -> Reloaded:
    """Read what a server serves."""
    return Reloaded(
        tuple(message.switched_versions),
        {refused.version: refused.message for refused in message.refused_versions},
    )


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
