"""``cellkin search genes``: search a server for the genes nearest to genes, a text or a vector."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellkin.cli.records import neighborhood_record
from cellkin.terminal.options import TAXON, json_option, server_option, taxon_option
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.species import taxon_name
from cellkin.wire.terms import GeneScore

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from cellkin.client import Client, GeneNeighborhood

_MOST_SHOWN = 10


@click.command()
@click.argument("genes", nargs=-1, metavar="[GENE]...")
@click.option("--set", "of_set", metavar="COLLECTION/SET", help="Ask for the genes of a gene set.")
@click.option("--text", help="Ask for a free text, if the server has loaded the language model.")
@click.option(
    "--vector",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Ask for a vector as the model returns it: .npy, or numbers in a text file.",
)
@taxon_option
@click.option("-k", type=int, default=10, show_default=True, help="Neighbors, 1 to 1000.")
@click.option(
    "--embedding", default="", metavar="MODEL[@VERSION]", help="The gene embedding to ask."
)
@click.option(
    "--target-taxon", "taxa", type=TAXON, multiple=True, metavar="SPECIES",
    help="Search this species; may be repeated.  [default: that of the genes]",
)  # fmt: skip
@click.option(
    "--gene-type", "gene_types", multiple=True, metavar="TYPE",
    help="Search this NCBI gene type, * for any; may be repeated.  [default: protein-coding]",
)  # fmt: skip
@click.option(
    "--expressed-in", default="", metavar="INDEX[@VERSION]",
    help="Search only genes expressed in the reference of a cell index.",
)  # fmt: skip
@click.option(
    "--in-set", "gene_set", default="", metavar="COLLECTION/SET",
    help="Search only genes of a gene set.",
)  # fmt: skip
@click.option(
    "--compare", "compared", multiple=True, metavar="MODEL[@VERSION]",
    help="Another embedding to give the rank in; may be repeated.",
)  # fmt: skip
@click.option(
    "--score", type=click.Choice([score.label for score in GeneScore]),
    help="What orders genes: cosine, csls (corrected for genes near to everything), or fused with "
    "the embeddings of --compare.  [default: cosine]",
)  # fmt: skip
@click.option(
    "--control", "controls", multiple=True, type=click.Choice(["permuted", "symbol-only"]),
    help="A control to give the rank in; may be repeated.",
)  # fmt: skip
@server_option
@json_option
def genes(
    genes: tuple[str, ...],
    of_set: str | None,
    text: str | None,
    vector: Path | None,
    score: str | None,
    compared: tuple[str, ...],
    server: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Find the genes whose texts are most similar to those of GENEs.

    GENE is a symbol, a synonym, an Ensembl id or an NCBI GeneID.

    What is near is described alike; that is no evidence that genes interact.
    """
    from cellkin.cli.connection import connect

    given = {"GENE": genes, "--set": of_set, "--text": text, "--vector": vector}
    named = [name for name, value in given.items() if value]
    if len(named) != 1:
        raise click.UsageError(
            f"{' and '.join(named) or 'nothing'} given to search for; give genes, --set, --text or "
            "--vector"
        )
    query: dict[str, Any] = {"text": text} if text else {}
    if vector:
        query = {"vector": _read_vector(vector)}
    with connect(server) as client:
        if genes:
            query = {"name": genes[0] if len(genes) == 1 else genes}
        elif of_set:
            query = {"name": _genes_of(client, of_set)}
        found = client.search_genes(
            **query, **asked, score=score or "", compare_embeddings=compared
        )
    what = of_set or (f"the text {text!r}" if text else f"the vector of {vector}")
    if as_json:
        click.echo(json.dumps(neighborhood_record(found), indent=1))
    else:
        _print(found, what)


def _genes_of(client: "Client", of_set: str) -> list[str]:
    collection, _, name = of_set.partition("/")
    if not name:
        raise click.UsageError(f"--set {of_set!r} has no collection; write COLLECTION/SET")
    members = client.get_gene_set(collection, name)
    return [str(member.gene.gene_id) for member in members]


def _read_vector(path: Path) -> "npt.NDArray[np.float32]":
    import numpy as np

    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
        words = path.read_text(encoding="utf-8").replace(",", " ").split()
        return np.array([float(word) for word in words], np.float32)
    except (ValueError, EOFError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(
            f"{path} is no vector: {error}; give an array as .npy, or numbers separated by spaces, "
            "commas or lines",
            field="vector",
        ) from error


def _print(found: "GeneNeighborhood", what: str) -> None:
    from cellkin.terminal.console import print_table

    if len(found.genes) == 1:
        gene = found.gene
        what = f"{gene.symbol} ({taxon_name(gene.taxon)}, GeneID {gene.gene_id})"
    elif found.genes:
        what = f"{len(found.genes)} genes ({_listed([gene.symbol for gene in found.genes])})"
    columns = found.columns()
    ranked = [name for name in columns if name.startswith("rank in ")]
    scored = [] if found.score is GeneScore.COSINE else ["score"]
    several = ["species"] if len(found.searched.taxa) > 1 else []
    heads = ["symbol", "GeneID", *several, *scored, "cosine", "percentile", *ranked, "name", "text"]
    cells: dict[str, Any] = {
        "species": [taxon_name(hit.taxon) for hit in found.hits],
        "score": [f"{score:.3f}" for score in found.scores],
        "cosine": [f"{cosine:.3f}" for cosine in found.similarities],
        "GeneID": [hit.gene_id for hit in found.hits],
        "percentile": [f"{100 * share:.1f}" for share in found.background_percentiles],
    }
    shown = [(columns | cells)[head] for head in heads]
    print_table(
        f"Genes nearest to {what} in {found.versions.embedding}",
        tuple(heads),
        list(zip(*shown, strict=True)),
    )
    click.echo(f"searched: {found.n_searched:,} genes, {found.searched}")
    click.echo("pages of genes: https://www.ncbi.nlm.nih.gov/gene/GENEID")
    if found.unmatched:
        click.echo(f"not used, no single gene with a text: {_listed(found.unmatched)}")
    click.echo(found.caution)
    for warning in found.warnings:
        click.secho(f"WARNING: {warning}", fg="yellow")


def _listed(names: Any) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more
