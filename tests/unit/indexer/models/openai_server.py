"""A server on loopback that speaks OpenAI's embeddings protocol, and misbehaves when told to."""

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

import numpy as np

from cellkin.indexer.models.openai_api import OpenAIModel
from cellkin.indexer.models.openai_client import Endpoint
from cellkin.indexer.models.openai_packing import Limits

DIM = 8
KEY = "my-secret-0123456789"

Answer = dict[str, Any]
Misdeed = Callable[["Exchange"], None]


def lower_case(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def vector(text: str, dim: int) -> list[float]:
    """The vector the server has for a text."""
    draw = np.random.default_rng(crc32(text.encode())).standard_normal(dim)
    values: list[float] = (draw / np.linalg.norm(draw)).astype(np.float32).tolist()
    return values


@dataclass
class Exchange:
    """A request that was received, and the ways it can be answered."""

    handler: BaseHTTPRequestHandler
    body: dict[str, Any]
    server: "FakeOpenAI"

    def right(self) -> Answer:
        dim = self.body.get("dimensions", self.server.dim)
        vectors = [vector(text, dim) for text in self.body["input"]]
        data = [
            {"object": "embedding", "index": index, "embedding": self._encoded(values)}
            for index, values in enumerate(vectors)
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return {"object": "list", "data": data, "model": self.body["model"], "usage": usage}

    def _encoded(self, values: list[float]) -> Any:
        if self.body["encoding_format"] == "base64" and not self.server.ignores_base64:
            return base64.b64encode(np.array(values, "<f4").tobytes()).decode()
        return values

    def send(self, answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(answer).encode()
        self.handler.send_response(status)
        self.handler.send_header("Content-Type", "application/json")
        self.handler.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(content)

    def fail(self, status: int, message: str, code: str = "", **headers: str) -> None:
        error = {"message": message, "type": "error", "param": None, "code": code or None}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.send({"error": error}, status, named)

    def cut_off(self, n_bytes: int) -> None:
        """Announce the whole answer, send a part of it and hang up."""
        content = json.dumps(self.right()).encode()
        self.handler.send_response(200)
        self.handler.send_header("Content-Length", str(len(content)))
        self.handler.end_headers()
        self.handler.wfile.write(content[:n_bytes])
        self.handler.close_connection = True


@dataclass
class FakeOpenAI:
    """The server; what it received lies in ``bodies`` and ``headers``.

    Each of ``misdeeds`` answers one request, the first the first; after them, or where one is None,
    answers are right, if the request is within ``max_inputs``.
    """

    dim: int = DIM
    max_inputs: int = 10**9
    delay_s: float = 0.0
    ignores_base64: bool = False
    misdeeds: deque[Misdeed | None] = field(default_factory=deque)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "FakeOpenAI":
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                fake.receive(Exchange(self, json.loads(self.rfile.read(length)), fake))

            def do_GET(self) -> None:
                fake.headers.append(lower_case(self.headers))
                self.send_error(405)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._http.server_port}"

    @property
    def inputs(self) -> list[list[str]]:
        return [body["input"] for body in self.bodies]

    def receive(self, exchange: Exchange) -> None:
        with self._lock:
            self.bodies.append(exchange.body)
            self.headers.append(lower_case(exchange.handler.headers))
            self.paths.append(exchange.handler.path)
            self.times_s.append(time.monotonic())
            misdeed = self.misdeeds.popleft() if self.misdeeds else None
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        time.sleep(self.delay_s)
        if misdeed is not None:
            misdeed(exchange)
        elif not urlsplit(exchange.handler.path).path.endswith("/embeddings"):
            exchange.fail(404, "no such path")
        elif len(exchange.body["input"]) > self.max_inputs:
            exchange.fail(422, f"batch size {len(exchange.body['input'])} > {self.max_inputs}")
        else:
            exchange.send(exchange.right())
        with self._lock:
            self._at_once -= 1


def model_at(server: FakeOpenAI, **limits: int) -> OpenAIModel:
    endpoint = Endpoint(server.url, "gene-embedder", key=KEY)
    return OpenAIModel("gene-embedder", endpoint, DIM, Limits(**limits))


def expected(texts: list[str], dim: int = DIM) -> Any:
    return np.array([vector(text, dim) for text in texts], np.float32)
