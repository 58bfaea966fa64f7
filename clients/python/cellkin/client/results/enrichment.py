"""Enrichment of gene sets."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellkin.client.results.sample import ReportWarning, read_warnings
from cellkin.client.results.tables import Shown, Tabular, Told
from cellkin.client.results.versions import Versions
from cellkin.v1 import gene_set_service_pb2 as wire


@dataclass(frozen=True, repr=False)
class SetEnrichment(Shown):
    """Enrichment of one gene set.

    Parameters
    ----------
    collection
        The collection version, ``NAME@DATE.N``.
    name
        Name of the set.
    n_genes
        Number of its genes in the universe or ranking.
    n_overlap
        For a list of genes, number of them in the list; else 0.
    effect
        For a list the odds ratio; for a ranking or contrast the mean normal score of the set's
        genes less that of all genes, in standard deviations over random sets of its size: positive
        at the top of the ranking (group a).
    p_value, fdr
        If genes are exchangeable: the p-value, and its false discovery rate in the collection.
    permuted_p_value, permuted_fdr
        The same if vectors are permuted over genes (a neighborhood), or group labels over cells (a
        contrast); NaN if not tested.
    called
        Whether every false discovery rate is at most 0.05.
    masked_p_value
        The p-value without the genes whose name shares a word with the set's name; NaN for a
        contrast.
    leading_genes
        Up to 20 genes that the effect rests on, strongest first.
    """

    collection: str
    name: str
    n_genes: int
    n_overlap: int
    effect: float
    p_value: float
    fdr: float
    permuted_p_value: float
    permuted_fdr: float
    called: bool
    masked_p_value: float
    leading_genes: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class EnrichedSets(Tabular):
    """Enrichment of gene sets, by collection, most significant first.

    Parameters
    ----------
    sets
        The sets.
    """

    sets: tuple[SetEnrichment, ...]

    @property
    def called(self) -> tuple[SetEnrichment, ...]:
        """The sets whose false discovery rates are all at most 0.05."""
        return tuple(each for each in self.sets if each.called)

    def directed(self, positive: bool) -> "EnrichedSets":
        """Return the sets of positive or of negative effect, such as of one group of a contrast.

        Parameters
        ----------
        positive
            Whether the effect is positive.
        """
        return EnrichedSets(tuple(each for each in self.sets if (each.effect > 0) is positive))

    def columns(self) -> dict[str, Any]:
        """Return one row per set."""
        sets = self.sets
        return {
            "collection": [each.collection for each in sets],
            "set": [each.name for each in sets],
            "n_genes": np.array([each.n_genes for each in sets], np.int64),
            "n_overlap": np.array([each.n_overlap for each in sets], np.int64),
            "effect": np.array([each.effect for each in sets], np.float64),
            "p_value": np.array([each.p_value for each in sets], np.float64),
            "fdr": np.array([each.fdr for each in sets], np.float64),
            "permuted_p_value": np.array([each.permuted_p_value for each in sets], np.float64),
            "permuted_fdr": np.array([each.permuted_fdr for each in sets], np.float64),
            "called": np.array([each.called for each in sets], bool),
            "masked_p_value": np.array([each.masked_p_value for each in sets], np.float64),
            "leading_genes": [", ".join(each.leading_genes) for each in sets],
        }


@dataclass(frozen=True, repr=False)
class Enrichment(EnrichedSets):
    """Gene sets that genes are enriched in.

    Parameters
    ----------
    sets
        The sets, by collection, most significant first.
    collections
        The collection versions, in the order of the request.
    n_tested
        Number of sets tested of each collection.
    n_genes, n_universe
        Number of genes tested, and of the universe.
    unmatched
        Names without a gene.
    warnings
        Limits of the result.
    versions
        Versions of the neighborhood; empty for a list or a ranking.
    """

    collections: tuple[str, ...]
    n_tested: tuple[int, ...]
    n_genes: int
    n_universe: int
    unmatched: tuple[str, ...]
    warnings: tuple[ReportWarning, ...]
    versions: Versions

    @property
    def title(self) -> str:
        """What was tested, in one line."""
        tested = ", ".join(
            f"{n:,} sets of {name}" for name, n in zip(self.collections, self.n_tested, strict=True)
        )
        universe = f" of a universe of {self.n_universe:,}" if self.n_universe else ""
        called = f"{len(self.called)} sets are called"
        return f"{self.n_genes:,} genes{universe} tested in {tested}; {called}"

    def _title(self) -> str:
        return self.title

    def _told(self) -> Told:
        return self.title, [*map(str, self.warnings)], self.columns()


def read_sets(messages: Iterable[wire.SetEnrichment]) -> tuple[SetEnrichment, ...]:
    """Read the enrichment of sets."""
    return tuple(map(_read_set, messages))


def read_enrichment(message: wire.EnrichGenesResponse) -> Enrichment:
    """Read the response to EnrichGenes."""
    return Enrichment(
        read_sets(message.sets),
        tuple(each.version for each in message.collections),
        tuple(message.n_tested),
        message.n_genes,
        message.n_universe,
        tuple(message.unmatched),
        read_warnings(message.warnings),
        Versions.from_message(message.versions),
    )


def _read_set(message: wire.SetEnrichment) -> SetEnrichment:
    return SetEnrichment(
        message.collection,
        message.set,
        message.n_genes,
        message.n_overlap,
        message.effect,
        message.p_value,
        message.fdr,
        given(message, "permuted_p_value"),
        given(message, "permuted_fdr"),
        message.called,
        given(message, "masked_p_value"),
        tuple(message.leading_genes),
    )


def given(message: Any, name: str) -> float:
    """Return an optional number of a message, NaN if it is unset."""
    return float(getattr(message, name)) if message.HasField(name) else float("nan")
