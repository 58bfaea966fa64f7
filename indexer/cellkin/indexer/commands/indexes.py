"""``cellkin indexes``: look at cell indexes and what is certified of them."""

import click


@click.group()
def indexes() -> None:
    """Look at cell indexes and what is certified of them."""
