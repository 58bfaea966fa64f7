"""Rows of embedded cells, written in parts; imports only what every worker of a job needs.

A part is written by the worker that embedded its cells, in any process on any machine, and belongs
to no version until a commit names it. A worker that dies, or a part written twice, leaves a file
that no version refers to.
"""

import json
from collections.abc import Iterable

import pyarrow as pa
from lance.fragment import write_fragments

from cellkin.space.arrays import Float32Matrix
from cellkin.store.failures import writing


def write_rows(uri: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> list[str]:
    """Write rows that do not belong to a version yet.

    Parameters
    ----------
    uri
        URI of the table, which need not exist.
    schema
        Schema from `cells_schema`.
    batches
        The rows.

    Returns
    -------
    list
        The fragments written, in row order, as JSON for `commit_rows`.
    """
    reader = pa.RecordBatchReader.from_batches(schema, iter(batches))
    # Not "append": vector widths may differ from those of the previous version.
    with writing(f"rows of {uri}"):
        parts = write_fragments(reader, uri, schema=schema, mode="overwrite")
    return [json.dumps(part.to_json()) for part in parts]


def vector_matrix(column: pa.FixedSizeListArray) -> Float32Matrix:
    """Return a column of vectors as a (n, dim) float32 matrix, without a copy.

    Raises
    ------
    ValueError
        If the column has another type, as in a damaged table.
    """
    if not pa.types.is_fixed_size_list(column.type):
        raise ValueError(f"a column of {column.type}, where vectors are expected")
    flat: Float32Matrix = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, column.type.list_size)
