"""A text is embedded only for a client that still waits."""

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cellkin.server import calls, text_models
from cellkin.server.calls import Call
from cellkin.server.text_models import TextModels
from cellkin.wire.errors import CancelledError, DeadlineExceededError


@pytest.mark.parametrize("busy", [False, True])
def test_no_text_is_embedded_for_a_client_that_left(
    monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    embedded: list[str] = []

    def embed(texts: list[str]) -> Any:
        embedded.extend(texts)
        return np.ones((1, 2), np.float32)

    model = SimpleNamespace(info=SimpleNamespace(revision="1"), embed=embed)
    monkeypatch.setattr(text_models, "_load", lambda spec: model)
    models = TextModels(["random:2:0"])
    entry: Any = SimpleNamespace(
        name="random-2-0", full_name="random-2-0@1", manifest={"settings": {"revision": "1"}}
    )
    now = time.perf_counter()
    late, left = Call("/m", now, now), Call("/m", now, left=True)
    try:
        if busy:
            models._turn.acquire()
        for call, error in ((late, DeadlineExceededError), (left, CancelledError)):
            calls.work_on(call)
            with pytest.raises(error):
                models.embed("insulin", entry)
        assert not embedded
        if busy:
            models._turn.release()
        calls.work_on(None)
        assert models.embed("insulin", entry).tolist() == [1, 1]
    finally:
        calls.work_on(None)
