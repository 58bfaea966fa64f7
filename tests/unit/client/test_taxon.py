"""A species by its name, wherever Python takes a taxon."""

import pytest

from cellkin.client.calls import genes, messages
from cellkin.client.explaining import Asked
from cellkin.client.labels.labeling import Settings
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import ExpressionUnits


def taxa_asked(taxon: int | str) -> list[int]:
    """The species of every request that has one."""
    units = ExpressionUnits.LINEAR
    search = genes.search_genes("INS", taxon=taxon, target_taxon=taxon).request
    asked = (
        genes.get_gene("INS", taxon=taxon),
        genes.batch_get_genes(["INS"], taxon=taxon),
        genes.resolve_genes(["INS"], taxon=taxon),
    )
    headers = (
        messages.query_header("i", ["INS"], units, taxon),
        messages.search_header("i", 3, (), False, ["INS"], units, taxon, None),
    )
    return [
        search.taxon,
        search.target_taxon,
        *(call.request.taxon for call in asked),
        *(header.taxon for header in headers),
        Settings("i", taxon).options()["taxon"],
        Asked("i", taxon).taxon,
    ]


@pytest.mark.parametrize("taxon", [10090, "10090", "mouse", "Mus musculus"])
def test_names_and_ids_ask_the_same(taxon: int | str) -> None:
    assert set(taxa_asked(taxon)) == {10090}


def test_none_is_inferred() -> None:
    assert set(taxa_asked(0)) == {0}


def test_an_unknown_name_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(InvalidArgumentError, match="did you mean mouse"):
        taxa_asked("mose")
