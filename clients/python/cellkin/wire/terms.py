"""The terms of the wire contract; the values of enumerations are those of the protos."""

from enum import IntEnum

DEFAULT_MODEL = "all-minilm-l6-v2"
"""Name of the embedding model used where none is named."""

ENOUGH_SHARED = 0.5
"""The share of the reference's expression, in genes of the query, from which expression is used."""

BACKGROUND_CELLS = 200
"""Foreign queries of at least so many cells have their own mean subtracted, and are checked."""

UNKNOWN_LABEL = "unknown"
"""What a cell is called that no reference label can be claimed for."""


class TextRung(IntEnum):
    """Where the text of a gene comes from, best first."""

    OWN_SUMMARY = 1
    """The gene's own summary (RefSeq, Alliance of Genome Resources)."""
    STRING_FUNCTION = 2
    """The function text STRING holds for the gene's own protein."""
    ORTHOLOG_SUMMARY = 3
    """The summary of its one-to-one orthologue: a hidden orthologue table, so always flagged."""
    DESIGNATIONS = 4
    """No more than its name and other designations."""
    NONE = 5
    """No text: the gene has no vector and is absent from every cell."""

    @property
    def label(self) -> str:
        """The rung as it is written in tables and files."""
        return _RUNG_LABELS[self]


_RUNG_LABELS = {
    TextRung.OWN_SUMMARY: "own summary",
    TextRung.STRING_FUNCTION: "own STRING function",
    TextRung.ORTHOLOG_SUMMARY: "orthologue's summary",
    TextRung.DESIGNATIONS: "name and designations",
    TextRung.NONE: "none",
}


class GeneRoute(IntEnum):
    """How a given gene name met the corpus."""

    UNMATCHED = 0
    GENE_ID = 1
    ENSEMBL = 2
    SYMBOL = 3
    SYNONYM = 4
    CASE_FOLDED = 5
    AMBIGUOUS = 6

    @property
    def label(self) -> str:
        """The route as it is written in tables and files."""
        return _ROUTE_LABELS[self]


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
"""The routes by which a name means one gene."""


class ExpressionUnits(IntEnum):
    """What the values of a cells-by-genes matrix are."""

    LINEAR = 1
    """Counts, or counts scaled by one factor a cell."""
    LOG1P = 2
    """ln(1 + linear), such as scanpy's ``normalize_total`` then ``log1p``."""


class Center(IntEnum):
    """Which mean is subtracted from cells in the text space."""

    AUTO = 0
    """The query's own where its genes are foreign and it has enough cells, else the reference's."""
    REFERENCE = 1
    QUERY = 2


class VersionKind(IntEnum):
    """What a version is a version of."""

    CORPUS = 1
    """Gene texts."""
    EMBEDDING = 2
    """Gene vectors of one language model."""
    INDEX = 3
    """Reference cells in a cell space."""


class UnknownReason(IntEnum):
    """Why a cell has no label; 0 where it has one."""

    KNOWN = 0
    NO_GENE_MATCHED = 1
    LOW_SUPPORT = 2
    """The neighbors do not agree enough."""
    TOO_FAR = 3
    """The cell is farther from the reference than cells of its labels are."""
    LOW_PROBABILITY = 4
    """No label is probable enough."""
    NOT_CONFIRMED = 5
    """The check of a foreign sample did not confirm the label."""

    @property
    def label(self) -> str:
        """The reason as it is written in tables and files."""
        return _REASON_LABELS[self]


_REASON_LABELS = {
    UnknownReason.KNOWN: "",
    UnknownReason.NO_GENE_MATCHED: "no gene matched",
    UnknownReason.LOW_SUPPORT: "low support",
    UnknownReason.TOO_FAR: "too far",
    UnknownReason.LOW_PROBABILITY: "low probability",
    UnknownReason.NOT_CONFIRMED: "label not confirmed",
}


def control_caution(embedding: str) -> str:
    """Say what labels by text are worth where the gene vectors are a control.

    Parameters
    ----------
    embedding
        The version of the gene vectors.
    """
    return (
        f"the gene vectors of {embedding} are a control and say nothing about genes: labels by "
        "text mean nothing; make the index from the embedding of a language model"
    )
