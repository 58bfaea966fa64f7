"""Downloads of files of a session."""

from pathlib import Path
from urllib.parse import quote

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

_CHUNK_BYTES = 1 << 20


class Download(RequestHandler):
    """Sends a file to whoever knows its key, which only its session does."""

    def initialize(self, files: dict[str, Path]) -> None:
        """Remember the files of all sessions by key."""
        self._files = files

    async def get(self, key: str) -> None:
        """Send a file in parts."""
        path = self._files.get(key)
        if path is None or not path.is_file():
            raise HTTPError(404, reason="Gone: the tab that offered this file was closed")
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{quote(path.name)}")
        self.set_header("Content-Length", str(path.stat().st_size))
        self.set_header("X-Content-Type-Options", "nosniff")
        with path.open("rb") as file:
            while part := file.read(_CHUNK_BYTES):
                self.write(part)
                try:
                    await self.flush()
                except StreamClosedError:
                    return
