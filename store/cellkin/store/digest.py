"""Digests: what makes a version's content checkable."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

_BATCH_ROWS = 16384


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def table_digest(table: pa.Table) -> str:
    """Return the SHA-256 of a table's rows, hexadecimal; see `rows_digest`."""
    return rows_digest(table.schema, table.to_batches())


def rows_digest(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> str:
    """Return the SHA-256 of rows, hexadecimal, holding few of them at a time.

    It depends on the schema, the values and their order, not on how the rows are chunked.

    Parameters
    ----------
    schema
        Of every batch; its metadata does not count.
    batches
        The rows, in batches of any size.
    """
    digest = hashlib.sha256()

    class Sink:
        closed = False

        def write(self, data: pa.Buffer) -> int:
            digest.update(memoryview(data))
            return len(data)

        def flush(self) -> None:
            pass

    schema = schema.remove_metadata()
    with pa.ipc.new_stream(pa.PythonFile(Sink(), "w"), schema) as stream:
        for batch in _rechunked(schema, batches):
            stream.write_batch(batch)
    return digest.hexdigest()


def _rechunked(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    """Yield the rows in batches of `_BATCH_ROWS`, the last one smaller."""
    held: list[pa.RecordBatch] = []
    n_held = 0
    for batch in batches:
        held.append(batch.replace_schema_metadata(None))
        n_held += len(batch)
        while n_held >= _BATCH_ROWS:
            table = pa.Table.from_batches(held, schema)
            yield _copied(table.slice(0, _BATCH_ROWS))
            held = table.slice(_BATCH_ROWS).to_batches()
            n_held -= _BATCH_ROWS
    if n_held:
        yield _copied(pa.Table.from_batches(held, schema))


def _copied(table: pa.Table) -> pa.RecordBatch:
    # Taking every row copies it: a slice would bring the offsets of the table it was cut from.
    taken = table.take(pa.array(range(len(table)), pa.int64())).combine_chunks()
    return taken.to_batches(max_chunksize=len(table))[0]
