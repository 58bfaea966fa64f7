"""Columns and rows of a corpus are read after all of it was compared with its digest, once."""

import os
from collections.abc import Callable
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from cellkin.store import checked_tables
from cellkin.store.catalog import Entry, Kind
from cellkin.store.corpus import read_gene_names
from cellkin.store.digest import table_digest
from cellkin.store.store import Store
from cellkin.wire.errors import IntegrityError

READS: list[Callable[[Store, Entry], object]] = [
    lambda store, entry: read_gene_names(store, entry),
    lambda store, entry: store.corpus(entry, ["symbol"]),
    lambda store, entry: store.corpus_rows(entry, [3]),
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "store"))


@pytest.fixture
def entry(store: Store, make_corpus: Callable[[], pa.Table]) -> Entry:
    return store.publish_corpus("genes", make_corpus(), {})


def data_of(store: Store) -> Path:
    (path,) = (Path(store.uri) / "corpus-genes.lance" / "data").iterdir()
    return path


@pytest.mark.parametrize("read", READS)
def test_a_changed_letter_is_refused(
    store: Store, entry: Entry, read: Callable[[Store, Entry], object]
) -> None:
    read(store, entry)
    data = bytearray(data_of(store).read_bytes())
    at = data.find(b"GENE5")
    assert at >= 0
    data[at + 4] ^= 1
    data_of(store).write_bytes(data)
    for again in (store, Store.open(store.uri)):
        with pytest.raises(IntegrityError, match="digest"):
            read(again, entry)


@pytest.mark.parametrize("read", READS)
def test_a_table_that_lance_cannot_read_is_damaged(
    store: Store, entry: Entry, read: Callable[[Store, Entry], object]
) -> None:
    path = data_of(store)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(IntegrityError, match="cannot be read"):
        read(store, entry)


def test_all_is_compared_once_on_a_machine_and_again_when_touched(
    store: Store, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []

    def counted(rows: pa.Table) -> str:
        compared.append(len(rows))
        return table_digest(rows)

    monkeypatch.setattr(checked_tables, "table_digest", counted)
    whole = store.corpus(entry)
    assert len(compared) == 1, "who asks for everything has it compared each time"
    for opened in (store, Store.open(store.uri)):
        names = opened.corpus(entry, ["symbol", "gene_id", "no such column"])
        assert names.equals(whole.select(["symbol", "gene_id"]))
        assert opened.corpus_rows(entry, [3, 4]).num_rows == 2
        assert opened.corpus_rows(entry, []).num_rows == 0
    assert len(compared) == 1
    os.utime(data_of(store))
    assert store.corpus(entry, ["symbol"]).equals(whole.select(["symbol"]))
    store.corpus_rows(entry, [3])
    assert len(compared) == 2


def test_where_nothing_can_be_noted_a_process_remembers(
    store: Store, entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    fresh, compared = Store.open(store.uri), list[int]()

    def counted(rows: pa.Table) -> str:
        compared.append(len(rows))
        return table_digest(rows)

    monkeypatch.setattr(checked_tables, "table_digest", counted)
    for _ in range(3):
        fresh.corpus_rows(entry, [3])
    assert len(compared) == 1


def test_columns_have_the_types_they_were_published_with_each_time(
    store: Store, make_corpus: Callable[[], pa.Table]
) -> None:
    rows = make_corpus()
    # As earlier releases of LanceDB wrote it.
    stored = rows.cast(pa.schema([field.with_nullable(True) for field in rows.schema]))
    dataset = lance.write_dataset(stored, store.table_uri("corpus-old"))
    place = {"table": "corpus-old", "table_version": dataset.version}
    entry = store.catalog.commit(Kind.CORPUS, "old", table_digest(rows), place)
    for _ in range(2):
        names = store.corpus(entry, ["symbol", "synonyms"])
        assert list(names.schema) == [rows.field("symbol"), rows.field("synonyms")]
        assert list(store.corpus_rows(entry, [3]).schema) == list(rows.schema)
