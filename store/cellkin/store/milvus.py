"""Neighbor indexes in Milvus, for references larger than the memory of one machine.

Such an index has its vectors in a Milvus collection and everything else, from the cell space to the
labels, in the usual files. ``milvus://HOST:PORT`` is a server or cluster; ``milvus:///PATH.db`` is
a Milvus Lite file, which only one process can open at a time.

The token is read from the environment variable ``MILVUS_TOKEN`` and never stored. The files of an
index name the host to connect to, and a store may come from elsewhere, so the token is only sent to
hosts listed in ``MILVUS_TOKEN_HOSTS`` or given to the command that fills a collection.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cellkin.space.arrays import BoolVector, Float32Matrix
from cellkin.store.neighbor_search import Found, Neighbors
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
# The recall of the index type that Milvus chooses is measured as usual, for the certificate.
_INDEX = {"index_type": "AUTOINDEX", "metric_type": "IP"}


class MilvusNeighbors(Neighbors):
    """The vectors of one index version in their own Milvus collection.

    Parameters
    ----------
    uri
        ``milvus://...``.
    collection
        Name of the collection.
    n, dim
        Number of vectors, and their dimension.
    trusted
        Whether to send the token to whatever host the URI names.

    Raises
    ------
    UnavailableError
        If Milvus cannot be reached or does not have the collection.
    """

    remote = True

    def __init__(self, uri: str, collection: str, n: int, dim: int, trusted: bool = False) -> None:
        self.uri = uri
        self.collection = collection
        self._dim = dim
        self._n = n
        self._client = _connect(uri, trusted)
        try:
            _asked(uri, self._load)
        except BaseException:
            self.close()
            raise

    def _load(self) -> None:
        if not self._client.has_collection(self.collection):
            raise UnavailableError(
                f"{self.uri} has no collection {self.collection}; it was dropped there, index the "
                "cells again"
            )
        self._client.load_collection(self.collection)

    @classmethod
    def load(cls, folder: Path, space: str) -> "MilvusNeighbors":
        """Connect to the collection named in the files of an index."""
        place = json.loads(cls.path(folder, space).read_text())
        return cls(place["uri"], place["collection"], place["n"], place["dim"])

    @staticmethod
    def path(folder: Path, space: str) -> Path:
        """Return the file with the location of the vectors of a space."""
        return folder / f"{space}-milvus.json"

    def write(self, folder: Path, space: str) -> None:
        """Write the location of the collection."""
        place = {"uri": self.uri, "collection": self.collection, "n": self._n, "dim": self.dim}
        self.path(folder, space).write_text(json.dumps(place))

    def close(self) -> None:
        """Close the connection, and the file of Milvus Lite."""
        self._client.close()

    @property
    def dim(self) -> int:
        """Dimension of a vector."""
        return self._dim

    @property
    def n_bytes(self) -> int:
        """Size of the vectors as sent; the size in Milvus is not known."""
        return 4 * self.dim * self._n

    def __len__(self) -> int:
        """Return the number of vectors."""
        return self._n

    def search(self, queries: Float32Matrix, k: int, passing: BoolVector | None = None) -> Found:
        """Find the nearest vectors of each query; see `Neighbors.search`.

        Raises
        ------
        FailedPreconditionError
            If ``passing`` is given: Milvus does not know which vectors pass.
        DimensionMismatchError
            If the queries have another dimension than the index.
        UnavailableError
            If Milvus cannot answer.
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
    """Insert the cells of a reference into a collection.

    The name of a collection identifies its content, so a complete one is reused, and one left by
    an interrupted run is filled again.

    Parameters
    ----------
    uri
        ``milvus://...``, given by the user, so that it receives the token.
    collection
        Name of the collection.
    dim, n
        Dimension and number of vectors.
    rows
        Cell names, labels and (n, dim) float32 unit rows, in the order of the index.
    progress
        Called with the number of cells written and the total.
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
    """Call Milvus and translate its errors into `UnavailableError`."""
    from pymilvus.exceptions import MilvusException

    try:
        return ask()
    except CellkinError:
        raise
    except (MilvusException, OSError) as error:
        raise UnavailableError(f"{uri} cannot be asked: {error}") from error
