#!/usr/bin/env bash
# obstore 0.12.1: any client option given in code drops the client options of the environment.
#
# AWS_ALLOW_HTTP=true and AWS_ENDPOINT name an S3 server that speaks plain HTTP.
# Expected: from_url("s3://bucket", client_options={"connect_timeout": "5s"}) sets the timeout and
#   keeps what the environment says of the rest, as it keeps endpoint and keys.
# Seen: without client_options an object is read; with connect_timeout alone the client refuses the
#   plain HTTP endpoint before it sends anything ("builder error"). Naming allow_http beside it helps.
# Whoever sets a timeout in code has to repeat every client option that users set by environment.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check "obstore==0.12.1"
"$folder/env/bin/python" - <<'PYTHON'
import importlib.metadata
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url


class Bucket(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.send_header("Last-Modified", "Sat, 01 Aug 2026 00:00:00 GMT")
        self.send_header("ETag", '"a"')
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *args):
        pass


server = HTTPServer(("127.0.0.1", 0), Bucket)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ |= {
    "AWS_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
    "AWS_ALLOW_HTTP": "true",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
}


def read(**options):
    try:
        store = from_url("s3://bucket", retry_config={"max_retries": 0}, **options)
        return bytes(obstore.get(store, "object").bytes()).decode()
    except BaseError as error:
        return "builder error" if "builder error" in str(error) else f"another error: {error}"


seen = [
    read(),
    read(client_options={"connect_timeout": "5s"}),
    read(client_options={"connect_timeout": "5s", "allow_http": "true"}),
]
print(importlib.metadata.version("obstore"), seen)
sys.exit(0 if seen == ["hello", "builder error", "hello"] else 1)
PYTHON
