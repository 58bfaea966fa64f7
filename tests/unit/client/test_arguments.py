"""Arguments of the wrong type are refused by name; what means the same is taken."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellkin.client import CellFilter
from cellkin.client.arguments import require_types, typed
from cellkin.client.calls import catalog, cells, genes
from cellkin.client.transport.core import asks
from cellkin.wire.errors import InvalidArgumentError


@typed
def asked(
    index: str,
    *,
    k: int = 10,
    share: float | None = None,
    exact: bool = False,
    batches: Sequence[str] = (),
    folder: str | Path | None = None,
    client: Any = None,
    taxon: int | str = 0,
) -> str:
    """Take what requests take."""
    return f"{index} {k} {share} {exact} {list(batches)} {folder} {client} {taxon}"


@pytest.mark.parametrize(
    ("name", "value", "fragment"),
    [
        ("index", 3, r"3 \(int\); give a string"),
        ("index", None, "NoneType"),
        ("k", "x", "give an integer"),
        ("k", 2.5, "give an integer"),
        ("k", 2**31, "give an integer of up to 2147483647"),
        ("share", "0.5", "give a number or None"),
        ("exact", "no", "give True or False"),
        ("batches", "d0", "give a list of strings"),
        ("batches", [3], "give a list of strings"),
        ("batches", ["d0", "d1", 3, "d2"], "give a list of strings"),
        ("batches", 3, "give a list of strings"),
        ("folder", 3, "give a string or a path or None"),
        ("taxon", 2.0, "give an integer or a string"),
    ],
)
def test_what_is_of_another_type_is_refused_by_name(name: str, value: Any, fragment: str) -> None:
    given: dict[str, Any] = {"index": "trio", name: value}
    with pytest.raises(InvalidArgumentError, match=f"^{name} is .*{fragment}") as refused:
        asked(**given)
    assert refused.value.field == name


@pytest.mark.parametrize(
    "given",
    [
        {"k": np.int64(3)},
        {"share": np.float32(0.5)},
        {"share": 1},
        {"exact": np.bool_(True)},
        {"batches": np.array(["d0", "d1"])},
        {"batches": pd.Index(["d0"])},
        {"batches": ("d0",)},
        {"folder": Path("x")},
        {"client": object()},
        {"taxon": "mouse"},
    ],
)
def test_what_means_the_same_is_taken(given: dict[str, Any]) -> None:
    assert asked("trio", **given).startswith("trio ")


def test_a_wrong_call_is_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'kk'"):
        asked("trio", kk=3)  # type: ignore[call-arg]
    assert asked.__name__ == "asked"


def test_long_values_are_not_shown() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^index is list; give a string"):
        asked(["x" * 200])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_of", "given"),
    [
        (genes.search_genes, {"name": 3}),
        (genes.get_gene, {"name": None}),
        (genes.resolve_genes, {"names": ["INS", np.nan]}),
        (cells.search_cells, {"index": "trio", "queries": None, "k": "x"}),
        (catalog.get_cell_index, {"name": 3}),
    ],
)
def test_requests_are_refused_before_they_are_sent(request_of: Any, given: dict[str, Any]) -> None:
    class Nobody:
        def _ask(self, call: object) -> None:
            pytest.fail("it was sent")

    with pytest.raises(InvalidArgumentError, match=r" is .*; give "):
        asks(request_of)(Nobody(), **given)


def test_the_values_of_a_filter_are_no_single_string() -> None:
    with pytest.raises(InvalidArgumentError, match="values is 'alpha'"):
        CellFilter("label", "alpha")
    assert CellFilter("label", ["alpha"]).values == ["alpha"]


def test_only_what_can_be_checked_is_checked() -> None:
    def unannotated(x, y: list[int] | None = None) -> None:  # type: ignore[no-untyped-def]
        """Take anything."""

    require_types(unannotated, (object(),), {"y": "anything"})
