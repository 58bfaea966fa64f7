"""Compare two versions of a corpus or of a gene embedding."""

import json
from typing import TYPE_CHECKING

import click

from cellkin.indexer.commands.options import store_option
from cellkin.indexer.commands.versions import resolve
from cellkin.terminal.options import json_option

if TYPE_CHECKING:
    import numpy as np

    from cellkin.store.catalog import Entry
    from cellkin.store.compare import Difference
    from cellkin.store.corpus import GeneNames
    from cellkin.store.store import Store


def add_diff(group: click.Group, kind: str) -> None:
    """Add the command that compares two versions.

    Parameters
    ----------
    group
        The group of the kind.
    kind
        ``corpus`` or ``embedding``.
    """

    @group.command()
    @click.argument("first", metavar="NAME@VERSION")
    @click.argument("second", metavar="NAME@VERSION")
    @store_option
    @json_option
    def diff(first: str, second: str, uri: str, as_json: bool) -> None:
        """Compare two versions.

        Lists genes added and removed, changed texts and, for embeddings, how far vectors moved.
        """
        from cellkin.store.compare import compare

        store, before = resolve(uri, kind, first)
        _, after = resolve(uri, kind, second)
        found = compare(store, before, after)
        if as_json:
            lists = {
                k: getattr(found, k).tolist() for k in ("added", "removed", "text_changed", "moved")
            }
            far = {"distances": found.distances.tolist(), "n_common": found.n_common}
            click.echo(json.dumps(lists | far))
        else:
            _print(store, before, after, found)


def _print(store: "Store", before: "Entry", after: "Entry", found: "Difference") -> None:
    import numpy as np

    from cellkin.store.catalog import Kind
    from cellkin.store.corpus import corpus_of, read_gene_names
    from cellkin.terminal.console import print_table

    corpora = corpus_of(store, before), corpus_of(store, after)
    new = read_gene_names(store, corpora[1])
    old = new if corpora[0] == corpora[1] else read_gene_names(store, corpora[0])

    def examples(ids: "np.typing.NDArray[np.int64]", names: "GeneNames" = new) -> str:
        at = np.searchsorted(names.gene_ids, ids[:5]).clip(max=len(names.gene_ids) - 1)
        met = zip(ids[:5], at, strict=True)
        return ", ".join(
            f"{names.table['symbol'][int(i)].as_py() or '-'} ({g})"
            if names.gene_ids[i] == g
            else str(g)
            for g, i in met
        )

    far = found.moved[np.argsort(-found.distances, kind="stable")]
    rows = [
        ("genes added", len(found.added), examples(found.added)),
        ("genes removed", len(found.removed), examples(found.removed, old)),
        ("texts changed", len(found.text_changed), examples(found.text_changed)),
    ]
    if after.kind is Kind.EMBEDDING:
        rows.append(("vectors moved, farthest first", len(far), examples(far)))
    print_table(
        f"From {before.full_name} to {after.full_name}", ("what", "n", "such as (GeneID)"), rows
    )
    if len(far):
        click.echo(
            f"moved by (1 - cosine): median {np.median(found.distances):.2g}, "
            f"at most {found.distances.max():.2g}"
        )
