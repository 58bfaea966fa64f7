"""The digest of rows is that of their values and order, however they are cut into batches."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkin.store import digest
from cellkin.store.digest import file_digest, path_digest, rows_digest, table_digest


def table(n: int) -> pa.Table:
    return pa.table({"a": pa.array(range(n)), "b": pa.array([f"cell {i}" for i in range(n)])})


@settings(deadline=None)
@given(st.integers(0, 60), st.lists(st.integers(1, 25), max_size=12))
def test_batches_do_not_count(n: int, sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest, "_BATCH_ROWS", 16)
        rows = table(n)
        batches, start = [], 0
        for size in [*sizes, n + 1]:
            batches += rows.slice(start, size).to_batches()
            start += size
        assert rows_digest(rows.schema, batches) == table_digest(rows)


def test_values_order_and_names_count() -> None:
    rows = table(40)
    others = [
        rows.take(pa.array(range(39, -1, -1))),
        rows.slice(0, 39),
        rows.rename_columns(["a", "c"]),
        rows.set_column(0, "a", pa.array([0, *range(39)])),
    ]
    assert len({table_digest(t) for t in [rows, *others]}) == 5


def test_the_digest_of_a_folder_is_of_names_and_contents(tmp_path: Path) -> None:
    def made(name: str, **files: str) -> str:
        for file, text in files.items():
            path = tmp_path / name / "sub" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return path_digest(tmp_path / name)

    assert made("one", a="1", b="2") == made("two", b="2", a="1")
    assert len({made("one", a="1"), made("three", a="1", c="2"), made("four", a="2", b="1")}) == 3
    assert path_digest(tmp_path / "one" / "sub" / "a") == file_digest(tmp_path / "one/sub/a")
