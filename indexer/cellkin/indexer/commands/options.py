"""Options shared by several commands of the indexer."""

from pathlib import Path

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
ontology_option = click.option(
    "--ontology",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE.obo",
    help="Labels are its terms, by id or name, such as those of the Cell Ontology.",
)
literal_labels_option = click.option(
    "--literal-labels",
    is_flag=True,
    help="Labels are as written: unknown, nan, NA and '' are types, spaces around them count.",
)
