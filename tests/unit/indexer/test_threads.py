"""Small products have one thread of linear algebra, so that no other one is waited for."""

from typing import Any

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


class Asked(Exception):
    """Ends a fit that was asked for."""


def test_a_space_is_fitted_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def fit(*_: Any) -> Any:
        found.append(blas())
        raise Asked

    nothing: Any = None
    monkeypatch.setattr("cellkin.indexer.cells.fitting.fit_expression", fit)
    with threads.blas_threads(2):
        with pytest.raises(Asked):
            fit_text_part(nothing, nothing, nothing, nothing, Judging.NOTHING, fit)
        with pytest.raises(Asked):
            fit_expression_part(nothing, nothing, Judging.NOTHING)
    assert found == [{1}, {1}]
