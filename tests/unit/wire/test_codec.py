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


def test_small_counts_take_a_byte_each() -> None:
    values = np.array([0, 1, 254, 255, 256, 0.5, 3, 7, 9, 70_000, 11, 12], np.float32)
    found = codec.encode_small(values)
    assert found is not None
    small, others = found
    assert list(small) == [0, 1, 254, 255, 255, 255, 3, 7, 9, 255, 11, 12]
    assert others.tolist() == [255, 256, 0.5, 70_000]


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1.5, 3e38])
def test_no_other_value_is_taken_for_a_small_count(value: float) -> None:
    found = codec.encode_small(np.array([1, 2, value, 4], np.float32))
    assert found is not None
    assert found[0] == bytes([1, 2, 255, 4])
    np.testing.assert_array_equal(found[1], np.array([value], np.float32))


def test_values_that_are_no_counts_stay_as_they_are() -> None:
    assert codec.encode_small(np.array([0.25, 1.5, 3], np.float32)) is None
    nothing = codec.encode_small(np.empty(0, np.float32))
    assert nothing is not None
    assert nothing[0] == b""
