#!/usr/bin/env bash
# obstore 0.12.1: HTTPStore cannot read a response that has no Content-Length.
#
# HTTP/1.1 allows a response of chunks whose length is not told before (RFC 9112, section 7.1), and
# servers that pack or make files while they send them answer so.
# Expected: obstore.get reads such a file like any other.
# Seen: it raises an error that a Content-Length header is missing, after a sound answer of 200.
#   The same bytes with Content-Length are read.
# See also apache/arrow-rs-object-store#340.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check "obstore==0.12.1"
"$folder/env/bin/python" - <<'PYTHON'
import importlib.metadata
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import obstore
from obstore.exceptions import BaseError
from obstore.store import HTTPStore


class Files(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Last-Modified", "Sat, 01 Aug 2026 00:00:00 GMT")
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n0\r\n\r\n")
        else:
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

    def log_message(self, *args):
        pass


server = HTTPServer(("127.0.0.1", 0), Files)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
store = HTTPStore.from_url(
    url, client_options={"allow_http": True}, retry_config={"max_retries": 0}
)


def read(path):
    try:
        return bytes(obstore.get(store, path).bytes()).decode()
    except BaseError as error:
        return "no length" if "content-length" in str(error).lower() else f"another: {error}"


plain = urllib.request.urlopen(f"{url}/chunked").read().decode()
seen = [plain, read("whole"), read("chunked")]
print(importlib.metadata.version("obstore"), seen)
sys.exit(0 if seen == ["hello", "hello", "no length"] else 1)
PYTHON
