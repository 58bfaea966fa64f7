"""Folders of Matrix Market text by the names that tools and archives give them."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from tests.unit.matrices import conftest as made

from cellkin.matrices.cells import open_cells, open_matrix
from cellkin.wire.errors import InputFileError


def write(
    folder: Path,
    data: anndata.AnnData,
    matrix: str,
    features: str,
    barcodes: str,
    *,
    cells_first: bool = False,
    header: bool = False,
) -> Path:
    """Write a matrix and its lists under names, packed where these end in .gz."""
    folder.mkdir(exist_ok=True)
    x = data.X if cells_first else data.X.T
    plain = folder / "plain"
    scipy.io.mmwrite(plain, sp.coo_matrix(x.astype(np.int32)))
    lines = (folder / "plain.mtx").read_text()
    (folder / "plain.mtx").unlink()
    sign = "," if ".csv" in features else "\t"
    rows = [sign.join(row) for row in zip(made.ensembl(), made.symbols(), strict=True)]
    cells = list(data.obs_names)
    if header:
        rows.insert(0, sign.join(["gene_id", "gene_name"]))
        cells.insert(0, "bc_wells")
    texts = {matrix: lines, features: "\n".join(rows) + "\n", barcodes: "\n".join(cells) + "\n"}
    for name, text in texts.items():
        content = text.encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder / matrix


SETS = {
    "geo": ("GSM1_s1_matrix.mtx.gz", "GSM1_s1_features.tsv.gz", "GSM1_s1_barcodes.tsv.gz"),
    "geo, genes": ("GSM1_s1.matrix.mtx.gz", "GSM1_s1.genes.tsv.gz", "GSM1_s1.barcodes.tsv.gz"),
    "geo, within": ("GSM1_matrix_s1.mtx", "GSM1_genes_s1.tsv", "GSM1_barcodes_s1.tsv"),
    "counts": ("counts.mtx", "genes.tsv", "barcodes.tsv"),
    "atlas": ("E-1.counts.mtx.gz", "E-1.counts.mtx_rows.gz", "E-1.counts.mtx_cols.gz"),
    "starsolo": ("matrix.mtx", "features.tsv", "barcodes.tsv"),
}


@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
def test_names_of_matrices_and_lists(
    names: Sequence[str], tmp_path: Path, data: anndata.AnnData
) -> None:
    matrix = write(tmp_path / "a", data, *names)
    for path in (matrix.parent, matrix):
        with open_cells(path) as cells:
            assert cells.gene_names == made.ensembl()
            assert cells.cell_ids == list(data.obs_names)
            np.testing.assert_array_equal(cells.matrix.rows(0, 90).toarray(), data.X.toarray())
            said = [note for note in cells.notes if all(name in note for name in names)]
        assert len(said) == (names[0] != "matrix.mtx")
        with open_matrix(path) as alone:
            assert alone.rows(0, 90).sum() == data.X.sum()


@pytest.mark.parametrize(
    ("names", "header"),
    [
        # kallisto
        (("cells_x_genes.mtx", "cells_x_genes.genes.txt", "cells_x_genes.barcodes.txt"), False),
        # Parse
        (("DGE.mtx", "all_genes.csv", "cell_metadata.csv"), True),
        (("count_matrix.mtx", "all_genes.csv", "cell_metadata.csv"), True),
    ],
)
@pytest.mark.parametrize("n_cells", [made.N_CELLS, made.N_GENES])
def test_matrices_with_cells_as_rows(
    names: Sequence[str], header: bool, n_cells: int, tmp_path: Path
) -> None:
    # Of as many cells as genes the sizes do not say it, but the names do.
    data = made.sample(n_cells=n_cells)
    matrix = write(tmp_path / "a", data, *names, cells_first=True, header=header)
    with open_cells(matrix.parent) as cells:
        assert cells.cell_ids == list(data.obs_names)
        assert cells.gene_names == made.ensembl()
        np.testing.assert_array_equal(cells.matrix.rows(0, n_cells).toarray(), data.X.toarray())
        assert [note for note in cells.notes if "cells as rows" in note]


def test_a_turned_matrix_is_told_by_the_sizes_of_its_lists(
    tmp_path: Path, data: anndata.AnnData
) -> None:
    names = SETS["starsolo"]
    matrix = write(tmp_path / "a", data, *names, cells_first=True)
    with open_cells(matrix.parent) as cells:
        np.testing.assert_array_equal(cells.matrix.rows(0, 90).toarray(), data.X.toarray())
        assert [note for note in cells.notes if "cells as rows" in note]
    square = made.sample(n_cells=made.N_GENES)
    write(tmp_path / "b", square, *names)
    with open_cells(tmp_path / "b") as cells:
        np.testing.assert_array_equal(cells.matrix.rows(0, 40).toarray(), square.X.toarray())
        assert not [note for note in cells.notes if "cells as rows" in note]


def test_of_several_matrices_one_is_chosen_by_its_path(tmp_path: Path) -> None:
    first, second = made.sample(1), made.sample(2)
    for at, data in enumerate((first, second), 1):
        names = [f"GSM{at}_{name}.gz" for name in SETS["starsolo"]]
        write(tmp_path / "a", data, *names)
    with pytest.raises(InputFileError, match=r"2 matrices: GSM1_matrix.mtx.gz, GSM2_m.+; give one"):
        open_cells(tmp_path / "a").__enter__()
    for at, data in enumerate((first, second), 1):
        with open_cells(tmp_path / "a" / f"GSM{at}_matrix.mtx.gz") as cells:
            assert cells.matrix.rows(0, 90).sum() == data.X.sum()


def test_the_usual_name_comes_first(tmp_path: Path, data: anndata.AnnData) -> None:
    write(tmp_path / "a", data, *SETS["starsolo"])
    (tmp_path / "a" / "UniqueAndMult-EM.mtx").write_text("other")
    (tmp_path / "a" / "matrix.mtx.gz").write_bytes(
        gzip.compress((tmp_path / "a" / "matrix.mtx").read_bytes())
    )
    with open_cells(tmp_path / "a") as cells:
        assert cells.matrix.rows(0, 90).sum() == data.X.sum()


def test_lists_that_are_missing_are_named(tmp_path: Path, data: anndata.AnnData) -> None:
    matrix = write(tmp_path / "a", data, *SETS["geo"])
    (tmp_path / "a" / "GSM1_s1_barcodes.tsv.gz").unlink()
    with pytest.raises(InputFileError, match=r"no list of its cells .+ GSM1_s1_barcodes\.tsv, "):
        open_cells(matrix).__enter__()
    with pytest.raises(InputFileError, match=r"no list of its cells"):
        open_cells(tmp_path / "a").__enter__()


def test_lists_of_other_sizes_are_refused(tmp_path: Path, data: anndata.AnnData) -> None:
    matrix = write(tmp_path / "a", data, *SETS["starsolo"])
    (tmp_path / "a" / "features.tsv").write_text("\n".join(["title", *made.ensembl()]))
    with pytest.raises(InputFileError, match="has 40 features, the list of them 41"):
        open_cells(matrix).__enter__()
    (tmp_path / "a" / "features.tsv").write_text("\n".join(["gene_id", *made.ensembl()]))
    with open_cells(matrix) as cells:
        assert cells.gene_names == made.ensembl()


def test_lists_may_be_quoted_and_end_with_empty_lines(
    tmp_path: Path, data: anndata.AnnData
) -> None:
    matrix = write(tmp_path / "a", data, *SETS["starsolo"])
    for name, values in (("features", made.ensembl()), ("barcodes", list(data.obs_names))):
        lines = [f'"{value}"' for value in values]
        (tmp_path / "a" / f"{name}.tsv").write_text("\n".join([*lines, "", ""]))
    with open_cells(matrix) as cells:
        assert cells.gene_names == made.ensembl()
        assert cells.cell_ids == list(data.obs_names)


@pytest.mark.parametrize(
    ("kind", "left_out"),
    [("Gene Expression", 2), ("gene expression", 2), ('"Gene Expression"', 2), ("unknown", 0)],
)
def test_the_third_column_says_what_a_feature_is(
    kind: str, left_out: int, tmp_path: Path, data: anndata.AnnData
) -> None:
    path = made.write_10x_folder(data, tmp_path / "a")
    features = path / "features.tsv.gz"
    text = gzip.decompress(features.read_bytes()).decode().replace("Gene Expression", kind)
    text = text if left_out else text.replace("Antibody Capture", kind)
    features.write_bytes(gzip.compress(text.encode()))
    with open_cells(path) as cells:
        assert cells.matrix.n_columns == 42 - left_out
