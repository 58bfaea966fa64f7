"""What a session shows while it waits, and when it is done."""

import logging
import re
import sys
from types import SimpleNamespace

import pytest
from tests.unit.client.fake import FakeServer, client_of
from tests.unit.client.test_labeling import FOREIGN, cells

from cellkin.client import session, tl
from cellkin.terminal.notebook import in_notebook

pytestmark = pytest.mark.filterwarnings("ignore:delta is weak", "ignore:labels that expression")
SAID = (
    r"250 cells labeled by trio@\S+: 2 labels, 33 % unknown \(33 % too far\); compared by text, "
    r"which uses \d of 3 genes; 2 warnings"
).replace(" %", "%")


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))


@pytest.fixture(autouse=True)
def no_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cellkin.client", "cellkin"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)


def annotated() -> None:
    tl.annotate(cells(250), "trio", client=client_of(FakeServer(9, FOREIGN)))


@pytest.mark.usefixtures("notebook")
def test_a_notebook_shows_a_bar_and_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert in_notebook()
    annotated()
    shown = capsys.readouterr()
    assert re.fullmatch(SAID + r"\n", shown.out)
    assert re.search(r"labeling cells: .*0/250", shown.err)


@pytest.mark.usefixtures("notebook")
@pytest.mark.parametrize("logger", ["cellkin.client", "cellkin"])
def test_the_line_is_silenced_as_logging_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, logger: str
) -> None:
    monkeypatch.setattr(logging.getLogger(logger), "level", logging.WARNING)
    session.tell("done")
    monkeypatch.setattr(logging.getLogger(logger), "level", logging.INFO)
    session.LOGGER.manager._clear_cache()  # type: ignore[attr-defined]
    monkeypatch.setattr(logging.root.manager, "disable", logging.INFO)
    session.tell("done")
    assert capsys.readouterr().out == ""


def test_elsewhere_it_is_logged(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert not in_notebook()
    annotated()
    assert caplog.messages == []
    with caplog.at_level(logging.INFO, "cellkin.client"):
        annotated()
    (said,) = caplog.messages
    assert re.fullmatch(SAID, said)
    assert capsys.readouterr() == ("", "")
