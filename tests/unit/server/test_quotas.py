"""Limits of tokens a minute, with the time set forward."""

import asyncio

import pytest

from cellkin.server.metrics import Metrics
from cellkin.server.quotas import Quotas
from cellkin.server.security import READ, Principal
from cellkin.wire.errors import ResourceExhaustedError


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def limited(**limits: int) -> Principal:
    return Principal("lab", frozenset({READ}), limits=limits)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def quotas(metrics: Metrics, clock: Clock) -> Quotas:
    return Quotas(metrics, clock)


@pytest.mark.parametrize("what", ["requests", "streams"])
def test_so_many_a_minute_then_refused_until_refilled(
    what: str, quotas: Quotas, clock: Clock, metrics: Metrics
) -> None:
    lab, is_stream = limited(**{what: 6}), what == "streams"
    for _ in range(6):
        quotas.admit(lab, is_stream, has_cells=True)
    with pytest.raises(ResourceExhaustedError, match=f"6 {what} a minute") as refused:
        quotas.admit(lab, is_stream, has_cells=True)
    assert refused.value.retry_after_s == pytest.approx(10)
    # The other kind has no limit.
    quotas.admit(lab, not is_stream, has_cells=True)
    clock.now += 9.9
    with pytest.raises(ResourceExhaustedError):
        quotas.admit(lab, is_stream, has_cells=True)
    clock.now += 0.2
    quotas.admit(lab, is_stream, has_cells=True)
    clock.now += 3600
    for _ in range(6):
        quotas.admit(lab, is_stream, has_cells=True)
    with pytest.raises(ResourceExhaustedError):
        quotas.admit(lab, is_stream, has_cells=True)
    sample = metrics.registry.get_sample_value
    assert sample(f"cellkin_token_{what}_total", {"token": "lab"}) == 13
    assert sample("cellkin_token_refused_total", {"token": "lab", "quota": what}) == 3


def test_cells_are_overdrawn_once_and_then_refused(
    quotas: Quotas, clock: Clock, metrics: Metrics
) -> None:
    lab = limited(cells=600)
    quotas.admit(lab, False, has_cells=True)
    quotas.charge(lab, 1200)
    with pytest.raises(ResourceExhaustedError, match="600 cells a minute") as refused:
        quotas.admit(lab, False, has_cells=True)
    assert refused.value.retry_after_s == pytest.approx(60)
    quotas.admit(lab, False, has_cells=False)
    clock.now += 60.1
    quotas.admit(lab, False, has_cells=True)
    assert metrics.registry.get_sample_value("cellkin_token_cells_total", {"token": "lab"}) == 1200


def test_a_stream_waits_for_cells(quotas: Quotas, clock: Clock) -> None:
    lab = limited(cells=60_000)
    quotas.charge(lab, 60_010)

    async def waits() -> bool:
        waiting = asyncio.create_task(quotas.wait(lab))
        await asyncio.sleep(0.005)
        waited = not waiting.done()
        clock.now += 1
        await asyncio.wait_for(waiting, 5)
        return waited

    assert asyncio.run(waits())


def test_tokens_of_other_names_and_without_limits_are_apart(quotas: Quotas) -> None:
    lab, other = limited(requests=1), Principal("other", frozenset({READ}), limits={"requests": 1})
    quotas.admit(lab, False, has_cells=False)
    quotas.admit(other, False, has_cells=False)
    free = Principal("free", frozenset({READ}))
    for _ in range(100):
        quotas.admit(free, False, has_cells=True)
        quotas.charge(free, 10**6)


def test_a_limit_that_is_lowered_holds_at_once(quotas: Quotas) -> None:
    quotas.admit(limited(requests=100), False, has_cells=False)
    quotas.admit(limited(requests=1), False, has_cells=False)
    with pytest.raises(ResourceExhaustedError):
        quotas.admit(limited(requests=1), False, has_cells=False)
