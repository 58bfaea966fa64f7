"""Which index a reference gets."""

import pytest

from cellkin.indexer.neighbors.choice import choose, list_count
from cellkin.store import machine
from cellkin.wire.errors import InvalidArgumentError

GIB = 1 << 30


@pytest.mark.parametrize(
    ("n", "recall", "memory_bytes", "factory"),
    [
        (1, 0.98, GIB, "Flat"),
        (52_083, 0.98, GIB, "Flat"),
        (52_084, 0.98, GIB, "HNSW32"),
        (1_000_000, 0.98, 2 * GIB, "HNSW32"),
        (1_000_000, 0.98, GIB, "IVF4096,RaBitQ,Refine(SQfp16)"),
        (1_000_000, 0.95, GIB, "IVF4096,RaBitQ,Refine(SQ8)"),
        (1_000_000, 0.98, GIB // 2, "IVF4096,RaBitQ,Refine(SQ8)"),
        (1_000_001, 0.98, 64 * GIB, "IVF4096,RaBitQ,Refine(SQfp16)"),
        (4_000_000, 0.95, 64 * GIB, "IVF8192,RaBitQ,Refine(SQ8)"),
    ],
)
def test_auto(n: int, recall: float, memory_bytes: int, factory: str) -> None:
    choice = choose(n, 384, recall=recall, memory_bytes=memory_bytes)
    assert choice.factory == factory
    assert choice.why.startswith(f"{n} cells of 384 dimensions: ")


def test_narrow_vectors_are_searched_exactly_for_more_cells() -> None:
    assert choose(400_000, 50).factory == "Flat"
    assert choose(400_001, 50).factory == "HNSW32"


def test_the_smallest_is_taken_where_none_fits() -> None:
    choice = choose(1_000_000, 384, memory_bytes=1)
    assert choice.factory == "IVF4096,RaBitQ,Refine(SQ8)"
    assert "more than allowed" in choice.why


def test_memory_is_a_share_of_the_machine_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(10_000, 64).factory == "Flat"
    monkeypatch.setattr(machine, "memory_bytes", lambda: GIB // 1024)
    assert "more than allowed" in choose(10_000, 64).why


@pytest.mark.parametrize("n", [60, 5_000, 100_000, 1_000_000, 10_000_000, 50_000_000])
def test_lists(n: int) -> None:
    count = list_count(n)
    assert count & (count - 1) == 0
    assert 4 * n**0.5 / 2**0.5 <= count <= 16 * n**0.5


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("Foo", "could not parse index string Foo"),
        ("IVF16,", "could not parse code description"),
        ("PQ7", "multiple of the number of subquantizers"),
        ("LSH", "metric == METRIC_L2"),
    ],
)
def test_a_bad_factory_is_refused_in_the_words_of_faiss(factory: str, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"no index '{factory}'.*{said}"):
        choose(100, 32, factory)


@pytest.mark.parametrize(("n", "recall", "said"), [(0, 0.9, "no cells"), (5, 0, "recall is 0")])
def test_bad_wishes_are_refused(n: int, recall: float, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said):
        choose(n, 32, recall=recall)
