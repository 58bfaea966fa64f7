"""Small products have one thread of linear algebra, so that no other one is waited for."""

import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import faiss  # noqa: F401  its BLAS is one of OpenMP, with a limit for each thread
import pytest
from threadpoolctl import threadpool_info

from cellkin.indexer import threads
from cellkin.indexer.cells.fitting import Judging, fit_expression_part, fit_text_part


def blas() -> set[int]:
    """Threads of the libraries of linear algebra."""
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_threads_follow_the_size_of_a_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "n_cores", lambda: 2)
    with threads.blas_threads(1):
        with threads.threads_for(10**9):
            assert blas() == {2}
            with threads.threads_for(1000):
                assert blas() == {1}
        assert blas() == {1}


@pytest.mark.parametrize("n_cores", [1, 3])
def test_parts_run_in_threads_in_order(n_cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "n_cores", lambda: n_cores)
    met = threading.Barrier(n_cores, timeout=10)

    def work(number: int) -> tuple[int, set[int], str]:
        met.wait()  # breaks unless all threads are at work
        return number, blas(), threading.current_thread().name

    with threads.blas_threads(2):
        found = threads.in_parallel(work, range(3))
        assert blas() == {2}
    assert [number for number, _, _ in found] == [0, 1, 2]
    assert all(limits == {1} for _, limits, _ in found)
    assert len({name for _, _, name in found}) == n_cores


def test_the_error_of_a_part_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "n_cores", lambda: 2)

    def fail(number: int) -> None:
        raise Asked(number)

    with pytest.raises(Asked):
        threads.in_parallel(fail, [0, 1])


class Asked(Exception):
    """Ends a fit that was asked for."""


def test_a_space_is_fitted_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def fit(*_: Any) -> Any:
        found.append(blas())
        raise Asked

    nothing: Any = SimpleNamespace(n_labels=1)
    monkeypatch.setattr("cellkin.indexer.cells.fitting.fit_expression", fit)
    with threads.blas_threads(2):
        with pytest.raises(Asked):
            fit_text_part(nothing, nothing, nothing, nothing, Judging.NOTHING, fit)
        with pytest.raises(Asked):
            fit_expression_part(nothing, nothing, Judging.NOTHING)
    assert found == [{1}, {1}]


def test_work_in_the_background_has_a_result_or_an_error() -> None:
    met = threading.Event()

    def work() -> str:
        assert met.wait(10)
        return threading.current_thread().name

    result = threads.in_background(work)
    met.set()
    assert result() == "background"

    def fail() -> None:
        raise Asked

    failed = threads.in_background(fail)
    with pytest.raises(Asked):
        failed()


def test_libraries_loaded_later_are_limited_too() -> None:
    script = (
        "from cellkin.indexer.threads import blas_threads\n"
        "from threadpoolctl import threadpool_info\n"
        "def pools(): return {p['filepath']: p['num_threads'] for p in threadpool_info()"
        " if p['user_api'] == 'blas'}\n"
        "with blas_threads(1): before = pools()\n"
        "import faiss\n"
        "with blas_threads(1): after = pools()\n"
        "assert len(after) > len(before), after\n"
        "assert set(after.values()) == {1}, after\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
