"""Neighbors in Milvus: for references beyond the memory of one machine.

An index of this kind has its vectors in a Milvus collection, and everything else, from the cell
space to the labels that vote, where every index has it. ``milvus://HOST:PORT`` is a server or
cluster; ``milvus:///PATH.db`` is a file that Milvus Lite keeps, which one process opens at a time.

A token is read from the environment, ``MILVUS_TOKEN``, and stored nowhere. The files of an index
name the host to ask, and a store may come from elsewhere: so the token goes to hosts alone that the
environment names, ``MILVUS_TOKEN_HOSTS``, or the command that fills a collection.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cellkin.space.arrays import BoolVector, Float32Matrix, Int64Vector
from cellkin.wire.errors import (
    CellkinError,
    DimensionMismatchError,
    FailedPreconditionError,
    InvalidArgumentError,
    MissingDependencyError,
    UnavailableError,
)

SCHEME = "milvus://"
_ROW, _CELL, _LABEL, _VECTOR = "row", "cell", "label", "vector"
_TEXT_BYTES = 1024
_INSERT_ROWS = 2000
# The recall of Milvus's own choice of index is measured like every other and stated in the
# certificate.
_INDEX = {"index_type": "AUTOINDEX", "metric_type": "IP"}


class MilvusNeighbors:
    """The vectors of one index version, in a collection of their own.

    Parameters
    ----------
    uri
        ``milvus://...``.
    collection
        Its name.
    n, dim
        Vectors, and their width.
    trusted
        Whether the token goes to any host that the URI names.

    Raises
    ------
    UnavailableError
        If Milvus cannot be reached or lacks the collection.
    """

    def __init__(self, uri: str, collection: str, n: int, dim: int, trusted: bool = False) -> None:
        self.uri = uri
        self.collection = collection
        self.dim = dim
        self._n = n
        self._client = _connect(uri, trusted)
        if not _asked(uri, lambda: self._client.has_collection(collection)):
            raise UnavailableError(
                f"{uri} has no collection {collection}; it was dropped there, index the cells again"
            )
        _asked(uri, lambda: self._client.load_collection(collection))

    @classmethod
    def load(cls, folder: Path, space: str) -> "MilvusNeighbors":
        """Connect to the collection that an index's files name."""
        place = json.loads(cls.path(folder, space).read_text())
        return cls(place["uri"], place["collection"], place["n"], place["dim"])

    @staticmethod
    def path(folder: Path, space: str) -> Path:
        """Return the file that says where the vectors of a space are."""
        return folder / f"{space}-milvus.json"

    def write(self, folder: Path, space: str) -> None:
        """Write where the collection is."""
        place = {"uri": self.uri, "collection": self.collection, "n": self._n, "dim": self.dim}
        self.path(folder, space).write_text(json.dumps(place))

    def close(self) -> None:
        """Let go of the connection, and of the file where there is one."""
        self._client.close()

    @property
    def n_bytes(self) -> int:
        """Size of the vectors as they were sent; what Milvus makes of them is not said."""
        return 4 * self.dim * self._n

    def __len__(self) -> int:
        """Return the number of vectors."""
        return self._n

    def search(
        self, queries: Float32Matrix, k: int, passing: BoolVector | None = None
    ) -> tuple[Float32Matrix, Int64Vector]:
        """Find the nearest vectors of each query; see `NeighborIndex.search`.

        Raises
        ------
        FailedPreconditionError
            If only some vectors may be found: which, only this side knows.
        """
        if passing is not None:
            raise FailedPreconditionError(
                f"the vectors are in {self.uri}, which cannot search among chosen cells; "
                "ask for exact search, or without filters"
            )
        if queries.shape[1] != self.dim:
            raise DimensionMismatchError(
                f"queries of {queries.shape[1]} dimensions, index of {self.dim}"
            )
        similarities = np.full((len(queries), k), -np.inf, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        if not len(queries) or not self._n:
            return similarities, ids
        answers = _asked(
            self.uri,
            lambda: self._client.search(
                self.collection,
                data=list(np.ascontiguousarray(queries, np.float32)),
                anns_field=_VECTOR,
                limit=min(k, self._n),
                search_params={"metric_type": "IP"},
                output_fields=[_ROW],
            ),
        )
        for row, hits in enumerate(answers):
            found = np.array([hit[_ROW] for hit in hits], np.int64)
            scores = np.array([hit["distance"] for hit in hits], np.float32)
            order = np.lexsort((found, -scores))
            similarities[row, : len(order)] = scores[order]
            ids[row, : len(order)] = found[order]
        return similarities, ids


def fill_collection(
    uri: str,
    collection: str,
    dim: int,
    n: int,
    rows: Iterator[tuple[list[str], list[str], Float32Matrix]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> MilvusNeighbors:
    """Put the cells of a reference into a collection.

    The collection's name says what is in it, so one that is whole is used as it is, and one that
    an interrupted run left is filled anew.

    Parameters
    ----------
    uri
        ``milvus://...``, as who runs the command gives it: the token goes there.
    collection
        Its name.
    dim, n
        Width of a vector, and how many there are.
    rows
        Cell names, labels and (n, dim) float32 unit rows, in the order of the index.
    progress
        Called with the cells written and to be written.
    """
    client = _connect(uri, trusted=True)
    try:
        if _asked(uri, lambda: _n_rows(client, collection)) != n:
            _asked(uri, lambda: _fill(client, collection, dim, n, rows, progress))
    finally:
        client.close()
    return MilvusNeighbors(uri, collection, n, dim, trusted=True)


def _n_rows(client: Any, collection: str) -> int:
    if not client.has_collection(collection):
        return -1
    return int(client.get_collection_stats(collection)["row_count"])


def _fill(
    client: Any,
    collection: str,
    dim: int,
    n: int,
    rows: Iterator[tuple[list[str], list[str], Float32Matrix]],
    progress: Callable[[int, int], None],
) -> None:
    from pymilvus import DataType

    if client.has_collection(collection):
        client.drop_collection(collection)
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field(_ROW, DataType.INT64, is_primary=True)
    schema.add_field(_CELL, DataType.VARCHAR, max_length=_TEXT_BYTES)
    schema.add_field(_LABEL, DataType.VARCHAR, max_length=_TEXT_BYTES)
    schema.add_field(_VECTOR, DataType.FLOAT_VECTOR, dim=dim)
    parameters = client.prepare_index_params()
    parameters.add_index(_VECTOR, **_INDEX)
    client.create_collection(
        collection, schema=schema, index_params=parameters, consistency_level="Strong"
    )
    done = 0
    for cells, labels, vectors in rows:
        for start in range(0, len(cells), _INSERT_ROWS):
            part = slice(start, start + _INSERT_ROWS)
            client.insert(
                collection,
                [
                    {_ROW: done + i, _CELL: cell, _LABEL: label, _VECTOR: vector}
                    for i, (cell, label, vector) in enumerate(
                        zip(cells[part], labels[part], vectors[part], strict=True)
                    )
                ],
            )
            done += len(cells[part])
            progress(done, n)
    client.flush(collection)


def _connect(uri: str, trusted: bool) -> Any:
    if not uri.startswith(SCHEME) or not uri.removeprefix(SCHEME).strip("/"):
        raise InvalidArgumentError(
            f"{uri!r} is no Milvus; give milvus://HOST:PORT, or milvus:///PATH.db for a local file"
        )
    place = uri.removeprefix(SCHEME)
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise MissingDependencyError(
            "Milvus's client is not installed; pip install 'cellkin[milvus]'"
        ) from error
    address = place if place.startswith("/") else f"http://{place}"
    token = os.environ.get("MILVUS_TOKEN", "")
    hosts = os.environ.get("MILVUS_TOKEN_HOSTS", "").split(",")
    if token and not trusted and place not in map(str.strip, hosts):
        try:
            return _asked(uri, lambda: MilvusClient(uri=address))
        except UnavailableError as error:
            raise UnavailableError(
                f"{error.message}; MILVUS_TOKEN was not sent, for the files of the index name this "
                f"host and you do not: if you trust it, set MILVUS_TOKEN_HOSTS={place}"
            ) from error
    return _asked(uri, lambda: MilvusClient(uri=address, token=token))


def _asked(uri: str, ask: Callable[[], Any]) -> Any:
    """Ask Milvus, and say in our own words when it cannot answer."""
    from pymilvus.exceptions import MilvusException

    try:
        return ask()
    except CellkinError:
        raise
    except (MilvusException, OSError) as error:
        raise UnavailableError(f"{uri} cannot be asked: {error}") from error
