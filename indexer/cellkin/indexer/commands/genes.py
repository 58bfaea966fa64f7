"""``cellkin genes``: import gene texts, embed them."""

import json
from pathlib import Path

import click

from cellkin.terminal.options import json_option
from cellkin.wire.terms import DEFAULT_MODEL, TextRung, taxon_name

store_option = click.option(
    "--store", "uri", required=True, metavar="URI", help="The store: a folder."
)
_file = click.Path(path_type=Path)


@click.group()
def genes() -> None:
    """Import gene texts and embed them."""


@genes.command("import")
@store_option
@click.option("--gene-info", required=True, type=_file, help="NCBI gene_info: the genes.")
@click.option("--gene-summary", type=_file, help="NCBI gene_summary: their texts.")
@click.option("--gene-orthologs", type=_file, help="NCBI gene_orthologs: whose text may stand in.")
@click.option(
    "--string", "strings", multiple=True, type=_file, help="STRING protein.info; repeat it."
)
@click.option(
    "--taxon", "taxa", multiple=True, type=int, metavar="ID", help="Only this species; repeat it."
)
@click.option("--name", default="genes", show_default=True, help="Name of the corpus.")
@json_option
def import_(
    uri: str,
    gene_info: Path,
    gene_summary: Path | None,
    gene_orthologs: Path | None,
    strings: tuple[Path, ...],
    taxa: tuple[int, ...],
    name: str,
    as_json: bool,
) -> None:
    """Read gene tables, plain or gzip, and publish their texts as a corpus version."""
    from cellkin.indexer.genes.corpus import CorpusSources, build_corpus
    from cellkin.store.store import Store
    from cellkin.terminal.console import print_table

    sources = CorpusSources(
        gene_info=gene_info,
        gene_summary=gene_summary,
        gene_orthologs=gene_orthologs,
        strings=strings,
        taxa=frozenset(taxa) or None,
    )
    corpus = build_corpus(sources)
    entry = Store.create(uri).publish_corpus(name, corpus.table, corpus.report.to_manifest())
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


@genes.command()
@store_option
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help="The embedding model, or random:DIM:SEED.",
)
@click.option("--corpus", default="genes", show_default=True, metavar="NAME[@VERSION]")
@json_option
def embed(uri: str, model: str, corpus: str, as_json: bool) -> None:
    """Embed the texts of a corpus by a language model; goes on where it was interrupted."""
    from time import perf_counter

    from cellkin.indexer.embeddings.job import embed_genes
    from cellkin.store.store import Store
    from cellkin.terminal.console import progress_bar
    from cellkin.wire.names import parse_version_name

    store = Store.open(uri)
    start = perf_counter()
    with progress_bar("embedding texts") as progress:
        report = embed_genes(store, model, parse_version_name(corpus, "corpus"), progress)
    seconds = perf_counter() - start
    if as_json:
        counts = {k: v for k, v in vars(report).items() if k != "entry"}
        click.echo(
            json.dumps(
                {
                    "embedding": report.entry.full_name,
                    "digest": report.entry.digest,
                    **counts,
                    "seconds": seconds,
                }
            )
        )
        return
    click.echo(
        f"embedding {report.entry.full_name}: {report.n_genes} genes, "
        f"{report.n_texts} distinct texts ({report.n_embedded} embedded now, "
        f"{report.n_resumed} by an interrupted run, {report.n_reused} for an earlier version), "
        f"{seconds:.1f} s"
        + (f", {report.n_embedded / seconds:.0f} texts/s" if report.n_embedded else "")
    )
    click.echo(f"digest {report.entry.digest}")
