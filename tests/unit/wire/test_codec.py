"""Arrays as bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkin.wire import codec
from cellkin.wire.errors import InvalidArgumentError


@given(st.lists(st.floats(width=32, allow_nan=True)))
def test_floats_round_trip_bit_for_bit(values: list[float]) -> None:
    array = np.array(values, np.float32)
    assert codec.decode(codec.encode(array), np.float32, "v").tobytes() == array.tobytes()


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_integers_round_trip(values: list[int]) -> None:
    assert codec.decode(codec.encode(np.array(values, np.int64)), np.int64, "v").tolist() == values


def test_bytes_are_little_endian() -> None:
    assert codec.encode(np.array([1], np.int32)) == b"\x01\x00\x00\x00"
    assert codec.encode(np.array([1], ">i4")) == b"\x01\x00\x00\x00"


def test_half_a_value_is_refused() -> None:
    with pytest.raises(
        InvalidArgumentError, match="field values: 5 bytes are no whole number of 4-byte"
    ):
        codec.decode(b"12345", np.float32, "values")
