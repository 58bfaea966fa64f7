"""Terms of the wire contract; enumeration values are those of the protos."""

from enum import IntEnum
from typing import Self

DEFAULT_MODEL = "all-minilm-l6-v2"
"""The embedding model of a request that names none."""

BACKGROUND_CELLS = 200
"""Minimum cells of a foreign query to subtract its own mean and to check the sample."""

UNKNOWN_LABEL = "unknown"
"""Label of cells to which no reference label can be assigned."""


class Term(IntEnum):
    """A term that a newer release may extend; its other numbers become members without a name."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        other = int.__new__(cls, value)
        other._name_, other._value_ = f"OTHER_{value}", value
        return other

    @property
    def _other(self) -> str:
        return f"other ({self.value})"


class TextRung(Term):
    """Source of a gene's text, best first."""

    OWN_SUMMARY = 1
    """The gene's own summary (RefSeq, Alliance of Genome Resources)."""
    STRING_FUNCTION = 2
    """The function text STRING holds for the gene's own protein."""
    ORTHOLOG_SUMMARY = 3
    """The summary of its one-to-one ortholog; in effect an ortholog table, so always flagged."""
    DESIGNATIONS = 4
    """Only its name and other designations."""
    NONE = 5
    """No text, so the gene has no vector and contributes to no cell."""

    @property
    def label(self) -> str:
        """Name for tables and files."""
        return _RUNG_LABELS.get(self, self._other)


_RUNG_LABELS = {
    TextRung.OWN_SUMMARY: "own summary",
    TextRung.STRING_FUNCTION: "own STRING function",
    TextRung.ORTHOLOG_SUMMARY: "orthologue's summary",
    TextRung.DESIGNATIONS: "name and designations",
    TextRung.NONE: "none",
}


class GeneRoute(Term):
    """How a gene name was matched to the corpus."""

    UNMATCHED = 0
    GENE_ID = 1
    ENSEMBL = 2
    SYMBOL = 3
    SYNONYM = 4
    CASE_FOLDED = 5
    AMBIGUOUS = 6

    @property
    def label(self) -> str:
        """Name for tables and files."""
        return _ROUTE_LABELS.get(self, self._other)


_ROUTE_LABELS = {
    GeneRoute.UNMATCHED: "unmatched",
    GeneRoute.GENE_ID: "NCBI GeneID",
    GeneRoute.ENSEMBL: "Ensembl id",
    GeneRoute.SYMBOL: "symbol",
    GeneRoute.SYNONYM: "synonym",
    GeneRoute.CASE_FOLDED: "symbol, other case",
    GeneRoute.AMBIGUOUS: "ambiguous, not used",
}

MATCHED_ROUTES = tuple(r for r in GeneRoute if r not in (GeneRoute.UNMATCHED, GeneRoute.AMBIGUOUS))
"""Routes that match a name to exactly one gene."""


class GeneScore(Term):
    """The order of the hits of a search for genes."""

    COSINE = 1
    """Cosine similarity."""
    CSLS = 2
    """Corrected for hubs: twice the cosine minus the gene's mean cosine to its 10 nearest."""
    FUSED = 3
    """Reciprocal rank fusion over the embedding and the embeddings compared with."""

    @property
    def label(self) -> str:
        """Name of the score in tables, files and options; ``other (9)`` if unknown."""
        return _SCORE_LABELS.get(self, self._other)


_SCORE_LABELS = {
    GeneScore.COSINE: "cosine",
    GeneScore.CSLS: "csls",
    GeneScore.FUSED: "fused",
}


class ExpressionUnits(IntEnum):
    """Units of the values of a cells-by-genes matrix."""

    LINEAR = 1
    """Counts, or counts scaled by one factor per cell."""
    LOG1P = 2
    """ln(1 + linear), such as scanpy's ``normalize_total`` then ``log1p``."""


class Center(IntEnum):
    """The mean to subtract from cells in the text space."""

    AUTO = 0
    """The query's own if its genes are foreign and it has enough cells, else the reference's."""
    REFERENCE = 1
    QUERY = 2


class VersionKind(Term):
    """Kind of a version."""

    CORPUS = 1
    """Gene texts."""
    EMBEDDING = 2
    """Gene embedding of one language model."""
    INDEX = 3
    """Reference cells in a cell space."""
    GENE_SETS = 4
    """A collection of gene sets."""


class GeneSetKind(Term):
    """What the sets of a collection are."""

    PATHWAYS = 1
    """Pathways, processes and functions."""
    MARKERS = 2
    """Marker genes of cell types."""
    REGULONS = 3
    """Target genes of a regulator, with signs."""
    DISEASE = 4
    """Genes of a disease."""

    @property
    def label(self) -> str:
        """Name of the kind in tables, files and options; ``other (9)`` if unknown."""
        return self.name.lower() if self in set(GeneSetKind) else self._other


class UnknownReason(Term):
    """Why a cell has no label; 0 if it has one."""

    KNOWN = 0
    NO_GENE_MATCHED = 1
    TOO_FAR = 3
    """The cell is farther from the reference than cells of its label are."""
    LOW_PROBABILITY = 4
    """No label is probable enough."""
    NOT_CONFIRMED = 5
    """The check of a foreign sample did not confirm the label."""

    @property
    def label(self) -> str:
        """Text for tables and files."""
        return _REASON_LABELS.get(self, self._other)


_REASON_LABELS = {
    UnknownReason.KNOWN: "",
    UnknownReason.NO_GENE_MATCHED: "no gene matched",
    UnknownReason.TOO_FAR: "too far",
    UnknownReason.LOW_PROBABILITY: "low probability",
    UnknownReason.NOT_CONFIRMED: "label not confirmed",
}


def control_caution(embedding: str) -> str:
    """Return the warning about labels by text if the gene embedding is a control.

    Parameters
    ----------
    embedding
        The version of the gene embedding.
    """
    return (
        f"the gene vectors of {embedding} are a control and say nothing about genes: labels by "
        "text mean nothing; make the index from the embedding of a language model"
    )
