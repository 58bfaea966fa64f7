"""The column of donors that nobody named."""

import pytest

from cellkin.indexer.cells.donors import find_donors


def found(columns: dict[str, list[str | None]], label: str = "cell_type") -> str:
    return find_donors(list(columns), columns.__getitem__, label)


def repeated(n_distinct: int, each: int = 20) -> list[str | None]:
    return [f"d{i % n_distinct}" for i in range(n_distinct * each)]


@pytest.mark.parametrize(
    "name",
    [
        "donor", "Donor", "donor_id", "donor ID", "patient", "PatientNumber", "individual", "ind",
        "participant",
        "subject.id", "mouse", "animal", "sample", "sample_name", "orig.ident", "batch", "Batch_ID",
        "library", "replicate", "channel",
    ],
)  # fmt: skip
def test_is_known_by_its_name(name: str) -> None:
    assert found({"cell_type": repeated(3), name: repeated(3), "n_genes": repeated(3)}) == name


@pytest.mark.parametrize(
    "name",
    [
        "index",
        "sampled",
        "mouse_line",
        "donor_age",
        "sample_type",
        "batch_corrected",
        "barcode",
        "",
    ],
)
def test_is_no_other_column(name: str) -> None:
    assert found({name: repeated(3)}) == ""


def test_donors_come_before_samples_and_samples_before_batches() -> None:
    columns = {"batch": repeated(2), "sample": repeated(4), "donor": repeated(3)}
    assert found(columns) == "donor"
    del columns["donor"]
    assert found(columns) == "sample"


def test_has_several_donors_of_enough_cells() -> None:
    assert found({"donor": repeated(1)}) == ""
    assert found({"donor": repeated(2, 19)}) == ""
    assert found({"donor": repeated(60, 1)}) == ""
    assert found({"donor": [None] * 60}) == ""
    assert found({"donor": [*repeated(2), *[None] * 60]}) == "donor"
    assert found({"donor": repeated(60, 1), "batch": repeated(2, 30)}) == "batch"


def test_is_not_the_label() -> None:
    assert found({"sample": repeated(3)}, "sample") == ""
    assert found({"sample": repeated(3), "batch": repeated(3)}, "tissue, sample") == "batch"
