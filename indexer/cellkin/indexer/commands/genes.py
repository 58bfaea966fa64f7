"""``cellkin genes``: gene texts and their embeddings."""

import click

from cellkin.indexer.commands.genes_embed import embed
from cellkin.indexer.commands.genes_fetch import fetch
from cellkin.indexer.commands.genes_import import import_
from cellkin.indexer.commands.genes_load import load
from cellkin.indexer.commands.genes_resolve import resolve
from cellkin.indexer.commands.genes_show import show
from cellkin.store.machine import limit_threads, n_cores


@click.group()
def genes() -> None:
    """Import gene texts, look genes up, and embed the texts."""
    limit_threads(n_cores())


for command in (fetch, import_, show, resolve, embed, load):
    genes.add_command(command)
