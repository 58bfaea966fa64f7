"""``cellkin genes fetch``: download the gene tables that texts are made from."""

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from cellkin.terminal.options import TAXON, json_option

_MIB = 1 << 20


@click.command()
@click.option(
    "--taxon",
    "taxa",
    multiple=True,
    required=True,
    type=TAXON,
    metavar="SPECIES",
    help="A species, such as mouse, Mus musculus or its NCBI taxonomy id 10090; repeat it.",
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
    """Download the gene tables of NCBI and STRING, resuming partial downloads."""
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
    if len(strings) < len(taxa):
        named = " ".join(path.name.partition(".")[0] for path in strings) or "none"
        click.echo(f"STRING has {len(strings)} of {len(taxa)} species ({named})")
    click.echo(f"next, STORE being the folder of the store:\n  {shlex.join(command)}")


@contextmanager
def _download_bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a progress bar in MiB for each file, one after the other."""
    from cellkin.terminal.console import progress_bar

    with ExitStack() as stack:
        shown: dict[str, Callable[[int, int], None]] = {}

        def show(name: str, done: int, total: int | None) -> None:
            if name not in shown:
                stack.close()
                shown[name] = stack.enter_context(progress_bar(f"{name} (MiB)"))
            shown[name](done // _MIB, (done if total is None else total) // _MIB)

        yield show
