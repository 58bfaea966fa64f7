"""``cellkin genes fetch``, ``import`` and ``show``: the texts of genes."""

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from cellkin.indexer.commands.options import corpus_option, store_option
from cellkin.terminal.options import json_option, taxon_option
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import TextRung, taxon_name

_RUNGS = {
    "own": TextRung.OWN_SUMMARY,
    "string": TextRung.STRING_FUNCTION,
    "ortholog": TextRung.ORTHOLOG_SUMMARY,
    "names": TextRung.DESIGNATIONS,
}
"""Short names of the rungs a chain is made of."""
_MIB = 1 << 20


@click.command()
@click.option(
    "--taxon",
    "taxa",
    multiple=True,
    required=True,
    type=int,
    metavar="ID",
    help="A species, by NCBI taxonomy id; repeat it.",
)
@click.option(
    "--into", "folder", required=True, type=click.Path(path_type=Path), help="Where the files go."
)
@click.option("--ncbi-url", metavar="URL", help="Another folder with the files of NCBI Gene.")
@click.option("--string-url", metavar="URL", help="Another folder with the releases of STRING.")
@json_option
def fetch(
    taxa: tuple[int, ...], folder: Path, ncbi_url: str | None, string_url: str | None, as_json: bool
) -> None:
    """Download the gene tables of NCBI and STRING; goes on where it was cut off."""
    from cellkin.indexer.genes.fetch import NCBI_FILES, NCBI_URL, STRING_URL, fetch_gene_files
    from cellkin.terminal.console import print_table

    taxa = tuple(dict.fromkeys(taxa))
    with _download_bars() as progress:
        found = fetch_gene_files(
            folder,
            taxa,
            ncbi_url=ncbi_url or NCBI_URL,
            string_url=string_url or STRING_URL,
            progress=progress,
        )
    strings = [each.path for each in found[len(NCBI_FILES) :]]
    command = ["cellkin", "genes", "import", "--store", "STORE"]
    for each, name in zip(found, NCBI_FILES, strict=False):
        command += [f"--{name.removesuffix('.gz').replace('_', '-')}", str(each.path)]
    for path in strings:
        command += ["--string", str(path)]
    for taxon in taxa:
        command += ["--taxon", str(taxon)]
    if as_json:
        files = [{"path": str(f.path), "changed": f.changed, **vars(f.record)} for f in found]
        click.echo(json.dumps({"files": files, "import": command}))
        return
    print_table(
        f"Files in {folder}",
        ("file", "MB", "Last-Modified", "SHA-256", ""),
        [
            (
                each.path.name,
                f"{each.record.n_bytes / 1e6:,.1f}",
                each.record.last_modified or "-",
                each.record.sha256[:16],
                "new" if each.changed else "unchanged",
            )
            for each in found
        ],
    )
    click.echo(f"next, STORE being the folder of the store:\n  {shlex.join(command)}")


@contextmanager
def _download_bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show one bar after the other, in MiB, for files that come one after the other."""
    from cellkin.terminal.console import progress_bar

    with ExitStack() as stack:
        shown: dict[str, Callable[[int, int], None]] = {}

        def show(name: str, done: int, total: int | None) -> None:
            if name not in shown:
                stack.close()
                shown[name] = stack.enter_context(progress_bar(f"{name} (MiB)"))
            shown[name](done // _MIB, (done if total is None else total) // _MIB)

        yield show


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
    type=(int, str),
    metavar="TAXON FILE",
    help="Summaries of your own for one species: JSON {gene: text}, or gene, tab, text; repeat it.",
)
@click.option(
    "--taxon", "taxa", multiple=True, type=int, metavar="ID", help="Only this species; repeat it."
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


@click.command()
@click.argument("gene")
@taxon_option
@corpus_option
@store_option
@json_option
def show(gene: str, taxon: int, corpus: str, uri: str, as_json: bool) -> None:
    """Show GENE, a symbol or an identifier, as the corpus has it: its text and where from."""
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
