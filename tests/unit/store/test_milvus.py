"""What names a Milvus; the answers themselves are tested with a real one."""

import pytest

from cellkin.store.milvus import fill_collection
from cellkin.wire.errors import InvalidArgumentError, UnavailableError

pytest.importorskip("pymilvus")


@pytest.mark.parametrize("uri", ["milvus://", "milvus:///", "http://somewhere:19530"])
def test_what_is_no_milvus_is_refused(uri: str) -> None:
    with pytest.raises(InvalidArgumentError, match="give milvus://HOST:PORT"):
        fill_collection(uri, "cells", 4, 0, iter(()))


def test_a_milvus_that_is_not_there_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"milvus://127\.0\.0\.1:1 cannot be asked"):
        fill_collection("milvus://127.0.0.1:1", "cells", 4, 0, iter(()))
