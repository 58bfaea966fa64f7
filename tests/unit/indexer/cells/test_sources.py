"""The files of a reference: names are unique, labels are there, batches have names."""

from collections.abc import Callable
from pathlib import Path

import anndata
import pyarrow as pa
import pytest

from cellkin.indexer.cells.sources import (
    Reference,
    batch_names,
    read_sources,
    require_unique,
)
from cellkin.wire.errors import InvalidArgumentError, NotFoundError

Make = Callable[..., anndata.AnnData]


def names(*values: str) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


def test_names_that_differ_pass() -> None:
    require_unique([("a", names("x", "y")), ("b", names("z")), ("c", names())])


def test_names_that_repeat_are_listed_with_where_they_are() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^2 cell names repeat in a, c: x, y; make"):
        require_unique([("a", names("x", "y", "w")), ("b", names("z")), ("c", names("y", "x"))])


def test_a_long_list_is_cut_and_counted() -> None:
    twice = [f"cell{i}" for i in range(50)] * 2
    with pytest.raises(InvalidArgumentError, match=r"50 cell names .*cell19 and 30 more"):
        require_unique([("a", names(*twice))])


def test_each_of_several_files_is_a_batch(tmp_path: Path, make_cells: Make) -> None:
    paths = [tmp_path / "one.h5ad", tmp_path / "two.h5ad"]
    for seed, path in enumerate(paths):
        make_cells(12, seed).write_h5ad(path)
    batches = [
        s.rows["batch"].unique().to_pylist() for s in read_sources(Reference(paths, "cell_type"))
    ]
    assert batches == [["one"], ["two"]]
    given = read_sources(Reference(paths, "cell_type", "donor"))
    assert given[0].rows["batch"].unique().to_pylist() == ["d0", "d1"]
    alone = read_sources(Reference(paths[:1], "cell_type"))
    assert alone[0].rows["batch"].unique().to_pylist() == [""]
    assert alone[0].n_cells == 12


def test_files_of_one_name_in_several_folders_are_several_batches(
    tmp_path: Path, make_cells: Make
) -> None:
    paths = [tmp_path / donor / "cells.h5ad" for donor in ("d1", "d2")]
    for seed, path in enumerate(paths):
        path.parent.mkdir()
        make_cells(12, seed).write_h5ad(path)
    sources = read_sources(Reference(paths, "cell_type"))
    batches = [source.rows["batch"].unique().to_pylist() for source in sources]
    assert batches == [["d1/cells"], ["d2/cells"]]
    sources = read_sources(Reference(paths, "cell_type"), {"d2/cells"})
    batches = [source.rows["batch"].unique().to_pylist() for source in sources]
    assert batches == [["d1/cells"], ["d2/cells.h5ad"]]


@pytest.mark.parametrize(
    ("paths", "taken", "names"),
    [
        (["/a/x.h5", "/a/y.h5"], (), ["x", "y"]),
        (["/a/x.h5", "/b/x.h5", "/b/y.h5"], (), ["a/x", "b/x", "y"]),
        (["/a/x.h5ad", "/a/x.loom"], (), ["x.h5ad", "x.loom"]),
        (["/a/out/raw", "/b/out/raw"], (), ["a/out/raw", "b/out/raw"]),
        (["/a/x.h5", "/a/y.h5"], ("x",), ["x.h5", "y"]),
        (["/a/x.h5", "/a/y.h5"], ("x", "x.h5"), ["a/x", "y"]),
        (["/x.h5", "/x.h5.h5"], (), ["x", "x.h5.h5"]),
    ],
)
def test_batch_names_are_the_shortest_ends_of_paths(
    paths: list[str], taken: tuple[str, ...], names: list[str]
) -> None:
    assert batch_names([Path(path) for path in paths], taken) == names


def test_what_is_missing_is_named(tmp_path: Path, make_cells: Make) -> None:
    make_cells(12, 1).write_h5ad(tmp_path / "one.h5ad")
    with pytest.raises(NotFoundError, match="no obs column 'subtype' for the labels"):
        read_sources(Reference([tmp_path / "one.h5ad"], "subtype"))
    with pytest.raises(InvalidArgumentError, match="no files"):
        read_sources(Reference([], "cell_type"))


def test_labels_that_say_that_there_is_none_are_missing(tmp_path: Path, make_cells: Make) -> None:
    data = make_cells(12, 1)
    data.obs["cell_type"] = ["unknown"] * 3 + ["nan"] * 2 + [" ON", "ON"] + ["OFF"] * 5
    data.write_h5ad(tmp_path / "one.h5ad")
    (source,) = read_sources(Reference([tmp_path / "one.h5ad"], "cell_type"))
    assert source.labels == {"ON", "OFF"}
    assert source.rows["label"].null_count == 5
    said = " ".join(source.notes)
    assert "'unknown' (3 cells), 'nan' (2 cells)" in said
    assert "spaces around the labels of 1 cells" in said
    literal = Reference([tmp_path / "one.h5ad"], "cell_type", literal_labels=True)
    assert read_sources(literal)[0].labels == {"unknown", "nan", " ON", "ON", "OFF"}


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ("name", "has 12 batches for 12 cells"),
        ("type", "cells of one label in every batch"),
        ("donor", ""),
        # Sorted plates: each of one label, several of each.
        ("plate", ""),
    ],
)
def test_batches_that_are_no_donors_are_doubted(
    tmp_path: Path, make_cells: Make, batch: str, said: str
) -> None:
    data = make_cells(12, 1)
    data.obs["cell_type"] = ["a"] * 6 + ["b"] * 6
    data.obs["name"] = list(data.obs_names)
    data.obs["type"] = ["of " + label for label in data.obs["cell_type"]]
    data.obs["plate"] = ["1"] * 3 + ["2"] * 3 + ["3"] * 6
    data.write_h5ad(tmp_path / "one.h5ad")
    (source,) = read_sources(Reference([tmp_path / "one.h5ad"], "cell_type", batch))
    doubts = [note for note in source.notes if f"batch column '{batch}'" in note]
    assert len(doubts) == bool(said)
    assert all(said in note and note.startswith("WARNING") for note in doubts)


def test_better_gene_names_are_known_of_a_source(tmp_path: Path, make_cells: Make) -> None:
    data = make_cells(12, 1)
    data.var["symbol"] = [f"{chr(65 + at % 26)}X{at}" for at in range(data.n_vars)]
    data.var_names = [str(at) for at in range(data.n_vars)]
    data.write_h5ad(tmp_path / "one.h5ad")
    (source,) = read_sources(Reference([tmp_path / "one.h5ad"], "cell_type"))
    assert "--gene-column symbol" in source.gene_hint
