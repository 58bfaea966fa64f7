"""What went into a corpus, for people and for manifests."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cellkin.wire.species import taxon_name
from cellkin.wire.terms import TextRung


@dataclass(frozen=True)
class SourceFile:
    """One file a corpus was made from.

    Attributes
    ----------
    role
        Which of the sources it is: "gene_info".
    location
        Path or URL as it was given.
    n_bytes
        Size.
    sha256
        Of the file as it is, hexadecimal.
    last_modified
        What the server it came from said; "" where that is not known.
    """

    role: str
    location: str
    n_bytes: int
    sha256: str
    last_modified: str


@dataclass(frozen=True)
class JoinCounts:
    """How the texts of a source that names genes by symbol found their genes.

    Attributes
    ----------
    source
        Name of its file.
    n_texts
        Texts it has for the species of the corpus.
    n_genes
        Genes that got one.
    n_ambiguous
        Texts whose name could mean several genes, and so were not used.
    n_unmatched
        Texts whose name means no gene of its species.
    """

    source: str
    n_texts: int
    n_genes: int
    n_ambiguous: int
    n_unmatched: int


@dataclass(frozen=True)
class SharedText:
    """A summary that more genes share than says anything of each: boilerplate.

    Attributes
    ----------
    beginning
        Its first 80 signs.
    n_genes
        Genes that rest on it.
    by_taxon
        The same by species.
    """

    beginning: str
    n_genes: int
    by_taxon: Mapping[int, int]


@dataclass(frozen=True)
class CorpusReport:
    """What went into a corpus.

    Attributes
    ----------
    rungs
        Genes by taxon and rung; every rung is there.
    summary_only
        Genes by taxon that a summary names but gene_info does not; they have no symbol.
    shared_texts
        Boilerplate, most shared first.
    joins
        How the texts joined by name found their genes.
    sources
        The files.
    settings
        The options it was built with, as JSON can hold them.
    """

    rungs: Mapping[int, Mapping[TextRung, int]]
    summary_only: Mapping[int, int]
    shared_texts: tuple[SharedText, ...]
    joins: tuple[JoinCounts, ...]
    sources: tuple[SourceFile, ...]
    settings: Mapping[str, Any]

    @property
    def n_genes(self) -> int:
        """Genes of the corpus."""
        return sum(sum(counts.values()) for counts in self.rungs.values())

    def notes(self) -> list[str]:
        """Return in lines of prose what a person who builds a corpus should look at."""
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
        """Return the report as values JSON can hold; taxa and rungs become strings."""
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
