"""What an index is warned about by the catalog."""

from typing import Any

from cellkin.indexer.cells.report import cautions_of
from cellkin.store.catalog import CatalogView, Entry, Kind


def entry(kind: Kind, name: str, manifest: dict[str, Any]) -> Entry:
    return Entry(kind, name, "2026-01-02.1", "2026-01-02T00:00:00+00:00", "ab", manifest)


def test_an_index_of_a_partial_embedding_is_warned_of() -> None:
    only = {"only": {"files": ["a.h5ad"], "n_left_out": 1234}}
    some, whole = entry(Kind.EMBEDDING, "some", only), entry(Kind.EMBEDDING, "whole", {})
    view = CatalogView([some, whole], {}, {})

    def said(**manifest: Any) -> list[str]:
        return cautions_of(view, entry(Kind.INDEX, "cells", manifest))

    (found,) = said(embedding=some.full_name)
    assert found.startswith(f"{some.full_name} has vectors of the genes of some files only: 1,234")
    assert not said(embedding=whole.full_name)
    assert not said(embedding="gone@2026-01-02.1")
    assert not said()  # of expression alone
