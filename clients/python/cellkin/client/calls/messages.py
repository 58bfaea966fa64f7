"""Parts of the messages of several services, and lists in pages."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from cellkin.client.arguments import require
from cellkin.client.transport.core import Call, Pages
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.species import taxon_id
from cellkin.wire.terms import ExpressionUnits

_PAGE = 1000
_MOST_SHORT = 1 << 16
"""Most genes whose positions fit in two bytes."""
Item = TypeVar("Item")
_SPACES = {
    None: wire.SPACE_KIND_UNSPECIFIED,
    "text": wire.SPACE_KIND_TEXT,
    "expression": wire.SPACE_KIND_EXPRESSION,
}


@dataclass(frozen=True)
class CellFilter:
    """Filter of reference cells by a column.

    Parameters
    ----------
    column
        ``label``, ``batch`` or ``id``.
    values
        The values that pass, up to 10,000.
    exclude
        Whether to exclude cells with one of the values instead.

    Raises
    ------
    InvalidArgumentError
        If the column is not a string, or the values are not a list of strings.
    """

    column: str
    values: Sequence[str]
    exclude: bool = False

    def __post_init__(self) -> None:
        require("column", self.column, str)
        require("values", self.values, Sequence[str])


def to_message(
    block: Any, message: wire.CellBlock | None = None, *, compact: bool = False
) -> wire.CellBlock:
    """Return the message for a CSR matrix of cells.

    Parameters
    ----------
    block
        The matrix.
    message
        The message to fill, such as a part of another, into which it need not be copied then; None
        for a new one.
    compact
        Whether the server reads compact blocks, which most often take three bytes a value and not
        eight.

    Raises
    ------
    InvalidArgumentError
        If it is not a CSR matrix.
    """
    if getattr(block, "format", None) != "csr":
        raise InvalidArgumentError(
            f"cells are given as {type(block).__name__}; give a CSR matrix, such as "
            "scipy.sparse.csr_matrix(counts)",
            field="cells",
        )
    message = wire.CellBlock() if message is None else message
    message.indptr = codec.encode(block.indptr.astype(np.int64, copy=False))
    values = block.data.astype(np.float32, copy=False)
    small = codec.encode_small(values) if compact else None
    if small is not None:
        message.small_values, values = small
    message.values = codec.encode(values)
    if compact and block.shape[1] <= _MOST_SHORT:
        message.short_columns = codec.encode(block.indices.astype(np.uint16))
    else:
        message.columns = codec.encode(block.indices.astype(np.int32, copy=False))
    return message


def query_header(
    index: str,
    genes: Sequence[str],
    units: ExpressionUnits,
    taxon: int | str,
    min_probability: float | None = None,
    return_vectors: bool = False,
    space: str | None = None,
    own_mean: bool = False,
    exclude_batches: Sequence[str] = (),
    novelty_limit: float | None = None,
    false_alarms: float | None = None,
    return_probabilities: bool = False,
    return_positions: bool = False,
) -> wire.QueryHeader:
    """Return the header of a query for labels or explanations.

    Raises
    ------
    InvalidArgumentError
        If the species or space is unknown, or both ``novelty_limit`` and ``false_alarms`` are
        given.
    """
    if novelty_limit is not None and false_alarms is not None:
        raise InvalidArgumentError(
            f"novelty_limit {novelty_limit:g} and false_alarms {false_alarms:g}; give one of them"
        )
    header = wire.QueryHeader(
        index=index,
        genes=genes,
        taxon=taxon_id(taxon),
        units=int(units),  # type: ignore[arg-type]  # the enum's values are the proto's
        min_probability=min_probability,
        return_vectors=return_vectors,
        space=_space(space),
        center=wire.CENTER_QUERY if own_mean else wire.CENTER_UNSPECIFIED,
        exclude_batches=exclude_batches,
        return_probabilities=return_probabilities,
        return_positions=return_positions,
    )
    # A field that is set, even to 0, overrides the index's limit; so set only what is given.
    if novelty_limit is not None:
        header.novelty_limit = novelty_limit
    if false_alarms is not None:
        header.false_alarms = false_alarms
    return header


def search_header(
    index: str,
    k: int,
    filters: Sequence[CellFilter],
    exact: bool,
    genes: Sequence[str],
    units: ExpressionUnits | None,
    taxon: int | str,
    space: str | None,
) -> wire.SearchHeader:
    """Return the header of a search."""
    return wire.SearchHeader(
        index=index,
        k=some("k", k),
        filters=[
            wire.CellFilter(column=f.column, values=f.values, exclude=f.exclude) for f in filters
        ],
        exact=exact,
        genes=genes,
        taxon=taxon_id(taxon),
        units=int(units or 0),  # type: ignore[arg-type]  # the enum's values are the proto's
        space=_space(space),
    )


def some(name: str, n: int) -> int:
    """Return a count for a message.

    Raises
    ------
    InvalidArgumentError
        If it is 0, which in a message means unset.
    """
    if n == 0:
        raise InvalidArgumentError(f"{name} is 0; ask for 1 or more", field=name)
    return n


def _space(name: str | None) -> "wire.SpaceKind.ValueType":
    if name not in _SPACES:
        raise InvalidArgumentError(f"space is {name!r}; give 'text' or 'expression'")
    return _SPACES[name]


def queries_message(block: Any) -> wire.SearchQueries:
    """Return the message for vectors or cells, or a pair of these and the batches to exclude."""
    queries, batches = block if isinstance(block, tuple) else (block, ())
    if hasattr(queries, "indptr"):
        return wire.SearchQueries(cells=to_message(queries), exclude_batches=batches)
    vectors = codec.encode(np.asarray(queries, np.float32))
    return wire.SearchQueries(vectors=vectors, exclude_batches=batches)


def pages(
    method: str, make: Callable[..., Any], read: Callable[[Any], Iterable[Item]]
) -> Pages[Item]:
    """Return a paginated list.

    Parameters
    ----------
    method
        ``Service/Method``.
    make
        Makes the request of a page from ``page_size`` and ``page_token``.
    read
        Returns the items of a response.
    """

    def page(token: str) -> Call[tuple[list[Item], str]]:
        return Call(
            method,
            make(page_size=_PAGE, page_token=token),
            lambda answer: (list(read(answer)), answer.next_page_token),
        )

    return Pages(page)
