"""Stream tab-separated files with a header line, plain or gzip."""

import gzip
import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from cellkin.wire.errors import InputFileError

_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK_BYTES = 16 << 20
"""Block size; also the longest line that can be read."""
_HEADER_BYTES = 1 << 16
_WRONG_VALUE = re.compile(
    r"In CSV column #(\d+): Row #(\d+): CSV conversion error to (string|int32|int64): (.*)"
)
_WRONG_WIDTH = re.compile(r"CSV parse error: Row #(\d+): Expected (\d+) columns, got (\d+)")


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Convert errors of reading ``path`` to `InputFileError` with its name.

    Parameters
    ----------
    path
        The file.
    what
        Expected kind of file, such as "NCBI gene_info".
    """
    try:
        yield
    except FileNotFoundError:
        raise InputFileError(
            f"{what} file {path}: there is no such file; check the path, or download the file first"
        ) from None
    except IsADirectoryError:
        raise InputFileError(f"{what} file {path}: this is a folder; name a file in it") from None
    except EOFError:
        raise _damaged(path, what, "it ends too early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, what, str(error)) from None
    except UnicodeDecodeError as error:
        raise InputFileError(
            f"{what} file {path}: byte {error.start} is no UTF-8 text; convert the file to UTF-8"
        ) from None
    except OSError as error:
        if "Truncated compressed stream" in str(error):
            raise _damaged(path, what, "it ends too early") from None
        if "zlib" in str(error):
            raise _damaged(path, what, str(error)) from None
        raise InputFileError(f"{what} file {path}: cannot be read: {error}") from None


def _damaged(path: Path, what: str, how: str) -> InputFileError:
    return InputFileError(
        f"{what} file {path}: the gzip data is damaged ({how}); download the file again"
    )


def _wrong_line(path: Path, what: str, names: Sequence[str], message: str) -> InputFileError:
    """Convert an error of Arrow, whose row numbers include the header, to one about the file."""
    if found := _WRONG_VALUE.match(message):
        column, line, kind, value = found.groups()
        wrong = "is no UTF-8 text"
        if kind != "string":
            wrong = f"is {value.removeprefix('invalid value ')}, expected a {kind[3:]}-bit integer"
        return InputFileError(
            f"{what} file {path}: line {line}: {names[int(column)]} {wrong}; correct the line"
        )
    if found := _WRONG_WIDTH.match(message):
        line, expected, given = found.groups()
        return InputFileError(
            f"{what} file {path}: line {line} has {given} tab-separated fields, "
            f"the header {expected}; correct the line or download the file again"
        )
    if "straddling" in message:
        message = f"a line has over {_BLOCK_BYTES} bytes"
    return InputFileError(
        f"{what} file {path}: {message}; expected tab-separated UTF-8 text with a header line"
    )


def is_gzip(path: Path) -> bool:
    """Return whether a file is gzip, by its content."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP_MAGIC


def _header(path: Path, what: str, expected: Collection[str]) -> list[str]:
    with gzip.open(path) if is_gzip(path) else path.open("rb") as file:
        line = file.readline(_HEADER_BYTES)
    if not line:
        raise InputFileError(f"{what} file {path}: the file is empty; download it again")
    if len(line) == _HEADER_BYTES and not line.endswith(b"\n"):
        raise InputFileError(
            f"{what} file {path}: the first line has {_HEADER_BYTES} bytes or more; expected a "
            f"header with {', '.join(expected)}"
        )
    if not line.endswith(b"\n"):
        raise InputFileError(
            f"{what} file {path}: there is no line after the header; download the file again"
        )
    text = line.decode("utf-8-sig", errors="replace").rstrip("\r\n")
    columns = text.removeprefix("#").split("\t")
    missing = [name for name in expected if name not in columns]
    if missing:
        shown = ", ".join(columns)
        raise InputFileError(
            f"{what} file {path}: the header lacks {', '.join(missing)}; "
            f"found: {shown[:300]}{'...' if len(shown) > 300 else ''}; "
            f"expected: {', '.join(expected)}"
        )
    return columns


def stream_tsv(
    path: Path, what: str, columns: Mapping[str, pa.DataType], optional: Collection[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Read some columns of a tab-separated file in batches of bounded memory.

    The first line is the header, with or without a leading ``#``; columns may be in any order, and
    others are ignored. ``-`` is a missing value, an empty field an empty string. Quotes are
    ordinary characters.

    Parameters
    ----------
    path
        The file, plain or gzip, detected by its content.
    what
        Expected kind of file for error messages, such as "NCBI gene_info".
    columns
        Requested columns and their types.
    optional
        Requested columns that may be missing; their values are null then.

    Yields
    ------
    pyarrow.RecordBatch
        The columns in the requested order; null for missing values.

    Raises
    ------
    InputFileError
        If the file is missing, has no complete header line, is damaged or truncated gzip, is not
        UTF-8, lacks a column, or has a line with another number of fields or with a value that is
        not an integer in an integer column. Raised during iteration; plain text that was cut at
        the end of a line is not recognized.
    """
    with reading(path, what):
        names = _header(path, what, [name for name in columns if name not in optional])
        compression = "gzip" if is_gzip(path) else None
        with pa.input_stream(path, compression=compression) as stream:
            try:
                yield from pa.csv.open_csv(
                    stream,
                    # With more threads errors do not have the line number.
                    pa.csv.ReadOptions(
                        use_threads=False, block_size=_BLOCK_BYTES, skip_rows=1, column_names=names
                    ),
                    pa.csv.ParseOptions(delimiter="\t", quote_char=False, double_quote=False),
                    pa.csv.ConvertOptions(
                        include_columns=list(columns),
                        column_types=dict(columns),
                        include_missing_columns=True,
                        null_values=["-"],
                        strings_can_be_null=True,
                    ),
                )
            except pa.ArrowInvalid as error:
                message = str(error).partition("\n")[0]
                raise _wrong_line(path, what, names, message) from None


def keep_taxa(batch: pa.RecordBatch, taxa: Collection[int] | None, *columns: str) -> pa.RecordBatch:
    """Keep rows with one of the taxa in any of the columns; all rows if ``taxa`` is None."""
    if taxa is None:
        return batch
    wanted = pa.array(sorted(taxa), pa.int32())
    masks = [pc.is_in(batch.column(name), value_set=wanted) for name in columns]
    mask = masks[0]
    for other in masks[1:]:
        mask = pc.or_(mask, other)
    return batch.filter(mask)
