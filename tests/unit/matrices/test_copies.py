"""Answers written beside the cells, in copies of files."""

import errno
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from tests.unit.matrices import conftest as made

from cellkin.matrices.annotated import check_writable, write_annotated
from cellkin.matrices.options import ReadOptions, X
from cellkin.wire.errors import (
    AlreadyExistsError,
    InputFileError,
    InvalidArgumentError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnavailableError,
)

Make = Callable[[str, anndata.AnnData], Path]

LABELS = ["a", None, "b"] * 30
# What 10x files of the tests have, of which two are no genes.
N_FEATURES = made.N_GENES + len(made.ANTIBODIES_AT)


def label(source: Path, target: Path, how: ReadOptions = X, n: int = made.N_GENES) -> None:
    """Write answers of every kind that there are."""
    check_writable(source, target, how)
    table = pd.DataFrame({"reason": np.array(["few"], object), "n": [3]}, index=["0"])
    write_annotated(
        source,
        target,
        {
            "label": pd.Categorical(LABELS),
            "unknown": np.array([False, True, False] * 30),
            "why": np.array(["", "far", ""] * 30, object),
        },
        {"Z": np.ones((made.N_CELLS, 3), np.float32)},
        {"id": np.arange(n), "route": pd.Categorical(["by symbol"] * n)},
        {"cellkin": {"k": 3, "versions": {"index": "i@1"}, "names": ["a", "b"], "told": table}},
        how,
    )


def read(path: Path) -> anndata.AnnData:
    return anndata.io.read_zarr(path) if path.is_dir() else anndata.read_h5ad(path)


def require_labels(got: anndata.AnnData) -> None:
    assert [None if pd.isna(value) else value for value in got.obs["label"]] == LABELS
    assert list(got.obs["why"][:2]) == ["", "far"]
    assert list(got.obs["unknown"][:2]) == [False, True]
    assert got.obsm["Z"].shape == (made.N_CELLS, 3)
    told = got.uns["cellkin"]
    assert (told["k"], told["versions"]["index"], list(told["names"])) == (3, "i@1", ["a", "b"])
    assert list(told["told"]["n"]) == [3]


@pytest.mark.parametrize("target", ["out.h5ad", "out.zarr"])
@pytest.mark.parametrize("form", ["h5ad", "h5ad gzip", "zarr v3", "zarr v2", "zarr zip", "loom"])
def test_copies_of_any_format(
    form: str, target: str, data: anndata.AnnData, make_form: Make, tmp_path: Path
) -> None:
    source, path = make_form(form, data), tmp_path / "new" / target
    label(source, path)
    got = read(path)
    require_labels(got)
    assert list(got.var["id"]) == list(range(made.N_GENES))
    np.testing.assert_array_equal(got.X.toarray(), data.X.toarray())
    assert list(got.var_names) == made.ensembl()
    assert ("doubled" in got.layers) == (form.split()[0] in target)
    assert [at.name for at in path.parent.iterdir()] == [target]


@pytest.mark.parametrize("target", ["out.h5ad", "out.zarr"])
def test_columns_that_are_no_genes_are_left_out_with_their_answers(
    target: str, data: anndata.AnnData, make_form: Make, tmp_path: Path
) -> None:
    label(make_form("10x h5", data), tmp_path / target, n=N_FEATURES)
    got = read(tmp_path / target)
    require_labels(got)
    assert list(got.var["id"]) == [i for i in range(N_FEATURES) if i not in made.ANTIBODIES_AT]


@pytest.mark.parametrize("form", ["h5ad", "zarr v3"])
def test_answers_on_raw_are_written_beside_its_genes(
    form: str, data: anndata.AnnData, make_form: Make, tmp_path: Path
) -> None:
    target = tmp_path / f"labeled.{form.split()[0]}"
    label(make_form(form, data), target, ReadOptions(raw=True), made.N_GENES + 5)
    got = read(target)
    require_labels(got)
    assert list(got.raw.var["id"]) == list(range(made.N_GENES + 5))
    assert "id" not in got.var


def encodings(group: Any, at: str = "") -> dict[str, tuple[str, str]]:
    """Return the encoding of everything below a group."""
    found = {}
    for name in group:
        node = group[name]
        kind, version = (node.attrs.get(f"encoding-{what}", "") for what in ("type", "version"))
        found[f"{at}/{name}"] = (str(kind), str(version))
        if not hasattr(node, "dtype"):
            found |= encodings(node, f"{at}/{name}")
    return found


def test_what_was_there_is_kept_and_what_is_new_is_read_by_every_anndata(
    data: anndata.AnnData, tmp_path: Path
) -> None:
    """As AnnData 0.13 writes: names and categories that may be missing, raw that is null."""
    source, target = tmp_path / "a.h5ad", tmp_path / "b.h5ad"
    data.raw = None
    made.write_h5ad(data, source)
    with h5py.File(source, "r+") as file, anndata.settings.override(**made.NULLABLE):
        names = pd.array(data.obs_names.to_numpy(), dtype="string")
        anndata.io.write_elem(file["obs"], file["obs"].attrs["_index"], names)
        file["raw"] = h5py.Empty("f")
        file["raw"].attrs.update({"encoding-type": "null", "encoding-version": "0.1.0"})
    label(source, target)
    with h5py.File(source) as file, h5py.File(target) as copy:
        before, after = encodings(file), encodings(copy)
        order = list(copy["obs"].attrs["column-order"])
    assert {at: after[at] for at in before} == before
    assert before["/obs/_index"][0] == "nullable-string-array"
    added = {kind for at, (kind, _) in after.items() if at not in before}
    assert added == {
        *("array", "categorical", "dataframe", "dict", "numeric-scalar"),
        *("string", "string-array"),
    }
    assert order == [*data.obs.columns, "label", "unknown", "why"]
    require_labels(read(target))


@pytest.mark.filterwarnings("ignore:Element .+ was written without encoding metadata")
@pytest.mark.parametrize("container", ["h5ad", "zarr"])
def test_copies_of_anndata_0_7_are_in_its_encoding(container: str, tmp_path: Path) -> None:
    data = made.sample()
    data.raw = None
    source, target = tmp_path / f"a.{container}", tmp_path / f"b.{container}"
    if container == "h5ad":
        made.write_h5ad(data, source)
    else:
        made.write_zarr(data, source, 2)
    root: Any = (
        h5py.File(source, "r+")
        if container == "h5ad"
        else zarr.open_group(source, mode="r+", use_consolidated=False)
    )
    for axis in ("obs", "var"):
        group = root[axis]
        for name in list(group):
            del group[name]
        names = getattr(data, f"{axis}_names").to_numpy(dtype=object)
        anndata.io.write_elem(group, "_index", names)
        order: Any = np.array([], h5py.string_dtype()) if container == "h5ad" else []
        group.attrs.update({"encoding-version": "0.1.0", "column-order": order})
    if container == "h5ad":
        root.close()
    label(source, target)
    if container == "h5ad":
        with h5py.File(target) as file:
            assert file["obs"].attrs["encoding-version"] == "0.1.0"
            names = file[file["obs/label"].attrs["categories"]]
            assert [name.decode() for name in names[:]] == ["a", "b"]
            assert "encoding-type" not in file["uns/cellkin"].attrs
    require_labels(read(target))


def test_a_column_with_a_slash_stays_beside_the_answers(tmp_path: Path) -> None:
    path, target = made.write_h5ad(made.sample(), tmp_path / "a.h5ad"), tmp_path / "b.h5ad"
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        anndata.io.write_elem(obs.require_group("umi"), "gene", np.arange(made.N_CELLS))
        obs.attrs["column-order"] = [*obs.attrs["column-order"], "umi/gene"]
    label(path, target)
    with h5py.File(target) as file:
        assert list(file["obs"].attrs["column-order"])[-4:] == [
            "umi/gene",
            "label",
            "unknown",
            "why",
        ]
        assert list(file["obs/umi/gene"][:3]) == [0, 1, 2]


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_that_is_read_by_a_copy_of_all_metadata(version: int, tmp_path: Path) -> None:
    source = made.write_zarr(made.sample(), tmp_path / "a.zarr", version)
    label(source, tmp_path / "b.zarr")
    root: Any = zarr.open_group(tmp_path / "b.zarr", mode="r", use_consolidated=True)
    assert "label" in root["obs"]
    require_labels(read(tmp_path / "b.zarr"))


def test_a_copy_of_all_metadata_has_what_each_node_says(tmp_path: Path) -> None:
    source = made.write_zarr(made.sample(), tmp_path / "a.zarr", 3)
    node = source / "X/data/zarr.json"
    # Allowed, and not what the installed zarr writes.
    said = json.loads(node.read_text()) | {"chunk_key_encoding": {"name": "default"}}
    node.write_text(json.dumps(said))
    label(source, tmp_path / "b.zarr")
    root = json.loads((tmp_path / "b.zarr/zarr.json").read_text())
    held = root["consolidated_metadata"]["metadata"]
    assert held["X/data"] == said
    nodes = {
        p.parent.relative_to(tmp_path / "b.zarr") for p in tmp_path.glob("b.zarr/**/zarr.json")
    }
    assert {Path(name) for name in held} == nodes - {Path()}
    require_labels(read(tmp_path / "b.zarr"))


def test_files_that_may_not_be_written_are_copied(tmp_path: Path) -> None:
    source = made.write_zarr(made.sample(), tmp_path / "a.zarr", 3)
    for at in [*source.rglob("*"), source]:
        at.chmod(0o555 if at.is_dir() else 0o444)
    label(source, tmp_path / "b.zarr")
    require_labels(read(tmp_path / "b.zarr"))
    for at in [source, *source.rglob("*")]:
        at.chmod(0o755)


def test_a_packed_file_is_copied_unpacked(tmp_path: Path) -> None:
    path = made.write_h5ad(made.sample(), tmp_path / "a.h5ad")
    (tmp_path / "a.h5ad.gz").write_bytes(gzip.compress(path.read_bytes()))
    label(tmp_path / "a.h5ad.gz", tmp_path / "b.h5ad")
    got = read(tmp_path / "b.h5ad")
    require_labels(got)
    assert "doubled" in got.layers


@pytest.mark.parametrize("write", [check_writable, write_annotated])
def test_what_cannot_be_written_is_found_before(
    write: Callable[..., None], data: anndata.AnnData, make_form: Make, tmp_path: Path
) -> None:
    source = make_form("h5ad", data)
    answers: list[dict[str, Any]] = [] if write is check_writable else [{}, {}, {}, {}]
    there = tmp_path / "there.h5ad"
    there.write_text("mine")
    for target, error, said in (
        (source, InvalidArgumentError, "is the input itself"),
        (there, AlreadyExistsError, r"there\.h5ad is there already"),
        (tmp_path / "a.h5", InvalidArgumentError, r"ends in none of \.h5ad, \.zarr"),
        (tmp_path / "a.h5mu", InvalidArgumentError, "is not MuData"),
        (there / "b.h5ad", InputFileError, "cannot be written"),
        (tmp_path / f"{'a' * 300}.h5ad", InputFileError, "cannot be written"),
    ):
        with pytest.raises(error, match=said):
            write(source, target, *answers)
    assert there.read_text() == "mine"
    assert sorted(at.name for at in tmp_path.iterdir()) == ["cells.h5ad", "there.h5ad"]
    write(source, there, *answers, overwrite=True)


def test_columns_that_cannot_be_written_are_found_before(tmp_path: Path) -> None:
    source = made.write_h5ad(made.sample(), tmp_path / "a.h5ad")
    with h5py.File(source, "r+") as file:
        obs = file["obs"]
        anndata.io.write_elem(obs, "...", np.arange(made.N_CELLS))
        obs.attrs["column-order"] = [*obs.attrs["column-order"], "..."]
    with pytest.raises(InputFileError, match=r"column named '\.\.\.' cannot be written"):
        check_writable(source, tmp_path / "b.zarr")
    check_writable(source, tmp_path / "b.h5ad")


def test_room_on_the_disk_is_looked_for_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = made.write_h5ad(made.sample(), tmp_path / "a.h5ad")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ResourceExhaustedError, match=r"needs up to .+ GB, and .+ has 0\.00 GB"):
        check_writable(source, tmp_path / "b.h5ad")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ResourceExhaustedError),
        (OSError("file write failed: errno = 28, error message = 'No s"), ResourceExhaustedError),
        (OSError(errno.EACCES, "Permission denied"), PermissionDeniedError),
        (OSError(errno.EIO, "Input/output error"), UnavailableError),
        (RuntimeError("file write failed: errno = 28, error"), ResourceExhaustedError),
        (OSError("of no number"), InputFileError),
    ],
)
def test_failures_to_write_have_their_kinds_and_leave_nothing(
    error: Exception, expected: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = made.write_h5ad(made.sample(), tmp_path / "a.h5ad")

    def failing(_: Path, target: Path) -> None:
        target.write_text("half")
        raise error

    monkeypatch.setattr(shutil, "copyfile", failing)
    with pytest.raises(expected, match=r"b\.h5ad cannot be written"):
        write_annotated(source, tmp_path / "b.h5ad", {}, {}, {}, {})
    assert [at.name for at in tmp_path.iterdir()] == ["a.h5ad"]


@pytest.mark.parametrize("form", ["h5ad", "zarr v3", "zarr v2"])
def test_what_only_an_earlier_call_wrote_is_not_copied(
    form: str, data: anndata.AnnData, make_form: Make, tmp_path: Path
) -> None:
    data.obs["k_cluster_label"] = pd.Categorical(["old"] * made.N_CELLS)
    data.obsm["k_probabilities"] = np.ones((made.N_CELLS, 2))
    stale = {"obs": ["k_cluster_label", "k_fallback"], "obsm": ["k_probabilities", "k_none"]}
    source = make_form(form, data)
    path = tmp_path / f"out{source.suffix}"
    write_annotated(source, path, {"n": np.arange(90)}, {}, {}, {}, stale=stale)
    copy, kept = read(path), read(source)
    assert [*copy.obs] == [*kept.obs.drop(columns="k_cluster_label"), "n"]
    assert {*kept.obsm} - {*copy.obsm} == {"k_probabilities"}
