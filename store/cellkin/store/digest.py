"""Digests: what makes a version's content checkable."""

import hashlib
from pathlib import Path

import pyarrow as pa

_CHUNK_BYTES = 1 << 20


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def table_digest(table: pa.Table) -> str:
    """Return the SHA-256 of a table's rows, hexadecimal.

    It depends on the schema, the values and their order, not on how the rows are chunked.
    """
    digest = hashlib.sha256()

    class Sink:
        closed = False

        def write(self, data: pa.Buffer) -> int:
            digest.update(memoryview(data))
            return len(data)

        def flush(self) -> None:
            pass

    # Taking every row copies it: a slice would bring the offsets of the table it was cut from.
    table = table.take(pa.array(range(len(table)), pa.int64()))
    table = table.combine_chunks().replace_schema_metadata(None)
    with pa.ipc.new_stream(pa.PythonFile(Sink(), "w"), table.schema) as stream:
        for batch in table.to_batches(max_chunksize=16384):
            stream.write_batch(batch)
    return digest.hexdigest()
