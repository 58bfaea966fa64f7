"""``cellkin genes import``: make a corpus from gene tables."""

import json

import click

from cellkin.indexer.commands.options import store_option
from cellkin.terminal.options import TAXON, json_option
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.species import taxon_name
from cellkin.wire.terms import TextRung

_RUNGS = {
    "own": TextRung.OWN_SUMMARY,
    "string": TextRung.STRING_FUNCTION,
    "ortholog": TextRung.ORTHOLOG_SUMMARY,
    "names": TextRung.DESIGNATIONS,
}
"""Text sources of a chain, by their short names."""


@click.command("import")
@store_option
@click.option("--gene-info", required=True, metavar="FILE", help="NCBI gene_info: the genes.")
@click.option("--gene-summary", metavar="FILE", help="NCBI gene_summary: their texts.")
@click.option(
    "--gene-orthologs", metavar="FILE", help="NCBI gene_orthologs: whose text may stand in."
)
@click.option("--gene2ensembl", metavar="FILE", help="NCBI gene2ensembl: more Ensembl ids.")
@click.option("--gene-history", metavar="FILE", help="NCBI gene_history: former GeneIDs.")
@click.option(
    "--string", "strings", multiple=True, metavar="FILE", help="STRING protein.info; repeat it."
)
@click.option(
    "--texts",
    multiple=True,
    type=(TAXON, str),
    metavar="SPECIES FILE",
    help="Summaries of your own for one species: JSON {gene: text}, or gene, tab, text; repeat it.",
)
@click.option(
    "--taxon",
    "taxa",
    multiple=True,
    type=TAXON,
    metavar="SPECIES",
    help="Only this species, such as mouse or 10090; repeat it.",
)
@click.option(
    "--template",
    default="name+summary",
    show_default=True,
    help="name+summary, summary, name, designations, or a text with {symbol}, {name}, {summary}, "
    "{designations}.",
)
@click.option(
    "--chain",
    default=",".join(_RUNGS),
    show_default=True,
    metavar="RUNGS",
    help="Where a text may come from, best first.",
)
@click.option(
    "--boilerplate",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    metavar="N",
    help="Report summaries that more than N genes share.",
)
@click.option(
    "--keep-provenance", is_flag=True, help="Leave marks such as [provided by RefSeq, Jul 2008]."
)
@click.option("--name", default="genes", show_default=True, help="Name of the corpus.")
@json_option
def import_(
    uri: str,
    gene_info: str,
    gene_summary: str | None,
    gene_orthologs: str | None,
    gene2ensembl: str | None,
    gene_history: str | None,
    strings: tuple[str, ...],
    texts: tuple[tuple[int, str], ...],
    taxa: tuple[int, ...],
    template: str,
    chain: str,
    boilerplate: int,
    keep_provenance: bool,
    name: str,
    as_json: bool,
) -> None:
    """Read gene tables and publish their texts as a corpus version.

    A FILE is a path or a URL, plain or gzip.
    """
    from cellkin.indexer.genes.corpus import (
        CorpusOptions,
        CorpusSources,
        ExtraTexts,
        build_corpus,
    )
    from cellkin.store.store import Store
    from cellkin.terminal.console import print_table

    sources = CorpusSources(
        gene_info=gene_info,
        gene_summary=gene_summary,
        gene_orthologs=gene_orthologs,
        strings=strings,
        gene2ensembl=gene2ensembl,
        gene_history=gene_history,
        extras=tuple(ExtraTexts(location, taxon) for taxon, location in texts),
        taxa=frozenset(taxa) or None,
    )
    options = CorpusOptions(
        template=template,
        chain=_parse_chain(chain),
        strip_provenance=not keep_provenance,
        boilerplate_threshold=boilerplate,
    )
    corpus = build_corpus(sources, options)
    manifest = corpus.report.to_manifest() | {
        "taxa": sorted(taxa),
        "texts": [{"taxon": taxon, "location": location} for taxon, location in texts],
    }
    entry = Store.create(uri).publish_corpus(name, corpus.table, manifest)
    if as_json:
        click.echo(
            json.dumps({"corpus": entry.full_name, "digest": entry.digest, **entry.manifest})
        )
        return
    counts = corpus.report.rungs
    print_table(
        f"Genes by where their text comes from, corpus {entry.full_name}",
        ("text", *(taxon_name(taxon) for taxon in counts)),
        [(rung.label, *(of.get(rung, 0) for of in counts.values())) for rung in TextRung],
    )
    for line in corpus.report.notes():
        click.echo(line)


def _parse_chain(chain: str) -> tuple[TextRung, ...]:
    given = [rung.strip() for rung in chain.split(",")]
    unknown = [rung for rung in given if rung not in _RUNGS]
    if unknown:
        raise InvalidArgumentError(
            f"chain {chain!r}: {unknown[0]!r} is no rung; expected some of {', '.join(_RUNGS)}, "
            "best first, with commas between"
        )
    return tuple(_RUNGS[rung] for rung in given)
