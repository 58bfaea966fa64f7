"""The output folder of a quickstart: replaced as a whole, or refused before any work."""

from pathlib import Path

import pytest

from cellkin.indexer.quickstart.run import PAGE, Question, _finished_or_gone, _require_free
from cellkin.wire.errors import AlreadyExistsError, FailedPreconditionError


def question(folder: Path) -> Question:
    return Question(Path("r.h5ad"), Path("q.h5ad"), "type", None, 0, folder, overwrite=True)


@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_the_folder_stays_and_leads_to_the_results(tmp_path: Path, there: bool) -> None:
    target, link = tmp_path / "disk" / "out", tmp_path / "out"
    link.symlink_to(target)
    if there:
        target.mkdir(parents=True)
        (target / PAGE).write_text("old")
    _require_free(question(link))
    with _finished_or_gone(question(link)) as partial:
        (partial / PAGE).write_text("new")
    assert link.is_symlink()
    assert (link / PAGE).read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["out"]


def test_a_mount_point_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    with pytest.raises(FailedPreconditionError, match="a mount point"):
        _require_free(question(tmp_path))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(AlreadyExistsError, match=r"other files .*thesis\.tex"):
        _require_free(question(tmp_path))
