"""Files of vectors: what is read, and what is refused."""

import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cellkin.indexer.embeddings.vector_files import read_vectors
from cellkin.wire.errors import DimensionMismatchError, InputFileError

NAMES = ["INS", "GCG", "INS"]
VECTORS = np.array([[1, 2], [3, 4], [1, 2]], np.float32)


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path / "v.npz", **arrays)
    return path / "v.npz"


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path / "v.parquet")
    return path / "v.parquet"


def jsn(path: Path, text: str) -> Path:
    (path / "v.json").write_text(text)
    return path / "v.json"


def message(
    path: Path, kind: type[InputFileError | DimensionMismatchError] = InputFileError
) -> str:
    with pytest.raises(kind) as caught:
        read_vectors(path)
    assert type(caught.value) is kind
    return caught.value.message.removeprefix(f"vectors file {path}: ")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64])
def test_npz(tmp_path: Path, dtype: type) -> None:
    read = read_vectors(npz(tmp_path, genes=np.array(NAMES), vectors=VECTORS.astype(dtype)))
    assert read.names == NAMES
    assert read.vectors.dtype == np.float32
    assert (read.vectors == VECTORS).all()
    read = read_vectors(npz(tmp_path, genes=np.array([3630, 2641, 3630]), vectors=VECTORS))
    assert read.names == ["3630", "2641", "3630"]


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 2)]
)
def test_parquet_with_a_list_column(tmp_path: Path, kind: pa.DataType) -> None:
    read = read_vectors(parquet(tmp_path, gene=NAMES, vector=pa.array(VECTORS.tolist(), kind)))
    assert read.names == NAMES
    assert (read.vectors == VECTORS).all()


def test_parquet_with_a_column_for_each_dimension(tmp_path: Path) -> None:
    columns = {"d1": VECTORS[:, 0], "gene": NAMES, "d0": VECTORS[:, 1].astype(int)}
    read = read_vectors(parquet(tmp_path, **columns, __index_level_0__=[0, 1, 2]))
    assert read.names == NAMES
    assert (read.vectors == VECTORS).all()


def test_json_keeps_a_gene_that_is_named_twice(tmp_path: Path) -> None:
    read = read_vectors(jsn(tmp_path, '{"INS": [1, 2.0], "GCG": [3, 4], "INS": [1, 2]}'))
    assert read.names == NAMES
    assert (read.vectors == VECTORS).all()


@pytest.mark.parametrize("suffix", [".pkl", ".pickle"])
def test_a_pickle_is_never_opened(tmp_path: Path, suffix: str) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (tmp_path / "gone off").touch, ()

    path = tmp_path / f"GenePT{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    assert message(path) == (
        "a pickle can run any code when it is opened, so it is not; where you trust it, convert "
        'it: python -c "import json, pickle; json.dump({gene: list(map(float, vector)) for gene, '
        f"vector in pickle.load(open('GenePT{suffix}', 'rb')).items()}}, "
        "open('GenePT.json', 'w'))\""
    )
    assert not (tmp_path / "gone off").exists()


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("v.csv", "ends in '.csv'; expected one of .npz, .parquet, .json"),
        ("v", "ends in 'nothing'; expected one of .npz, .parquet, .json"),
        ("v.npz", "there is no such file"),
        ("v.parquet", "there is no such file"),
        ("v.json", "there is no such file"),
    ],
)
def test_files_that_are_not_there_or_of_no_known_kind(tmp_path: Path, name: str, want: str) -> None:
    assert message(tmp_path / name) == want


@pytest.mark.parametrize("name", ["v.npz", "v.parquet"])
def test_files_cut_short(tmp_path: Path, name: str) -> None:
    npz(tmp_path, genes=np.array(NAMES), vectors=VECTORS)
    parquet(tmp_path, gene=NAMES, vector=VECTORS.tolist())
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-30])
    want = {"v.npz": "is no .npz archive", "v.parquet": "cannot be read: "}
    assert message(path).startswith(want[name])


def _patched(path: Path, *, local: tuple[int, int], central: tuple[int, int]) -> Path:
    """Change a 16-bit field of every entry of a zip archive, in both of its headers."""
    data = bytearray(path.read_bytes())
    for magic, (at, value) in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        start = data.find(magic)
        while start >= 0:
            struct.pack_into("<H", data, start + at, value)
            start = data.find(magic, start + 1)
    path.write_bytes(data)
    return path


def test_an_archive_that_is_encrypted_or_packed_in_another_way(tmp_path: Path) -> None:
    path = npz(tmp_path, genes=np.array(NAMES), vectors=VECTORS)
    assert "encrypted" in message(_patched(path, local=(6, 1), central=(8, 1)))
    path = npz(tmp_path, genes=np.array(NAMES), vectors=VECTORS)
    assert "compression method" in message(_patched(path, local=(8, 97), central=(10, 97)))


def test_a_compressed_archive_with_damaged_bytes(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    np.savez_compressed(path, genes=np.array(NAMES), vectors=VECTORS)
    data = bytearray(path.read_bytes())
    (info, _) = zipfile.ZipFile(path).infolist()
    start = info.header_offset + 30 + len(info.filename) + int.from_bytes(data[28:30], "little")
    data[start] = 7  # a block type that deflate does not have
    path.write_bytes(data)
    assert message(path).startswith("cannot be read: Error -3")


def test_an_archive_of_files_that_are_no_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "v.npz", "w") as archive:
        archive.writestr("genes", "INS")
        archive.writestr("vectors", "1 2")
    assert message(tmp_path / "v.npz") == "genes and vectors are no arrays of numpy"


def test_npz_of_other_arrays(tmp_path: Path) -> None:
    objects = np.array(NAMES, object)
    assert message(npz(tmp_path, genes=objects, vectors=VECTORS)) == (
        "holds Python objects, which can run code when they are read; save genes as "
        "numpy.array(genes, dtype=str) and vectors as float32"
    )
    assert message(npz(tmp_path, names=np.array(NAMES), vectors=VECTORS)) == (
        "has no array 'genes', only names, vectors; expected the arrays 'genes' and 'vectors'"
    )
    assert message(npz(tmp_path, genes=VECTORS, vectors=VECTORS)) == (
        "genes is float32 of shape (3, 2); expected (n,) text or GeneIDs"
    )
    assert message(npz(tmp_path, genes=np.array(NAMES), vectors=VECTORS[:2])) == (
        "vectors is float32 of shape (2, 2); expected numbers of shape (3, dim), a row for each "
        "gene"
    )


def test_parquet_of_other_columns(tmp_path: Path) -> None:
    assert message(parquet(tmp_path, symbol=NAMES, vector=VECTORS.tolist())) == (
        "no column 'gene'; its columns are symbol, vector; expected 'gene' and 'vector', or 'gene' "
        "and a column for each dimension"
    )
    assert message(parquet(tmp_path, gene=["INS", None, "GCG"], vector=VECTORS.tolist())) == (
        "genes without a name 'gene'; its columns are gene, vector; expected 'gene' and 'vector', "
        "or 'gene' and a column for each dimension"
    )
    assert message(parquet(tmp_path, gene=NAMES, name=NAMES, d=VECTORS[:, 0])) == (
        "column 'name' is string; expected 'gene' and numbers"
    )
    assert message(parquet(tmp_path, gene=[["INS"]], vector=[[1.0]])) == (
        "column 'gene' is list<element: string>; expected text or GeneIDs"
    )
    assert message(parquet(tmp_path, gene=NAMES, vector=NAMES)) == (
        "column 'vector' is string; expected lists of numbers"
    )
    assert message(parquet(tmp_path, gene=NAMES, vector=[["a"], ["b"], ["c"]])) == (
        "column 'vector' is list<element: string>; expected lists of numbers"
    )


def test_json_of_something_else(tmp_path: Path) -> None:
    assert message(jsn(tmp_path, '{"INS": [1,\n')) == "line 2 is no JSON: Expecting value"
    assert message(jsn(tmp_path, "[[1, 2]]")) == "expected an object of gene to list of numbers"
    assert message(jsn(tmp_path, '{"INS": "text"}')) == "the value of 'INS' is no list of numbers"
    assert message(jsn(tmp_path, '{"INS": [1, "2"]}')) == "the value of 'INS' is no list of numbers"
    deep = "[" * 100_000 + "]" * 100_000
    assert message(jsn(tmp_path, f'{{"INS": {deep}}}')).startswith("cannot be read: ")


@pytest.mark.parametrize("digits", [400, 5000])
def test_json_of_integers_that_no_float_holds(tmp_path: Path, digits: int) -> None:
    path = jsn(tmp_path, f'{{"INS": [1, {"9" * digits}]}}')
    assert message(path).startswith("1 of 1 vectors have values that are not finite")


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_vectors_of_several_widths(tmp_path: Path, form: str) -> None:
    vectors = {"INS": [1.0, 2.0], "GCG": [1.0, 2.0, 3.0]}
    path = (
        jsn(tmp_path, json.dumps(vectors))
        if form == "json"
        else parquet(tmp_path, gene=list(vectors), vector=list(vectors.values()))
    )
    assert message(path, DimensionMismatchError) == (
        "the vector of 'GCG' has 3 dimensions, that of 'INS' 2; all must have the same"
    )


@pytest.mark.parametrize("text", ["{}", '{"INS": []}'])
def test_no_vectors(tmp_path: Path, text: str) -> None:
    assert message(jsn(tmp_path, text)) == "there is no vector in it"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ([float("nan"), 1.0], "values that are not finite"),
        ([float("inf"), 1.0], "values that are not finite"),
        ([1e39, 1.0], "values that are not finite"),
        ([0.0, 0.0], "nothing but zeros"),
    ],
)
def test_vectors_without_a_direction(tmp_path: Path, value: list[float], what: str) -> None:
    vectors = VECTORS.astype(np.float64)
    vectors[1] = value
    wants = f"1 of 3 vectors have {what}, for example of GCG; leave such genes out"
    assert message(npz(tmp_path, genes=np.array(NAMES), vectors=vectors)) == wants
    assert message(parquet(tmp_path, gene=NAMES, vector=vectors.tolist())) == wants
    assert message(parquet(tmp_path, gene=NAMES, a=vectors[:, 0], b=vectors[:, 1])) == wants


def test_missing_values_are_not_finite(tmp_path: Path) -> None:
    path = parquet(tmp_path, gene=["INS"], vector=[[1.0, None]])
    assert message(path).startswith("1 of 1 vectors have values that are not finite")
