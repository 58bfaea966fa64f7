"""What is kept for the next query with the same header."""

import pytest

from cellkin.server.recent import RecentHeaders
from cellkin.v1 import cell_service_pb2 as wire


def test_equal_headers_are_prepared_once_and_other_ones_anew() -> None:
    prepared, asked = RecentHeaders(), list[tuple[str, list[str]]]()

    def prepare(of: str, header: wire.QueryHeader) -> int:
        asked.append((of, list(header.genes)))
        return len(asked)

    def get(*genes: str) -> int:
        return prepared.get(prepare, "index", wire.QueryHeader(index="i", genes=genes))

    assert [get("A", "B"), get("A", "B"), get("B", "A"), get("A", "B")] == [1, 1, 2, 1]
    assert asked == [("index", ["A", "B"]), ("index", ["B", "A"])]


def test_headers_of_two_functions_are_told_apart() -> None:
    prepared = RecentHeaders()
    genes = ["A"]
    first = prepared.get(lambda of, header: "labels", None, wire.QueryHeader(genes=genes))
    second = prepared.get(lambda of, header: "search", None, wire.QueryHeader(genes=genes))
    assert (first, second) == ("labels", "search")


def test_the_oldest_headers_and_very_long_ones_are_not_kept() -> None:
    prepared, n_prepared = RecentHeaders(), 0

    def prepare(of: None, header: wire.QueryHeader) -> int:
        nonlocal n_prepared
        n_prepared += 1
        return n_prepared

    headers = [wire.QueryHeader(index=f"index-{i}") for i in range(9)]
    for header in [*headers, headers[8], headers[1]]:
        prepared.get(prepare, None, header)
    assert n_prepared == 9
    prepared.get(prepare, None, headers[0])
    assert n_prepared == 10
    long = wire.QueryHeader(genes=["G" * 1000] * 1100)
    assert prepared.get(prepare, None, long) != prepared.get(prepare, None, long)


def test_what_could_not_be_prepared_is_tried_again() -> None:
    prepared, tries = RecentHeaders(), list[int]()

    def prepare(of: None, header: wire.QueryHeader) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise LookupError("not yet")
        return "there"

    header = wire.QueryHeader(index="i")
    with pytest.raises(LookupError):
        prepared.get(prepare, None, header)
    assert prepared.get(prepare, None, header) == "there"
