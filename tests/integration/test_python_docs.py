"""The code of docs/python.md runs, by the names of the tests' own store."""

import re
import shutil
from pathlib import Path

import pytest
from tests.integration.live import live_server

pytestmark = pytest.mark.integration
DOCUMENT = Path(__file__).parents[2] / "docs/python.md"
NAMES = {
    "all-minilm-l6-v2": "random:64:7",
    "pancreas": "trio",
    '"INS"': '"GENE5"',
    '"INSR"': '"GENE6"',
}


def test_the_code_of_the_guide(
    laid_out: Path,
    query_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    shutil.copy(query_path, tmp_path / "mouse.h5ad")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
    assert len(blocks) == 12
    namespace: dict[str, object] = {}
    with live_server(laid_out) as live:
        monkeypatch.setenv("CELLKIN_ADDRESS", live.address)
        for code in blocks:
            for name, ours in NAMES.items():
                code = code.replace(name, ours)
            exec(compile(code, str(DOCUMENT), "exec"), namespace)
        namespace["client"].close()
    shown = capsys.readouterr().out
    assert "GENE6 protein number 6 of taxon 9606" in shown
    assert "True 60 trio@" in shown
    assert " neighbor label batch " in " ".join(shown.split())
    assert " group label against n_cells " in " ".join(shown.split())
    assert (tmp_path / "mouse.run/manifest.json").exists()
