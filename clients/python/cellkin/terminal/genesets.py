"""Print gene sets."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from cellkin.terminal.console import print_table

_SHOWN = 20


def print_sets(collection: str, sets: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print gene sets of a collection.

    Parameters
    ----------
    collection
        The version.
    sets
        ``set``, ``description``, ``n_genes`` and ``n_unmatched`` of each.
    as_json
        Print JSON.
    """
    if as_json:
        click.echo(json.dumps({"collection": collection, "sets": sets}))
        return
    columns = ["set", "n_genes"]
    columns += [name for name in ("n_unmatched", "description") if any(s[name] for s in sets)]
    rows = [[each[name] for name in columns] for each in sets]
    titles = [name.removeprefix("n_") for name in columns]
    print_table(f"Gene sets of {collection}: {len(sets):,}", titles, rows)


def print_set(
    collection: str,
    described: Mapping[str, Any],
    members: Sequence[Mapping[str, Any]],
    unmatched: Sequence[str],
    as_json: bool,
) -> None:
    """Print the genes of a gene set.

    Parameters
    ----------
    collection
        The version.
    described
        As in `print_sets`.
    members
        ``gene_id``, ``symbol``, ``name`` and ``weight`` of each gene.
    unmatched
        The source's gene names without a gene.
    as_json
        Print JSON.
    """
    if as_json:
        genes = {"genes": members, "unmatched": unmatched}
        click.echo(json.dumps({"collection": collection, **described, **genes}))
        return
    columns = ["symbol", "gene_id", "name"]
    if any(each["weight"] != 1 for each in members):
        columns.append("weight")
    rows = [[each[name] for name in columns] for each in members]
    titles = ["GeneID" if name == "gene_id" else name for name in columns]
    print_table(f"Gene set {collection}/{described['set']}", titles, rows)
    if described["description"]:
        click.echo(described["description"])
    if unmatched:
        more = f" and {len(unmatched) - _SHOWN} more" if len(unmatched) > _SHOWN else ""
        click.echo(f"without a gene: {', '.join(unmatched[:_SHOWN])}{more}")
