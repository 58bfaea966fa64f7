"""Digests by which the content of versions is checked."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

_BATCH_ROWS = 16384


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of all files of a folder."""
    if not path.is_dir():
        return file_digest(path)
    digest = hashlib.sha256()
    for part in sorted(part for part in path.rglob("*") if part.is_file()):
        digest.update(f"{part.relative_to(path).as_posix()}\0{file_digest(part)}\n".encode())
    return digest.hexdigest()


def table_digest(table: pa.Table) -> str:
    """Return the SHA-256 of a table's rows, hexadecimal; see `rows_digest`."""
    return rows_digest(table.schema, table.to_batches())


def rows_digest(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> str:
    """Return the SHA-256 of rows, hexadecimal, with few rows in memory at a time.

    It depends on the schema, the values and their order, not on how the rows are chunked.

    Parameters
    ----------
    schema
        Schema of every batch; its metadata is ignored.
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
        for batch in in_batches((b.replace_schema_metadata(None) for b in batches), _BATCH_ROWS):
            stream.write_batch(_copied(pa.Table.from_batches([batch], schema)))
    return digest.hexdigest()


def in_batches(batches: Iterable[pa.RecordBatch], n_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield rows in record batches of one size, the last one smaller; copies only if needed.

    Parameters
    ----------
    batches
        The rows, in batches of any size.
    n_rows
        Rows per batch.
    """
    held: list[pa.RecordBatch] = []
    n_held = 0
    for batch in batches:
        while len(batch):
            held.append(batch.slice(0, n_rows - n_held))
            batch = batch.slice(len(held[-1]))
            n_held += len(held[-1])
            if n_held == n_rows:
                yield _joined(held)
                held, n_held = [], 0
    if held:
        yield _joined(held)


def _joined(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    return parts[0] if len(parts) == 1 else pa.concat_batches(parts)


def _copied(table: pa.Table) -> pa.RecordBatch:
    # Taking every row makes a copy: a slice would keep the offsets of its original table.
    taken = table.take(pa.array(range(len(table)), pa.int64())).combine_chunks()
    return taken.to_batches(max_chunksize=len(table))[0]
