"""Results are shown in a few lines, in a terminal and in a notebook."""

from dataclasses import is_dataclass

import numpy as np
import pytest
from tests.unit.client.test_contrasts import A_CONTRAST

import cellkin.client as ck
from cellkin.client.results.cells import CellHits
from cellkin.client.results.tables import Shown
from cellkin.wire.match import GeneMatch

N = 30_000
INPUTS = {"CellFilter", "GroupedCells", "Tls"}
KINDS = {name: getattr(ck, name) for name in ck.__all__ if name not in INPUTS}
RESULTS = [name for name, kind in KINDS.items() if isinstance(kind, type) and is_dataclass(kind)]


@pytest.fixture
def hits() -> CellHits:
    names = tuple(f"cell <{at}>" for at in range(N))
    return CellHits(
        np.full(N // 10, 10, np.int32), names, ("beta",) * N, ("",) * N,
        np.linspace(1, 0, N, dtype=np.float32), np.arange(N),
    )  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_every_result_has_the_short_form(name: str) -> None:
    kind = KINDS[name]
    assert kind.__repr__ is Shown.__repr__
    assert kind._repr_html_ is Shown._repr_html_


def test_many_rows_are_a_few(hits: CellHits) -> None:
    told = repr(hits)
    assert len(told) < 400
    assert "cell_ids=('cell <0>', 'cell <1>', 'cell <2>', and 29,997 more)" in told
    assert "similarities=<float32 (30000,)>" in told
    page = hits._repr_html_()
    assert page.count("<tr>") == 1 + 20
    assert "29,980 more rows in to_pandas()" in page
    assert "cell &lt;0&gt;" in page


def test_fields_are_a_table() -> None:
    page = ck.Retraction("wrong " * 100, "a@2026-01-01.1")._repr_html_()
    assert page.count("<tr>") == 3
    assert "<td>&#x27;a@2026-01-01.1&#x27;</td>" in page
    assert len(page) < 500


def test_what_was_compared_is_said() -> None:
    assert repr(A_CONTRAST).startswith("<Contrast: rod (")
    match = GeneMatch(
        9606, True, np.arange(N), np.ones(N, np.uint8), np.ones(N, np.uint8),
        (np.arange(N) % 2).astype(np.uint8),
    )  # fmt: skip
    assert repr(match) == "<GeneMatch: 15,000 of 30,000 names used, human>"
    found = ck.Reproduction(90, ("a",), ("beta",), ("alpha",), 0.25, ck.Versions("trio@1"), "0.1")
    said = "89 of 90 labels are the same by trio@1; probabilities changed by up to 0.25"
    assert repr(found) == f"<Reproduction: {said}>"
