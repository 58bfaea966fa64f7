"""``cellkin genes show``: show a gene of a corpus."""

import json
from typing import Any

import click

from cellkin.indexer.commands.options import corpus_option, store_option
from cellkin.terminal.options import json_option, taxon_option
from cellkin.wire.species import taxon_name
from cellkin.wire.terms import TextRung


@click.command()
@click.argument("gene")
@taxon_option
@corpus_option
@store_option
@json_option
def show(gene: str, taxon: int, corpus: str, uri: str, as_json: bool) -> None:
    """Show the corpus entry of GENE: its names, its text and the source of the text.

    GENE is a symbol, a synonym, an Ensembl id or an NCBI GeneID.
    """
    import pyarrow.compute as pc

    from cellkin.store.catalog import Kind
    from cellkin.store.corpus import find_gene, read_gene_names
    from cellkin.store.store import Store
    from cellkin.wire.names import parse_version_name

    store = Store.open(uri)
    entry = store.catalog.resolve(Kind.CORPUS, parse_version_name(corpus, "corpus"))
    names = read_gene_names(store, entry)
    gene_id = int(names.gene_ids[find_gene(names, gene, taxon)])
    rows = store.corpus(entry)
    (record,) = rows.filter(pc.equal(rows["gene_id"], gene_id)).to_pylist()
    threshold = entry.manifest.get("settings", {}).get("boilerplate_threshold")
    record |= {
        "corpus": entry.full_name,
        "rung": TextRung(record["rung"]).label,
        "is_orthologs_text": record["rung"] == TextRung.ORTHOLOG_SUMMARY,
        "is_boilerplate": threshold is not None and record["n_sharing"] > threshold,
    }
    if as_json:
        click.echo(json.dumps(record))
        return
    for what, value in _described(record):
        click.echo(f"{what:<14}{value}")
    if record["text"]:
        click.echo(f"\n{record['text']}")


def _described(record: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [
        ("gene", f"{record['symbol'] or '-'}, {taxon_name(record['taxon'])}"),
        ("GeneID", str(record["gene_id"])),
        ("taxon", str(record["taxon"])),
        ("name", record["name"] or "-"),
        ("type", record["gene_type"] or "-"),
        *[("other symbol", name) for name in record.get("other_symbols", ())],
        ("synonyms", ", ".join(record["synonyms"]) or "-"),
        ("Ensembl ids", ", ".join(record["ensembl_ids"]) or "-"),
        ("corpus", record["corpus"]),
        ("text from", record["rung"]),
    ]
    if not record["text"]:
        return lines
    lines.append(("source", record["text_source"]))
    if record["is_orthologs_text"]:
        of = f"GeneID {record['text_gene_id']}, of another species: no text of this gene itself"
        lines.append(("text of", of))
    shared = f"{record['n_sharing']:,} genes rest on this summary"
    boilerplate = ": boilerplate, it says little of any of them"
    if record["n_sharing"] > 1:
        lines.append(("shared", shared + boilerplate * record["is_boilerplate"]))
    return [*lines, ("SHA-256", record["text_sha256"])]
