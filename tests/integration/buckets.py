"""A server of the S3 protocol on this machine, and buckets in it."""

import http.client
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest


@contextmanager
def s3_server() -> Iterator[int]:
    """A moto server in its own process; yields its port."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"Running on http://127\.0\.0\.1:(\d+)", line):
                break
        else:
            raise RuntimeError("moto did not start")
        reader = Thread(target=process.stderr.read)
        reader.start()
        yield int(found[1])
    finally:
        process.terminate()
        process.wait(timeout=20)
        reader.join()
        process.stderr.close()


def new_bucket(port: int, monkeypatch: pytest.MonkeyPatch, scratch: Path) -> str:
    """Make a bucket and point the environment at its server; return the URI of a store in it."""
    settings = {
        "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "XDG_CACHE_HOME": str(scratch / "cache"),
    }
    for key, value in settings.items():
        monkeypatch.setenv(key, value)
    name = re.sub(r"[^a-z0-9]", "", scratch.name.lower())[-40:] + str(os.getpid())
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("PUT", f"/{name}", headers={"Host": f"127.0.0.1:{port}"})
    assert connection.getresponse().status == 200
    connection.close()
    return f"s3://{name}/store"
