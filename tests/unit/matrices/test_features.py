"""Which columns are genes, by what var says and by their names; and better names in var."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from tests.unit.matrices import conftest as made

from cellkin.matrices.cells import open_cells, open_matrix
from cellkin.matrices.features import ColumnsRead, n_like_genes
from cellkin.matrices.held import held_cells
from cellkin.matrices.options import ReadOptions
from cellkin.wire.errors import (
    GenesUnmatchedError,
    InputFileError,
    InvalidArgumentError,
    NotFoundError,
)

FORMS = ["h5ad", "zarr v3", "zarr v2"]
# Symbols that are not alike but for their numbers, as those of genes.
SYMBOLS = [
    *("INS", "GCG", "SST", "PPY", "GHRL", "PRSS1", "KRT19"),
    *("COL1A1", "PECAM1", "CD68", "CD3E", "CPA1", "TTR", "IAPP"),
]
BARCODES = [f"ACGTACGT{'ACGT'[at % 4] * 4}-{at}" for at in range(14)]


def of_kinds(kinds: Sequence[Any], column: str = "feature_types") -> anndata.AnnData:
    """Counts 1, 2, 3, ... in the columns of every cell, one column a kind."""
    n = len(kinds)
    x = np.tile(np.arange(1, n + 1, dtype=np.float32), (3, 1))
    var = pd.DataFrame({column: list(kinds)}, index=[f"G{at}NE" for at in range(n)])
    return anndata.AnnData(sp.csr_matrix(x), var=var)


def read(data: anndata.AnnData, how: ReadOptions | None = None) -> tuple[list[float], list[str]]:
    """Return the first row that is read, and the notes on what was left out."""
    cells = held_cells(data, how or ReadOptions())
    notes = [note for note in cells.notes if "left out" in note]
    return cells.matrix.rows(0, 1).toarray()[0].tolist(), notes


GENES, TAGS = "Gene Expression", "Antibody Capture"


@pytest.mark.parametrize(
    ("kinds", "kept"),
    [
        ([GENES, TAGS, GENES], [1, 3]),
        (["Peaks", GENES, "Custom", GENES], [2, 4]),
        (["gene expression", "antibody capture"], [1]),
        (['"Gene Expression"', '"Peaks"'], [1]),
        (["GEX", "ADT", "HTO"], [1]),
        (["rna", "protein"], [1]),
        (["Gene_Expression", "CRISPR-Guide-Capture"], [1]),
        (["Genes", "Ab capture", "protein_tag", "AbSeq", "CITE-seq"], [1]),
        (["transcript", "surface_protein"], [1]),
        (["protein_coding", "protein-tag"], [1]),
        # Beside the words for genes any other kind is another measurement, a missing one is not.
        ([GENES, "Multiplexing Thing", None], [1, 3]),
        (["gene", "spike-in", "gene"], [1, 3]),
        ([GENES, "Negative Control Probe", "Unassigned Codeword", "Blank Codeword"], [1]),
        # Stubs, and words of which nothing is known.
        (["unknown"] * 3, [1, 2, 3]),
        ([""] * 3, [1, 2, 3]),
        (["Genes"] * 3, [1, 2, 3]),
        (["protein_coding", "lncRNA", "gene"], [1, 2, 3]),
        (["protein_coding", "lncRNA", TAGS], [1, 2]),
    ],
)
def test_kinds_of_features(kinds: list[Any], kept: list[float]) -> None:
    row, notes = read(of_kinds(kinds))
    assert row == kept
    n_left_out = len(kinds) - len(kept)
    assert len(notes) == bool(n_left_out)
    assert all(f"left out {n_left_out} features that are not genes: " in note for note in notes)


@pytest.mark.parametrize(
    "column",
    ["feature_types", "Feature Type", "featureType", "feature.types", "modality", "Type"],
)
def test_columns_that_say_the_kind(column: str) -> None:
    assert read(of_kinds([GENES, TAGS], column))[0] == [1]
    assert read(of_kinds([GENES, TAGS], "remark"))[0] == [1, 2]


def test_of_several_columns_the_first_that_says_something_decides() -> None:
    data = of_kinds(["unknown", "unknown", "unknown"])
    data.var["type"] = ["protein", GENES, GENES]
    assert read(data)[0] == [2, 3]
    data.var["feature_types"] = [GENES, GENES, TAGS]
    assert read(data)[0] == [1, 2]


@pytest.mark.parametrize("kinds", [[TAGS] * 2, ["Peaks", TAGS], ["CRISPR Guide Capture"] * 2])
def test_files_without_genes_are_refused_with_what_they_have(kinds: list[str]) -> None:
    with pytest.raises(InputFileError, match="no Gene Expression features, only") as error:
        read(of_kinds(kinds))
    assert all(kind in str(error.value) for kind in kinds)


@pytest.mark.parametrize("form", [*FORMS, "zarr zip", "h5ad dense", "h5ad csc"])
def test_every_reader_of_a_file_has_the_same_columns(
    form: str, data: anndata.AnnData, make_form: Callable[..., Path]
) -> None:
    kept = [at for at in range(made.N_GENES) if at not in made.ANTIBODIES_AT]
    data.var["feature_types"] = pd.Categorical(
        np.where(np.isin(np.arange(made.N_GENES), kept), GENES, TAGS)
    )
    path = make_form(form, data)
    expected = data.X.toarray()[:, kept]
    with open_cells(path) as cells:
        assert cells.gene_names == [made.ensembl()[at] for at in kept]
        assert list(cells.var.frame()["symbol"]) == [made.symbols()[at] for at in kept]
        np.testing.assert_array_equal(cells.matrix.rows(0, 90).toarray(), expected)
        assert cells.notes[0] == "left out 2 features that are not genes: Antibody Capture"
    with open_matrix(path) as matrix:
        assert matrix.n_columns == len(kept)
        np.testing.assert_array_equal(matrix.rows(5, 70).toarray(), expected[5:70])
    held = held_cells(data)
    assert held.gene_names == [made.ensembl()[at] for at in kept]
    np.testing.assert_array_equal(held.matrix.rows(0, 90).toarray(), expected)


def named(names: Sequence[str]) -> anndata.AnnData:
    x = np.tile(np.arange(1, len(names) + 1, dtype=np.float32), (3, 1))
    return anndata.AnnData(sp.csr_matrix(x), var=pd.DataFrame(index=list(names)))


@pytest.mark.parametrize(
    ("name", "gene"),
    [
        ("NegControlProbe_00042", False),
        ("NegControlCodeword_0500", False),
        ("BLANK_0180", False),
        ("Blank-1", False),
        ("UnassignedCodeword_0001", False),
        ("DeprecatedCodeword_0001", False),
        ("antisense_LINC01", False),
        ("Intergenic_Region_1", False),
        ("SystemControl12", False),
        ("FalseCode7", False),
        ("NegPrb3", False),
        ("ERCC-00002", False),
        ("ERCC1", True),
        ("NEGR1", True),
        ("chr1:1000-2000", False),
        ("CD3_TotalSeqB", False),
        ("CD3E", True),
        ("nan", True),
    ],
)
def test_names_that_are_plainly_no_genes(name: str, gene: bool) -> None:
    row, notes = read(named(["INS", name, "GCG"]))
    assert row == ([1, 2, 3] if gene else [1, 3])
    assert len(notes) == (not gene)
    assert all("left out 1 features that are not genes by their names: 1 " in n for n in notes)
    assert all(name in note for note in notes)


def test_what_was_left_out_by_name_is_counted() -> None:
    names = ["INS", *(f"BLANK_{at:04}" for at in range(20)), "CD3_TotalSeqB", "GCG"]
    row, (note,) = read(named(names))
    assert row == [1, 23]
    assert "left out 21 features" in note
    assert "20 controls (BLANK_0000, BLANK_0001, BLANK_0002, ...)" in note
    assert "1 antibody tags (CD3_TotalSeqB)" in note


def test_peaks_alone_are_refused() -> None:
    with pytest.raises(InputFileError, match=r"has no genes: .+ 2 genomic regions \(chr1:1-500"):
        read(named(["chr1:1-500", "chr1:700-1500"]))


@pytest.mark.parametrize("form", [*FORMS, "10x h5", "10x folder", "loom"])
def test_names_from_a_column(
    form: str, data: anndata.AnnData, make_form: Callable[..., Path]
) -> None:
    column = {"loom": "Gene", "10x h5": "gene_names", "10x folder": "gene_names"}.get(
        form, "symbol"
    )
    path = make_form(form, data)
    with open_cells(path, ReadOptions(gene_column=column)) as cells:
        assert cells.gene_names == made.symbols()
        np.testing.assert_array_equal(cells.matrix.rows(0, 90).toarray(), data.X.toarray())
    with pytest.raises(NotFoundError, match=rf"no var column 'x' for the gene names; .*{column}"):
        open_cells(path, ReadOptions(gene_column="x")).__enter__()


def test_the_index_may_be_named_as_the_column(tmp_path: Path) -> None:
    data = named(["INS", "GCG", "SST"])
    data.var.index.name = "symbol"
    held = held_cells(data, ReadOptions(gene_column="symbol"))
    assert held.gene_names == ["INS", "GCG", "SST"]
    data.write_h5ad(tmp_path / "a.h5ad")
    with open_cells(tmp_path / "a.h5ad", ReadOptions(gene_column="symbol")) as cells:
        assert cells.gene_names == ["INS", "GCG", "SST"]


def test_names_that_are_missing_in_a_column_are_empty() -> None:
    data = named(["a", "b", "c", "d"])
    data.var["symbol"] = pd.Categorical(["INS", None, "BLANK_1", "GCG"])
    cells = held_cells(data, ReadOptions(gene_column="symbol"))
    assert cells.gene_names == ["INS", "", "GCG"]
    assert cells.matrix.rows(0, 1).toarray().tolist() == [[1, 2, 4]]
    with pytest.raises(NotFoundError, match="'x' for the gene names; it has: symbol"):
        held_cells(data, ReadOptions(gene_column="x"))


def test_names_of_raw_are_of_its_own_var(tmp_path: Path, data: anndata.AnnData) -> None:
    full = data.raw.to_adata()
    full.var["name"] = [f"N{at}AME" for at in range(full.n_vars)]
    full.var["feature_types"] = [TAGS, *[GENES] * (full.n_vars - 1)]
    data.raw = full
    path = made.write_h5ad(data, tmp_path / "a.h5ad")
    with open_cells(path, ReadOptions(raw=True, gene_column="name")) as cells:
        assert cells.gene_names == list(full.var["name"])[1:]
    with open_cells(path) as cells:
        assert cells.gene_names == made.ensembl()


def test_row_numbers_are_named_with_the_column_of_names() -> None:
    data = named([str(at) for at in range(len(SYMBOLS))])
    data.var["feature_name"] = pd.Categorical(SYMBOLS)
    data.var["kind"] = ["protein_coding"] * len(SYMBOLS)
    data.var["barcode"] = BARCODES
    data.var["description"] = [f"insulin number {at}" for at in range(len(SYMBOLS))]
    data.var["length"] = 1000
    data.var["variable"] = True
    cells = held_cells(data)
    hint = cells.gene_hint()
    assert "'feature_name' (14 names)" in hint
    assert "--gene-column feature_name" in hint
    assert not any(column in hint for column in data.var.columns[1:])
    assert [note for note in cells.notes if hint in note]
    assert held_cells(data, ReadOptions(gene_column="feature_name")).gene_hint() == ""


def test_names_like_genes_are_not_doubted() -> None:
    data = named(SYMBOLS)
    data.var["gene_ids"] = made.ensembl(len(SYMBOLS))
    cells = held_cells(data)
    assert cells.notes == []
    assert "'gene_ids' (14 names)" in cells.gene_hint()


def test_the_refusal_of_names_has_the_hint(tmp_path: Path) -> None:
    data = named(SYMBOLS)
    path = made.write_h5ad(data, tmp_path / "without.h5ad")
    refused = GenesUnmatchedError("too few genes", {"genes_given": "14"})
    with pytest.raises(GenesUnmatchedError, match=r"^too few genes$"), open_cells(path):
        raise refused
    data.var["ensembl_id"] = made.ensembl(len(SYMBOLS))
    path = made.write_h5ad(data, tmp_path / "with.h5ad")
    with (
        pytest.raises(
            GenesUnmatchedError, match=r"too few genes\. .*--gene-column ensembl_id"
        ) as e,
        open_cells(path),
    ):
        raise refused
    assert e.value.metadata == {"genes_given": "14"}


@pytest.mark.parametrize("metadata", [{"first_name": "0", "last_name": "13"}, {}])
def test_the_refusal_of_row_numbers_has_the_hint(metadata: dict[str, str], tmp_path: Path) -> None:
    data = named([str(at) for at in range(len(SYMBOLS))])
    data.var["symbol"] = SYMBOLS
    path = made.write_h5ad(data, tmp_path / "a.h5ad")
    with pytest.raises(InvalidArgumentError) as error, open_cells(path):
        raise InvalidArgumentError("no names", metadata, field="header.genes")
    assert ("--gene-column symbol" in str(error.value)) == bool(metadata)
    assert error.value.field == "header.genes"


def test_what_looks_like_a_gene() -> None:
    assert n_like_genes(SYMBOLS) == len(SYMBOLS)
    assert n_like_genes([*SYMBOLS, *SYMBOLS]) == len(SYMBOLS)
    assert n_like_genes(["HLA-DRB1", "mt-Nd1", "ENSG00000254647.7", "14-3-3e", "nan", "12"]) == 3
    assert n_like_genes([*BARCODES, "BLANK_1", "protein coding", "", "x" * 40]) == 0


def test_values_are_spread_over_all_columns() -> None:
    of = ColumnsRead(4, np.array([1, 3]))
    assert of.spread(np.array([5, 6], np.uint8), 255).tolist() == [255, 5, 255, 6]
    assert ColumnsRead(2).spread(np.array([5, 6]), 0).tolist() == [5, 6]


def test_files_of_cellxgene_are_read_as_they_come(tmp_path: Path) -> None:
    """Their schema: Ensembl ids in the index, names beside them, counts in raw, spike-ins."""
    ids = [*made.ensembl(6), "ERCC-00002"]
    counts = np.random.default_rng(0).poisson(3, (20, 7)).astype(np.float32)
    var = pd.DataFrame(
        {
            "feature_is_filtered": [False, True, False, False, False, False, False],
            "feature_name": pd.Categorical([*SYMBOLS[:6], "ERCC-00002 (spike-in control)"]),
            "feature_reference": pd.Categorical(["NCBITaxon:9606"] * 6 + ["NCBITaxon:32630"]),
            "feature_biotype": pd.Categorical(["gene"] * 6 + ["spike-in"]),
            "feature_length": pd.Categorical(["1000"] * 7),
            "feature_type": pd.Categorical(["protein_coding"] * 6 + ["synthetic"]),
        },
        index=pd.Index(ids, name="ensembl_id"),
    )
    data = anndata.AnnData(sp.csr_matrix(counts), var=var)
    data.raw = data
    data.X = sp.csr_matrix(np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4))
    path = made.write_h5ad(data, tmp_path / "a.h5ad")
    with open_cells(path) as cells:
        assert cells.gene_names == ids[:6]
        assert "log1p" in cells.units.why
        assert [note for note in cells.notes if "counts may be in --raw" in note]
    with open_cells(path, ReadOptions(raw=True)) as cells:
        assert cells.gene_names == ids[:6]
        np.testing.assert_array_equal(cells.matrix.rows(0, 20).toarray(), counts[:, :6])
        assert [note for note in cells.notes if "left out 1 features" in note]
        assert not [note for note in cells.notes if "counts may be in" in note]
