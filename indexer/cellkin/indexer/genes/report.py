"""Report of the sources and texts of a corpus."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cellkin.wire.species import taxon_name
from cellkin.wire.terms import TextRung


@dataclass(frozen=True)
class SourceFile:
    """A source file of a corpus.

    Attributes
    ----------
    role
        Role of the file, such as "gene_info".
    location
        Path or URL, as given.
    n_bytes
        Size.
    sha256
        Digest of the file (before decompression), hexadecimal.
    last_modified
        The ``Last-Modified`` header of the download; "" if unknown.
    """

    role: str
    location: str
    n_bytes: int
    sha256: str
    last_modified: str


@dataclass(frozen=True)
class JoinCounts:
    """Counts of the texts of a source that were matched to genes by name.

    Attributes
    ----------
    source
        Name of its file.
    n_texts
        Number of its texts for the species of the corpus.
    n_genes
        Genes that got a text.
    n_ambiguous
        Texts ignored because their name matches several genes.
    n_unmatched
        Texts whose name matches no gene of the species.
    """

    source: str
    n_texts: int
    n_genes: int
    n_ambiguous: int
    n_unmatched: int


@dataclass(frozen=True)
class SharedText:
    """Boilerplate: a summary shared by too many genes to describe any of them.

    Attributes
    ----------
    beginning
        Its first 80 characters.
    n_genes
        Number of genes with this summary.
    by_taxon
        The same, by NCBI taxonomy id.
    """

    beginning: str
    n_genes: int
    by_taxon: Mapping[int, int]


@dataclass(frozen=True)
class CorpusReport:
    """Contents and sources of a corpus.

    Attributes
    ----------
    rungs
        Number of genes by taxon and rung; all rungs are present.
    summary_only
        Number of genes by taxon that have a summary but are not in gene_info; they have no symbol.
    shared_texts
        Boilerplate, most shared first.
    joins
        Counts of the texts matched by name, by file.
    sources
        The files.
    settings
        The options it was built with, in types that `json` writes.
    """

    rungs: Mapping[int, Mapping[TextRung, int]]
    summary_only: Mapping[int, int]
    shared_texts: tuple[SharedText, ...]
    joins: tuple[JoinCounts, ...]
    sources: tuple[SourceFile, ...]
    settings: Mapping[str, Any]

    @property
    def n_genes(self) -> int:
        """Number of genes of the corpus."""
        return sum(sum(counts.values()) for counts in self.rungs.values())

    def notes(self) -> list[str]:
        """Return sentences on what to check in a new corpus."""
        lines = []
        if any(self.summary_only.values()):
            counts = (f"{n:,} {taxon_name(taxon)}" for taxon, n in self.summary_only.items() if n)
            lines.append(f"genes that only a summary names, so without symbol: {', '.join(counts)}")
        lines += [
            f"{join.source}: genes with a text {join.n_genes:,} of {join.n_texts:,} texts; "
            f"left out for an ambiguous name {join.n_ambiguous:,}, an unknown one "
            f"{join.n_unmatched:,}"
            for join in self.joins
        ]
        if self.shared_texts:
            n_genes = sum(shared.n_genes for shared in self.shared_texts)
            most = self.shared_texts[0]
            lines.append(
                f"boilerplate: {len(self.shared_texts):,} texts on {n_genes:,} genes; "
                f"the most shared, on {most.n_genes:,}: {most.beginning}..."
            )
        return lines

    def to_manifest(self) -> dict[str, Any]:
        """Return the report in types that `json` writes; taxa and rungs become strings."""
        return {
            "n_genes": self.n_genes,
            "rungs": {
                str(taxon): {rung.label: count for rung, count in counts.items()}
                for taxon, counts in self.rungs.items()
            },
            "summary_only": {str(taxon): count for taxon, count in self.summary_only.items()},
            "shared_texts": [
                asdict(shared) | {"by_taxon": {str(k): v for k, v in shared.by_taxon.items()}}
                for shared in self.shared_texts
            ],
            "joins": [asdict(join) for join in self.joins],
            "settings": dict(self.settings),
            "sources": [asdict(source) for source in self.sources],
        }
