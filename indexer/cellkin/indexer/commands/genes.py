"""``cellkin genes``: gene texts and their embeddings."""

import click

from cellkin.indexer.commands.genes_embed import embed
from cellkin.indexer.commands.genes_fetch import fetch
from cellkin.indexer.commands.genes_import import import_
from cellkin.indexer.commands.genes_load import load
from cellkin.indexer.commands.genes_show import show


@click.group()
def genes() -> None:
    """Import gene texts and embed them."""


for command in (fetch, import_, show, embed, load):
    genes.add_command(command)
