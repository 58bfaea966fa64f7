"""Where results may be written, and that they are written whole or not at all."""

from pathlib import Path

import pytest

from cellkin.matrices.targets import replacing, require_target
from cellkin.wire.errors import AlreadyExistsError, InputFileError, InvalidArgumentError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "query.h5ad"
    path.write_text("cells")
    return path


@pytest.mark.parametrize("kind", ["same", "other spelling", "symbolic link", "hard link"])
def test_the_source_is_no_target(source: Path, kind: str) -> None:
    target = source.parent / "target.h5ad"
    if kind == "same":
        target = source
    elif kind == "other spelling":
        target = source.parent / "folder" / ".." / source.name
    elif kind == "symbolic link":
        target.symlink_to(source)
    else:
        target.hardlink_to(source)
    with pytest.raises(InvalidArgumentError, match="is the input itself"):
        require_target(target, source, overwrite=True)


def test_nothing_is_written_within_or_around_the_source(tmp_path: Path) -> None:
    zarr = tmp_path / "results" / "query.zarr"
    zarr.mkdir(parents=True)
    (zarr / "zarr.json").touch()
    with pytest.raises(InvalidArgumentError, match="is within the input"):
        require_target(zarr / "labels.csv", zarr)
    with pytest.raises(InvalidArgumentError, match="contains the input"):
        require_target(zarr.parent, zarr, overwrite=True)
    counts = tmp_path / "sample"
    counts.mkdir()
    (counts / "matrix.mtx").touch()
    require_target(counts / "labels.csv", counts)


def test_what_is_there_is_overwritten_only_if_that_is_said(source: Path) -> None:
    target = source.with_name("labels.csv")
    require_target(target, source)
    require_target(source.parent / "new" / "folder" / "labels.csv", source)
    assert not (source.parent / "new").exists(), "it only looks"
    target.touch()
    with pytest.raises(AlreadyExistsError, match=r"labels\.csv is there already"):
        require_target(target, source)
    require_target(target, source, overwrite=True)
    dangling = source.with_name("link.csv")
    dangling.symlink_to("nowhere.csv")
    with pytest.raises(AlreadyExistsError):
        require_target(dangling, source)


@pytest.mark.parametrize("name", ["labels.csv", "out.zarr"])
def test_a_folder_of_other_files_is_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "work.txt").touch()
    with pytest.raises(InvalidArgumentError, match="is a folder, which is not overwritten"):
        require_target(tmp_path / name, overwrite=True)
    if name == "out.zarr":
        (tmp_path / name / ".zgroup").touch()
        require_target(tmp_path / name, overwrite=True)


def test_a_file_is_no_folder(source: Path) -> None:
    with pytest.raises(InputFileError, match=r"query\.h5ad is no folder"):
        require_target(source / "labels.csv")


def test_of_two_writers_the_last_stays_and_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "labels.csv"
    with replacing(target) as first:
        first.write_text("first")
        with replacing(target) as second:
            assert second != first
            second.write_text("second")
        assert target.read_text() == "second"
    assert target.read_text() == "first"
    assert [path.name for path in target.parent.iterdir()] == ["labels.csv"]


def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "out.zarr"
    for n in (1, 2):
        with replacing(target) as partial:
            partial.mkdir()
            (partial / f"{n}").touch()
    assert [path.name for path in target.iterdir()] == ["2"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.zarr"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "labels.csv"
    target.write_text("before")

    def write(error: Exception) -> None:
        with replacing(target) as partial:
            partial.write_text("half")
            raise error

    for error, raised in ((OSError("disk full"), InputFileError), (KeyError("bug"), KeyError)):
        with pytest.raises(raised):
            write(error)
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


def test_what_a_link_refers_to_is_replaced(tmp_path: Path) -> None:
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    link.symlink_to(real)
    with replacing(link) as partial:
        partial.write_text("labels")
    assert link.is_symlink()
    assert real.read_text() == "labels"


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 251 + ".csv")
    with replacing(target) as partial:
        partial.write_text("labels")
    assert target.read_text() == "labels"
