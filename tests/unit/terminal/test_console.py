"""Progress in a log."""

from collections.abc import Iterator

import pytest

from cellkin.terminal import console


@pytest.mark.parametrize(
    ("reports", "said"),
    [
        ([(0, 100), (20, 100)], ["0 of 100", "20 of 100, 2.0/s, 40 s left"]),
        # An interrupted run had done 400.
        ([(400, 1000), (500, 1000)], ["400 of 1000", "500 of 1000, 10/s, 50 s left"]),
        ([(0, 0)], ["0 of 0"]),
        ([(8, 8)], ["8 of 8"]),
    ],
)
def test_the_rate_is_that_of_this_run(
    reports: list[tuple[int, int]],
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    times: Iterator[float] = iter(range(0, 100, 10))
    monkeypatch.setattr(console, "monotonic", lambda: float(next(times)))
    with console.progress_bar("work") as progress:
        for done, total in reports:
            progress(done, total)
    assert capsys.readouterr().err.splitlines() == [f"work: {line}" for line in said]
