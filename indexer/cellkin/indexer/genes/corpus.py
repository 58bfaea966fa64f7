"""Build a corpus: one text per gene, with its source."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from cellkin.indexer.genes import inputs
from cellkin.indexer.genes.chain import DEFAULT_CHAIN, GeneText, TextChain, checked_order
from cellkin.indexer.genes.download import file_sha256, read_record
from cellkin.indexer.genes.fetch import Source, local_file
from cellkin.indexer.genes.names import GeneNames
from cellkin.indexer.genes.report import CorpusReport, SharedText, SourceFile
from cellkin.indexer.genes.text import Template, text_sha256
from cellkin.store.schema import CORPUS, OTHER_SYMBOLS
from cellkin.wire.terms import TextRung

_ROLES = (
    "gene_info",
    "gene_summary",
    "gene_orthologs",
    "gene2ensembl",
    "gene_history",
    "string",
    "extra",
)
_SHOWN_SIGNS = 80


@dataclass(frozen=True)
class ExtraTexts:
    """The user's own summaries for genes of one species.

    Attributes
    ----------
    location
        Path or URL of a JSON object or two-column table of gene and text; genes are GeneIDs,
        Ensembl ids, symbols or synonyms.
    taxon
        NCBI taxonomy id of the species, which symbols do not determine.
    """

    location: Source
    taxon: int


@dataclass(frozen=True)
class CorpusSources:
    """Source files of a corpus: paths, or http and https URLs.

    Attributes
    ----------
    gene_info
        NCBI's ``gene_info``.
    gene_summary, gene_orthologs, gene2ensembl, gene_history
        NCBI's files of that name.
    strings
        STRING's ``protein.info`` files; a gene gets the text of the first file that has one.
    extras
        The user's own summaries, which by default take precedence over NCBI's.
    taxa
        NCBI taxonomy ids of the requested species; None means those of ``gene_info``.
    """

    gene_info: Source
    gene_summary: Source | None = None
    gene_orthologs: Source | None = None
    strings: tuple[Source, ...] = ()
    gene2ensembl: Source | None = None
    gene_history: Source | None = None
    extras: tuple[ExtraTexts, ...] = ()
    taxa: Collection[int] | None = None


@dataclass(frozen=True)
class CorpusOptions:
    """Options for choosing and formatting texts.

    Attributes
    ----------
    template
        A key of `cellkin.indexer.genes.text.TEMPLATES`, or a text with fields.
    chain
        Rungs to try for each gene, best first.
    summary_order
        Sources of summaries, best first: names in ``gene_summary``, or file names of the user's
        own summaries. Own summaries that are not listed come first, other sources last.
    strip_provenance
        Whether to remove marks such as ``[provided by RefSeq, Jul 2008]``.
    boilerplate_threshold
        Summaries shared by more genes than this are reported as boilerplate.
    """

    template: str = "name+summary"
    chain: tuple[TextRung, ...] = DEFAULT_CHAIN
    summary_order: tuple[str, ...] = ("RefSeq", "Alliance of Genome Resources")
    strip_provenance: bool = True
    boilerplate_threshold: int = 10


@dataclass(frozen=True)
class Corpus:
    """One text per gene.

    Attributes
    ----------
    table
        Of `cellkin.store.schema.corpus_schema`, rows ascending by GeneID. ``n_sharing`` is the
        number of genes with the same summary (without a summary: text), before the gene's name is
        added.
    report
        Contents and sources.
    """

    table: pa.Table
    report: CorpusReport


def build_corpus(
    sources: CorpusSources,
    options: CorpusOptions = CorpusOptions(),
    *,
    downloads: Path | None = None,
) -> Corpus:
    """Read the sources and choose one text for every gene.

    Parameters
    ----------
    sources
        The files.
    options
        Options for choosing and formatting texts.
    downloads
        Folder that caches downloads; None means ``~/.cache/cellkin/downloads``.

    Returns
    -------
    Corpus
        All genes in ``gene_info`` or ``gene_summary`` of the requested species. The same files and
        options give the same table.

    Raises
    ------
    InputFileError
        If a file is missing, damaged or of another format.
    InvalidArgumentError
        If an option is invalid, or ``gene_info`` has no gene of a requested species.
    UnavailableError
        If a URL cannot be reached.
    """
    template = Template.parse(options.template)
    order = checked_order(options.chain, template)
    located = _locate(sources, downloads)
    paths = {role: [file.path for file in located if file.role == role] for role in _ROLES}
    listed = inputs.read_genes(paths["gene_info"][0], sources.taxa)
    taxa = pc.unique(listed["taxon"]).to_pylist()
    written = inputs.read_summaries(paths["gene_summary"])
    genes = inputs.with_summary_only(listed, written, taxa)
    genes = inputs.with_gene2ensembl(genes, paths["gene2ensembl"], taxa)
    genes = inputs.with_former_ids(genes, paths["gene_history"], taxa).sort_by("gene_id")

    names = GeneNames(genes)
    partners = inputs.read_partners(paths["gene_orthologs"], taxa, written)
    functions, string_joins = inputs.read_functions(paths["string"], names, taxa)
    brought = zip(paths["extra"], (extra.taxon for extra in sources.extras), strict=True)
    extras, extra_joins = inputs.read_extras(brought, names)
    summaries = inputs.best_summaries(
        written, extras, options.summary_order, strip_provenance=options.strip_provenance
    )
    texts = _texts(genes, TextChain(order, template, summaries, functions, partners))
    report = CorpusReport(
        rungs=_count_rungs(genes, texts),
        summary_only=_count_summary_only(genes, listed),
        shared_texts=_shared_texts(genes, texts, options.boilerplate_threshold),
        joins=(*extra_joins, *string_joins),
        sources=tuple(file.described() for file in located),
        settings=asdict(options)
        | {
            "chain": [rung.label for rung in order],
            "summary_order": list(options.summary_order),
        },
    )
    return Corpus(_table(genes, texts), report)


class _LocatedFile(NamedTuple):
    role: str
    given: str
    path: Path

    def described(self) -> SourceFile:
        digest = file_sha256(self.path)
        record = read_record(self.path)
        same = record is not None and record.sha256 == digest
        modified = record.last_modified if record is not None and same else ""
        return SourceFile(self.role, self.given, self.path.stat().st_size, digest, modified)


def _locate(sources: CorpusSources, downloads: Path | None) -> list[_LocatedFile]:
    """Return the paths of all files, after downloading those given by URL."""
    given: list[tuple[str, Source | None]] = [
        ("gene_info", sources.gene_info),
        ("gene_summary", sources.gene_summary),
        ("gene_orthologs", sources.gene_orthologs),
        ("gene2ensembl", sources.gene2ensembl),
        ("gene_history", sources.gene_history),
        *(("string", location) for location in sources.strings),
        *(("extra", extra.location) for extra in sources.extras),
    ]
    return [
        _LocatedFile(role, str(location), local_file(location, downloads))
        for role, location in given
        if location is not None
    ]


def _texts(genes: pa.Table, chain: TextChain) -> list[GeneText]:
    columns = ("gene_id", "symbol", "name", "designations")
    rows = zip(*(genes[name].to_pylist() for name in columns), strict=True)
    return [chain.text_of(*row) for row in rows]


def _table(genes: pa.Table, texts: Sequence[GeneText]) -> pa.Table:
    sharing = Counter(text.body for text in texts)
    made = {
        "rung": [text.rung for text in texts],
        "text": [text.text for text in texts],
        "text_source": [text.source for text in texts],
        "text_gene_id": [text.gene_id for text in texts],
        "n_sharing": [sharing[text.body] if text.body else 0 for text in texts],
        "text_sha256": [text_sha256(text.text) for text in texts],
    }
    # Without other symbols there is no such column, as in earlier corpora.
    differ = pc.any(pc.greater(pc.list_value_length(genes[OTHER_SYMBOLS.name]), 0)).as_py()
    schema = CORPUS.append(OTHER_SYMBOLS) if differ else CORPUS
    columns = {name: made[name] if name in made else genes[name] for name in schema.names}
    return pa.table(columns, schema=schema).combine_chunks()


def _count_rungs(genes: pa.Table, texts: Sequence[GeneText]) -> dict[int, dict[TextRung, int]]:
    taxa = genes["taxon"].to_pylist()
    counts = Counter(zip(taxa, (text.rung for text in texts), strict=True))
    return {taxon: {rung: counts[taxon, rung] for rung in TextRung} for taxon in sorted(set(taxa))}


def _count_summary_only(genes: pa.Table, listed: pa.Table) -> dict[int, int]:
    known = pc.is_in(genes["gene_id"], value_set=listed["gene_id"].combine_chunks())
    only = Counter(genes.filter(pc.invert(known))["taxon"].to_pylist())
    return {taxon: only[taxon] for taxon in sorted(pc.unique(genes["taxon"]).to_pylist())}


def _shared_texts(
    genes: pa.Table, texts: Sequence[GeneText], threshold: int
) -> tuple[SharedText, ...]:
    by_taxon: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for taxon, text in zip(genes["taxon"].to_pylist(), texts, strict=True):
        if text.body:
            by_taxon[text.body][taxon] += 1
    shared = [
        SharedText(body[:_SHOWN_SIGNS], counts.total(), dict(sorted(counts.items())))
        for body, counts in by_taxon.items()
        if counts.total() > threshold
    ]
    return tuple(sorted(shared, key=lambda each: (-each.n_genes, each.beginning)))
