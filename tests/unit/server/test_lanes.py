"""Places to wait are counted, and who finds none is told when to come back."""

import threading

import pytest

from cellkin.server.lanes import Lane, Turnstile
from cellkin.wire.errors import ResourceExhaustedError


def test_a_lane_is_full_when_every_thread_and_place_is_taken() -> None:
    lane, go = Lane("test", 2, 3), threading.Event()
    for n in range(5):
        assert not lane.is_full
        assert lane.n_pending == n
        lane.submit(go.wait, 20)
    assert lane.is_full
    refusal = lane.refusal()
    assert refusal.metadata == {"limit": "test", "value": "5"}
    assert refusal.retry_after_s is not None
    assert refusal.retry_after_s >= 0.05
    go.set()
    lane.shutdown(wait=True)
    assert lane.n_pending == 0


def test_work_that_fails_gives_its_place_back() -> None:
    lane = Lane("test", 1, 0)
    future = lane.submit(lambda: 1 // 0)
    assert isinstance(future.exception(timeout=20), ZeroDivisionError)
    lane.shutdown(wait=True)
    assert not lane.is_full


def test_a_client_has_its_share_and_others_theirs() -> None:
    turnstile = Turnstile(2)
    turnstile.enter("a")
    turnstile.enter("a")
    turnstile.enter("b")
    with pytest.raises(ResourceExhaustedError, match="a has 2 requests at once") as caught:
        turnstile.enter("a")
    assert caught.value.retry_after_s
    turnstile.leave("a")
    turnstile.enter("a")
    for client in ("a", "a", "b"):
        turnstile.leave(client)
    assert turnstile._counts == {}
