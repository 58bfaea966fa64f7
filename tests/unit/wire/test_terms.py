"""The terms here and those of the protos are the same numbers."""

import pickle
from enum import IntEnum

import pytest

from cellkin.v1 import (
    catalog_service_pb2,
    cell_service_pb2,
    gene_service_pb2,
    gene_set_service_pb2,
)
from cellkin.wire.terms import (
    ExpressionUnits,
    GeneRoute,
    GeneSetKind,
    TextRung,
    UnknownReason,
    VersionKind,
)


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (TextRung, gene_service_pb2.TextRung, "TEXT_RUNG_"),
        (GeneRoute, cell_service_pb2.GeneRoute, "GENE_ROUTE_"),
        (ExpressionUnits, cell_service_pb2.ExpressionUnits, "EXPRESSION_UNITS_"),
        (VersionKind, catalog_service_pb2.VersionKind, "VERSION_KIND_"),
        (GeneSetKind, gene_set_service_pb2.GeneSetKind, "GENE_SET_KIND_"),
        (UnknownReason, cell_service_pb2.UnknownReason, "UNKNOWN_REASON_"),
    ],
)
def test_numbers_agree(ours: type[IntEnum], theirs: object, prefix: str) -> None:
    values = theirs.DESCRIPTOR.values  # type: ignore[attr-defined]
    used = [value for value in values if value.number and not value.GetOptions().deprecated]
    wire = {value.name: value.number for value in used}
    assert wire == {prefix + member.name: member.value for member in ours if member.value}


def test_every_term_has_a_label() -> None:
    for kind in (TextRung, GeneRoute, GeneSetKind, UnknownReason):
        labels = [member.label for member in kind]
        assert len(set(labels)) == len(labels)


def test_a_term_of_a_newer_release_has_its_number() -> None:
    for kind in (TextRung, GeneRoute, VersionKind, UnknownReason):
        other = kind(99)
        assert (other, other in set(kind), isinstance(other, kind)) == (99, False, True)
        assert pickle.loads(pickle.dumps(other)) == other
        with pytest.raises(ValueError, match="is not a valid"):
            kind("99")  # type: ignore[arg-type]
    assert {kind(99).label for kind in (TextRung, GeneRoute, GeneSetKind, UnknownReason)} == {
        "other (99)"
    }
