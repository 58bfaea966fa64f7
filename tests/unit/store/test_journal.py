"""The journal of a catalog: a chain of records of which none can be changed, lost or exchanged."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cellkin.store.journal import Change, Journal
from cellkin.store.small_files import SmallLocalFiles
from cellkin.wire.errors import FailedPreconditionError, IntegrityError, UnavailableError


def journal(root: Path) -> Journal:
    return Journal(SmallLocalFiles(root), str(root))


def change(key: str) -> Change:
    return Change({"catalog": [{"key": key}]})


@pytest.fixture
def five(tmp_path: Path) -> Path:
    """A journal of five records."""
    root = tmp_path / "store"
    root.mkdir()
    written = journal(root)
    for i in range(5):
        assert written.append(change(str(i))) is not None
    return root


def record(root: Path, number: int) -> Path:
    return root / "journal" / f"{number:08d}.json"


def keys(read: Journal) -> list[str]:
    return [row["key"] for record in read.catch_up() for row in record.change.put["catalog"]]


def test_records_come_in_order_and_once(five: Path) -> None:
    read = journal(five)
    assert keys(read) == ["0", "1", "2", "3", "4"]
    assert keys(read) == []
    other = journal(five)
    other.catch_up()
    assert other.append(change("5")) is not None
    assert keys(read) == ["5"]
    assert len(read) == 6


def test_of_two_writers_one_is_first(five: Path) -> None:
    one, two = journal(five), journal(five)
    one.catch_up()
    two.catch_up()
    assert one.append(change("one")) is not None
    assert two.append(change("two")) is None
    assert keys(two) == ["one"]
    assert two.append(change("two")) is not None
    assert keys(one) == ["two"]


def test_many_writers_lose_nothing(five: Path) -> None:
    def write(who: int) -> None:
        mine = journal(five)
        for i in range(10):
            mine.catch_up()
            while mine.append(change(f"{who}-{i}")) is None:
                mine.catch_up()

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(4)))
    read = keys(journal(five))
    assert sorted(read[5:]) == sorted(f"{who}-{i}" for who in range(4) for i in range(10))
    assert [path for path in (five / "journal").iterdir() if path.suffix != ".json"] == []


def canonical(fields: dict[str, object]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b'"key":"') + 7] ^= 1
    path.write_bytes(content)


def space(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b":", b": ", 1))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def sibling(path: Path) -> None:
    shutil.copy(record(path.parents[1], 2), path)


def signed_anew(path: Path) -> None:
    """Another record in the place, whole in itself."""
    root = path.parents[2] / "other"
    root.mkdir()
    other = journal(root)
    for i in range(5):
        other.append(change(f"other {i}"))
    shutil.copy(record(root, int(path.stem)), path)


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize(
    "damage", [cut, flip, space, folder, sibling, signed_anew], ids=lambda f: f.__name__
)
def test_damage_of_a_record_is_refused(
    five: Path, number: int, damage: Callable[[Path], None]
) -> None:
    damage(record(five, number))
    with pytest.raises(IntegrityError, match=r"journal.*(backup|cannot be read)"):
        journal(five).catch_up()


@pytest.mark.parametrize("number", [1, 3])
def test_a_gap_is_refused(five: Path, number: int) -> None:
    record(five, number).unlink()
    with pytest.raises(IntegrityError, match=f"record {number} of the journal .* is missing"):
        journal(five).catch_up()


def test_who_read_more_refuses_less(five: Path) -> None:
    read = journal(five)
    read.catch_up()
    record(five, 5).unlink()
    with pytest.raises(IntegrityError, match="has 4 records and had 5"):
        read.catch_up()
    # Another fifth record is another history.
    other = journal(five)
    other.catch_up()
    other.append(change("other"))
    with pytest.raises(IntegrityError, match=r"record 5 .* is not the one that was read before"):
        read.catch_up()
    assert len(read) == 5


def test_a_journal_that_is_away_comes_back(five: Path) -> None:
    read = journal(five)
    read.catch_up()
    five.rename(five.with_name("away"))
    with pytest.raises(UnavailableError, match="not there any more"):
        read.catch_up()
    five.with_name("away").rename(five)
    assert read.catch_up() == []


def test_a_later_format_is_said_to_be_one(five: Path) -> None:
    fields = json.loads(record(five, 3).read_text()) | {"format": 2}
    fields.pop("sha256")
    signed = {**fields, "sha256": hashlib.sha256(canonical(fields).encode()).hexdigest()}
    record(five, 3).write_text(canonical(signed) + "\n")
    with pytest.raises(FailedPreconditionError, match="written by a later cellkin"):
        journal(five).catch_up()


def test_a_place_without_hard_links_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", link)
    with pytest.raises(FailedPreconditionError, match="file system without hard links"):
        journal(tmp_path).append(change("0"))
    assert list((tmp_path / "journal").iterdir()) == []


def test_other_files_are_no_records(five: Path) -> None:
    for name in (".DS_Store", ".partial-1", "1.json", "00000006.json.bak", "000000006.json"):
        (five / "journal" / name).write_text("x")
    assert len(keys(journal(five))) == 5


def test_a_link_that_the_network_repeats_is_the_own_one(
    five: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, written = os.link, journal(five)
    written.catch_up()

    def repeated(*args: Path) -> None:
        link(*args)  # the answer of which is lost
        link(*args)

    monkeypatch.setattr("os.link", repeated)
    assert written.append(change("5")) is not None
    assert keys(journal(five)) == ["0", "1", "2", "3", "4", "5"]
    other = journal(five)
    monkeypatch.undo()
    other.catch_up()
    assert written.append(change("6")) is not None
    assert other.append(change("7")) is None


def test_what_is_recorded_and_not_confirmed_by_the_disk_is_said_to_be(
    five: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    written = journal(five)
    written.catch_up()
    monkeypatch.setattr("cellkin.store.small_files.sync", sync)
    with pytest.raises(UnavailableError, match=r"00000006\.json was written and counts, but"):
        written.append(change("5"))
    assert keys(written) == ["5"]
