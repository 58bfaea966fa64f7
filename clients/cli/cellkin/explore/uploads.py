"""Files that users upload: written to the session's folder as their parts arrive."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from panel.widgets import FileDropper

_CHUNK_BYTES = 4 << 20


class Upload(FileDropper):  # type: ignore[misc]
    """A place to drop one file, which is kept on disk, never in memory.

    Parameters
    ----------
    folder
        Where files are written.
    max_mb
        Largest file, in megabytes; checked by the browser before it sends anything, and again here.
    uploaded
        Called with the path of a whole file, or None when the user takes it away.
    refused
        Called with a sentence if a file is not accepted.
    """

    def __init__(
        self,
        folder: Path,
        max_mb: int,
        uploaded: Callable[[Path | None], None],
        refused: Callable[[str], None],
    ) -> None:
        super().__init__(
            multiple=False, max_file_size=f"{max_mb}MB", chunk_size=_CHUNK_BYTES, previews=[],
            sizing_mode="stretch_width", height=110, margin=(5, 10),
        )  # fmt: skip
        self._folder, self._max_bytes = folder, max_mb * 1_000_000
        self._uploaded, self._refused = uploaded, refused
        self._path: Path | None = None
        self._n_next = 0

    def _process_event(self, event: Any) -> None:
        """Take a part of a file, or the news that the user removed it."""
        data = event.data
        if event.event_name == "delete_event":
            self._drop()
            self._uploaded(None)
            return
        if data["chunk"] == 1:
            self._drop()
            self._path, self._n_next = self._folder / safe_name(data["name"]), 1
        if self._path is None or data["chunk"] != self._n_next:
            return  # of a file that was refused or taken away
        with self._path.open("ab") as file:
            file.write(data["data"])
            n_bytes = file.tell()
        self._n_next += 1
        if n_bytes > self._max_bytes:
            self._drop()
            self._refused(
                f"{data['name']} is larger than {self._max_bytes // 1_000_000:,} MB, the most that "
                "may be uploaded; use cellkin annotate on your own machine"
            )
        elif data["chunk"] == data["total_chunks"]:
            self._uploaded(self._path)

    def _drop(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._path = None


def safe_name(name: str) -> str:
    """Return the last part of a file name, of letters that mean nothing to any file system."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(c if c.isalnum() or c in "-_.+ " else "_" for c in last).strip(" .")
    return kept[-120:] or "file"
