"""Labels written as tables: what is missing, what names need quotes, what is refused."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.unit.client.test_labeling import FOREIGN, labeled

from cellkin.client import annotate
from cellkin.client.annotate import TABLES, require_targets, write_labels
from cellkin.client.labels.annotation import Annotation
from cellkin.wire.errors import AlreadyExistsError, InvalidArgumentError, MissingDependencyError


@pytest.fixture
def annotation() -> Annotation:
    return labeled(6, FOREIGN, taxon=9606)


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pandas()
    return pd.read_csv(path, sep="\t" if ".tsv" in path.name else ",", keep_default_na=False)


@pytest.mark.parametrize("ending", [*TABLES, ".CSV"])
def test_names_of_all_kinds_come_back(annotation: Annotation, tmp_path: Path, ending: str) -> None:
    names = ["a,b", 'with "quotes"', "a tab\there", "Ünï", "NA", "0012"]
    target = tmp_path / f"labels{ending}"
    write_labels(replace(annotation, cell_ids=names), target)
    if ending == ".CSV":
        target = target.rename(tmp_path / "labels.csv")
    table = read(target)
    assert list(table["cell_id"]) == names
    assert list(table.columns) == list(annotation.columns())
    assert list(table["label"]) == list(annotation.labels)
    written = pd.to_numeric(table["novelty"]).to_numpy(np.float32)
    np.testing.assert_array_equal(written, annotation.predictions.novelties)


@pytest.mark.parametrize("ending", TABLES)
def test_no_cells_are_a_table_with_its_columns(tmp_path: Path, ending: str) -> None:
    none = labeled(0, FOREIGN, taxon=9606)
    write_labels(none, tmp_path / f"none{ending}")
    assert list(read(tmp_path / f"none{ending}").columns) == list(none.columns())


def test_a_column_of_nothing_is_one_of_strings(annotation: Annotation, tmp_path: Path) -> None:
    groups = np.array([None] * 6, object)
    write_labels(annotation.clustered("leiden", groups), tmp_path / "labels.parquet")
    schema = pq.read_schema(tmp_path / "labels.parquet")
    assert [str(schema.field(name).type) for name in ("cluster", "cluster_label")] == ["string"] * 2


def test_the_same_labels_are_the_same_bytes(
    annotation: Annotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_labels(annotation, tmp_path / "first.csv.gz")
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_labels(annotation, tmp_path / "second.csv.gz")
    first, second = ((tmp_path / f"{n}.csv.gz").read_bytes() for n in ("first", "second"))
    assert first == second
    assert gzip.decompress(first).startswith(b"cell_id,label,")


def test_what_is_refused_is_not_written(annotation: Annotation, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"\.parquet.*\.h5ad"):
        write_labels(annotation, tmp_path / "labels.xlsx")
    (tmp_path / "labels.csv").write_text("before")
    with pytest.raises(AlreadyExistsError):
        write_labels(annotation, tmp_path / "labels.csv")
    assert (tmp_path / "labels.csv").read_text() == "before"
    write_labels(annotation, tmp_path / "labels.csv", overwrite=True)
    assert len(read(tmp_path / "labels.csv")) == 6


def test_parquet_is_refused_first_where_nothing_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def needed(module: str, extra: str) -> None:
        raise MissingDependencyError(f"{module} {extra}")

    monkeypatch.setattr(annotate, "needed", needed)
    source = tmp_path / "query.h5ad"
    source.touch()
    require_targets([tmp_path / "labels.csv"], source)
    with pytest.raises(MissingDependencyError, match="arrow"):
        require_targets([tmp_path / "labels.csv", tmp_path / "labels.parquet"], source)
