"""Resolve the gene names that text sources use."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from cellkin.indexer.genes.ncbi import without_version
from cellkin.wire.features import MISSING_WORDS

_PROTEIN_CODING = "protein-coding"


@dataclass(frozen=True)
class NamedTexts:
    """Texts matched to genes by name.

    Attributes
    ----------
    texts
        Text by GeneID.
    n_ambiguous
        Names ignored because they match several genes.
    n_unmatched
        Names that match no gene of the species.
    """

    texts: dict[int, str]
    n_ambiguous: int
    n_unmatched: int


class GeneNames:
    """Case-sensitive lookup of genes by taxon and name.

    Parameters
    ----------
    genes
        Table with the columns ``gene_id``, ``taxon``, ``symbol``, ``synonyms``, ``ensembl_ids``
        ``gene_type`` and ``other_symbols`` of `cellkin.indexer.genes.ncbi.GENE_INFO`.
    """

    def __init__(self, genes: pa.Table) -> None:
        coding: defaultdict[tuple[int, str], set[int]] = defaultdict(set)
        self._current: defaultdict[tuple[int, str], set[int]] = defaultdict(set)
        self._synonyms: defaultdict[tuple[int, str], set[int]] = defaultdict(set)
        columns = (
            "gene_id", "taxon", "symbol", "other_symbols", "synonyms", "ensembl_ids", "gene_type",
        )  # fmt: skip
        rows = zip(*(genes[name].to_pylist() for name in columns), strict=True)
        for gene_id, taxon, symbol, others, synonyms, ensembl_ids, gene_type in rows:
            self._current[taxon, str(gene_id)].add(gene_id)
            for name in filter(None, (symbol, *others, *ensembl_ids)):
                self._current[taxon, name].add(gene_id)
            for name in synonyms:
                if name.lower() not in MISSING_WORDS:
                    self._synonyms[taxon, name].add(gene_id)
            if gene_type == _PROTEIN_CODING:
                for name in filter(None, (symbol, *others)):
                    coding[taxon, name].add(gene_id)
        # Some symbols are also those of a disease or a locus; texts on proteins refer to the only
        # protein-coding gene of the symbol.
        for key, genes_of_symbol in coding.items():
            if len(genes_of_symbol) == 1:
                self._current[key] = genes_of_symbol

    def join(self, named: Iterable[tuple[int, str, str]]) -> NamedTexts:
        """Match texts to genes by name.

        A GeneID, Ensembl id or current symbol takes precedence over a synonym; of several texts
        that match a gene in the same way, the first is used. Ambiguous names match no gene.

        Parameters
        ----------
        named
            Taxon, name and text of each, the preferred first.
        """
        current: dict[int, str] = {}
        former: dict[int, str] = {}
        n_ambiguous = n_unmatched = 0
        for taxon, given, text in named:
            name = without_version(given)
            genes, texts = self._current.get((taxon, name)), current
            if genes is None:
                genes, texts = self._synonyms.get((taxon, name), set()), former
            if len(genes) == 1:
                texts.setdefault(next(iter(genes)), text)
            else:
                n_ambiguous += len(genes) > 1
                n_unmatched += not genes
        return NamedTexts(former | current, n_ambiguous, n_unmatched)
