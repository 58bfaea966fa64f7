"""Options several commands of the indexer have."""

import click

store_option = click.option(
    "--store",
    "uri",
    required=True,
    metavar="URI",
    help="The store: a folder, or s3://, gs://, az://.",
)
corpus_option = click.option(
    "--corpus", default="genes", show_default=True, metavar="NAME[@VERSION]", help="The corpus."
)
