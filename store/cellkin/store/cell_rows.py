"""Rows of placed cells, written in parts; imports no more than every worker of a job needs.

A part is written by whoever placed its cells, in any process of any machine, and is nothing until
the commit that names it. So a worker that dies, or a part written twice, leaves a file no version
refers to.
"""

import json
from collections.abc import Iterable

import pyarrow as pa
from lance.fragment import write_fragments

from cellkin.space.arrays import Float32Matrix
from cellkin.store.failures import writing


def write_rows(uri: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> list[str]:
    """Write rows that no version has yet.

    Parameters
    ----------
    uri
        Of the table; it need not exist.
    schema
        From `cells_schema`.
    batches
        The rows.

    Returns
    -------
    list
        The files written, in row order, as JSON for `commit_rows`.
    """
    reader = pa.RecordBatchReader.from_batches(schema, iter(batches))
    # Not "append": a version may have vectors of other widths than the one before.
    with writing(f"rows of {uri}"):
        parts = write_fragments(reader, uri, schema=schema, mode="overwrite")
    return [json.dumps(part.to_json()) for part in parts]


def vector_matrix(column: pa.FixedSizeListArray) -> Float32Matrix:
    """Return the (n, dim) float32 matrix of a column of vectors, not copied."""
    flat: Float32Matrix = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, column.type.list_size)
