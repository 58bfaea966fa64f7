"""``cellkin corpora diff``: genes are shown with the symbol that they have or had."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from click.testing import CliRunner

from cellkin.indexer.commands.corpora import corpora
from cellkin.store.store import Store


def test_genes_that_were_removed_have_their_symbol(
    tmp_path: Path, make_corpus: Callable[[], pa.Table]
) -> None:
    store = Store.create(str(tmp_path / "store"))
    whole = make_corpus()
    first = store.publish_corpus("genes", whole, {}).full_name
    second = store.publish_corpus("genes", whole.slice(1), {}).full_name
    for asked in ([first, second], [second, first]):
        command = ["diff", *asked, "--store", store.uri]
        shown = CliRunner().invoke(corpora, command, catch_exceptions=False)
        assert "GENE1 (1)" in shown.output
