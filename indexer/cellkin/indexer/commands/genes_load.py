"""``cellkin genes load``: publish precomputed gene vectors."""

import json
from pathlib import Path

import click

from cellkin.indexer.commands.options import corpus_option, store_option
from cellkin.terminal.options import json_option, taxon_option


@click.command()
@click.argument("vectors", type=click.Path(path_type=Path))
@store_option
@click.option("--name", required=True, help="Name of the embedding.")
@corpus_option
@taxon_option
@json_option
def load(vectors: Path, uri: str, name: str, corpus: str, taxon: int, as_json: bool) -> None:
    """Publish the precomputed gene vectors of VECTORS as an embedding version.

    VECTORS is an .npz with the arrays genes and vectors, a .parquet with the column gene and a list
    column vector or a column for each dimension, or a .json {gene: [numbers]}. Its genes are of one
    species.
    """
    from cellkin.indexer.embeddings.precomputed import load_vectors
    from cellkin.store.store import Store
    from cellkin.terminal.console import print_table
    from cellkin.wire.names import parse_version_name

    report = load_vectors(
        Store.open(uri), vectors, name, parse_version_name(corpus, "corpus"), taxon
    )
    entry = report.entry
    if as_json:
        click.echo(
            json.dumps({"embedding": entry.full_name, "digest": entry.digest, **entry.manifest})
        )
        return
    print_table(
        f"Genes of {vectors.name}", ("names", "n"), [line[:2] for line in report.match.lines()]
    )
    click.echo(
        f"embedding {entry.full_name}: {entry.manifest['n_genes']} genes, "
        f"{entry.manifest['dim']} dimensions, each vector scaled to length 1"
    )
    if report.n_repeated:
        click.echo(f"left out: {report.n_repeated} names whose gene has the same vector by another")
    click.echo(f"digest {entry.digest}")
