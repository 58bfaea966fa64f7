"""Text files, gzipped or not."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path

_GZIP = b"\x1f\x8b"


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file without line ends; gzip is detected by its signature."""
    with path.open("rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        unpacked = gzip.GzipFile(fileobj=file) if packed else file
        with io.TextIOWrapper(unpacked, encoding="utf-8-sig") as text:
            for line in text:
                yield line.rstrip("\r\n")
