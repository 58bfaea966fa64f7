"""Answers on disk: whatever the blocks and wherever a run stops, the same in the end."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from cellkin.client.calls.messages import to_message
from cellkin.client.labels import checkpoint
from cellkin.client.labels.checkpoint import Checkpoint, Memory
from cellkin.client.queries import Block
from cellkin.client.results.predictions import Predictions, read_predictions
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import CheckpointError, InvalidArgumentError
from cellkin.wire.terms import GeneRoute

N_GENES, N_ROUTES = 3, len(GeneRoute)


def block(start: int, n: int) -> Block:
    rng = np.random.default_rng(start)
    cells = sp.csr_matrix(rng.poisson(1, (n, N_GENES)).astype(np.float32))
    return Block(cells, [f"c{at}" for at in range(start, start + n)])


def answer(start: int, n: int, dim: int) -> Predictions:
    rng = np.random.default_rng(1000 + start)
    floats = [rng.random(n).astype(np.float32) for _ in range(3)]
    return Predictions(
        rng.integers(-1, 9, n).astype(np.int32),
        floats[0],
        floats[1],
        rng.integers(0, 9, n).astype(np.uint8),
        floats[2],
        rng.integers(0, 4, n).astype(np.uint8),
        rng.integers(-1, 3, n).astype(np.int32),
        rng.random((n, dim)).astype(np.float32),
        rng.random((n, N_ROUTES)).astype(np.float32),
        rng.integers(-1, 9, n).astype(np.int32),
        rng.random(n).astype(np.float32),
        rng.random((n, dim)).astype(np.float32),
        rng.random((n, 2 if dim else 0)).astype(np.float32),
    )


def blocks(sizes: list[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for n in sizes:
        yield start, n
        start += n


def run(folder: Path, sizes: list[int], dim: int, stop_after: int | None = None) -> Checkpoint:
    """Go on with a run, and let it be killed after some blocks."""
    kept = Checkpoint(folder, {"dim": dim})
    places = blocks(sizes)
    names = kept.skip(block(*place) for place in places)
    assert len(names) == kept.n_cells
    for at, (start, n) in enumerate(places):
        if at == stop_after:
            return kept
        kept.add(block(start, n), answer(start, n, dim), np.full(N_GENES, float(start)))
    kept.write()
    return kept


def columns(found: Predictions) -> dict[str, Any]:
    return {name: getattr(found, name) for name in Predictions.__dataclass_fields__}


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    stops=st.lists(st.integers(0, 6), max_size=3),
    part=st.integers(1, 20),
    dim=st.sampled_from([0, 2]),
)
def test_a_run_that_is_killed_anywhere_ends_the_same(
    sizes: list[int], stops: list[int], part: int, dim: int
) -> None:
    with TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "PART_CELLS", part)
        patch.setattr("os.fsync", lambda _: None)  # no machine crashes here
        whole, broken = Path(scratch) / "whole", Path(scratch) / "broken"
        right = run(whole, sizes, dim)
        for stop in stops:
            run(broken, sizes, dim, stop)
            # A crash in the middle of writing leaves more than the manifest knows of.
            for name in (*Predictions.__dataclass_fields__, "mass"):
                with (broken / f"{name}.bin").open("ab") as torn:
                    torn.write(b"torn")
            (broken / ".manifest.json.partial").write_text("{")
        found = run(broken, sizes, dim)
        expected = Predictions.join([answer(*place, dim) for place in blocks(sizes)])
        for name, values in columns(right.answers()).items():
            if right.n_cells:
                np.testing.assert_array_equal(values, getattr(expected, name), strict=True)
            np.testing.assert_array_equal(getattr(found.answers(), name), values, strict=True)
        assert found.mass(N_GENES).tobytes() == right.mass(N_GENES).tobytes()


@given(sizes=st.lists(st.integers(0, 5), max_size=6), dim=st.sampled_from([0, 2]))
def test_memory_keeps_what_a_folder_keeps(sizes: list[int], dim: int) -> None:
    kept = Memory()
    places = list(blocks(sizes))
    assert kept.skip(iter([])) == []
    for start, n in places:
        kept.add(block(start, n), answer(start, n, dim), np.full(N_GENES, float(start)))
    kept.write()
    found, right = kept.answers(), [answer(*place, dim) for place in places if place[1]]
    for name, values in columns(found).items():
        if right:
            expected = np.concatenate([getattr(part, name) for part in right])
            np.testing.assert_array_equal(values, expected, strict=True)
        assert len(values) == sum(sizes)
    assert kept.mass(N_GENES).tolist() == [sum(start for start, _ in places)] * N_GENES


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the answers to ten cells, in three parts."""
    monkeypatch.setattr(checkpoint, "PART_CELLS", 4)
    run(tmp_path / "made", [2, 2, 4, 2], 2)
    return tmp_path / "made"


def test_another_run_is_refused(made: Path) -> None:
    with pytest.raises(CheckpointError, match="is of another run: dim was 2, is 3") as caught:
        Checkpoint(made, {"dim": 3})
    assert caught.value.metadata == {"different": "dim"}
    with pytest.raises(CheckpointError, match=r"share was null, is 0\.9[,;.]"):
        Checkpoint(made, {"dim": 2, "share": float(np.float32(0.9))})


def test_other_cells_are_refused(made: Path) -> None:
    kept = Checkpoint(made, {"dim": 2})
    others = [block(0, 2), block(2, 2), block(5, 4)]
    with pytest.raises(CheckpointError, match="those up to cell 8 are not the ones"):
        kept.skip(iter(others))
    with pytest.raises(CheckpointError, match="is of other cells"):
        Checkpoint(made, {"dim": 2}).skip(iter([block(0, 2)]))


@pytest.mark.parametrize("name", ["vectors", "winners", "mass"])
def test_answers_that_were_changed_are_refused(made: Path, name: str) -> None:
    file = made / f"{name}.bin"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="the answers to cells 8 to 10 are not those"):
        Checkpoint(made, {"dim": 2})
    file.write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match="is cut short"):
        Checkpoint(made, {"dim": 2})


def test_what_is_no_checkpoint_is_refused(made: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(CheckpointError, match="holds something that is no checkpoint"):
        Checkpoint(tmp_path, {})
    manifest = made / "manifest.json"
    state = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(state | {"format": 9}))
    with pytest.raises(CheckpointError, match="is of format 9"):
        Checkpoint(made, {"dim": 2})
    manifest.write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        Checkpoint(made, {"dim": 2})


@given(n=st.integers(0, 6), dim=st.integers(1, 3), seed=st.integers(0, 99))
def test_predictions_come_over_the_wire_as_they_were(n: int, dim: int, seed: int) -> None:
    sent = answer(seed, n, dim)
    message = wire.PredictionBlock(
        winners=codec.encode(sent.winners),
        probabilities=codec.encode(sent.probabilities),
        supports=codec.encode(sent.supports),
        n_votes=codec.encode(sent.n_votes),
        novelties=codec.encode(sent.novelties),
        unknown_reasons=codec.encode(sent.reasons),
        fallbacks=codec.encode(sent.fallbacks),
        vectors=codec.encode(sent.vectors),
        dim=dim,
        route_shares=codec.encode(sent.route_shares),
        runners_up=codec.encode(sent.runners_up),
        runner_up_probabilities=codec.encode(sent.runner_up_probabilities),
        label_probabilities=codec.encode(sent.label_probabilities),
        positions=codec.encode(sent.positions),
    )
    back = read_predictions(wire.PredictionBlock.FromString(message.SerializeToString()))
    for name, values in columns(sent).items():
        # Of no cells nobody says how many labels there are, or whether positions were asked for.
        if n or name not in ("label_probabilities", "positions"):
            np.testing.assert_array_equal(getattr(back, name), values, strict=True)


@given(
    st.integers(0, 5).flatmap(
        lambda n: st.lists(
            st.lists(st.floats(0, 1e6, width=32), min_size=4, max_size=4), min_size=n, max_size=n
        )
    ),
    st.sampled_from([np.int32, np.int64]),
    st.sampled_from([np.float32, np.float64, np.uint16]),
)
def test_cells_are_sent_as_they_are(counts: list[list[float]], index: Any, value: Any) -> None:
    cells = sp.csr_matrix(np.array(counts, np.float32).reshape(-1, 4).astype(value))
    cells.indices, cells.indptr = cells.indices.astype(index), cells.indptr.astype(index)
    message = to_message(cells)
    back = sp.csr_matrix(
        (
            codec.decode(message.values, np.float32, ""),
            codec.decode(message.columns, np.int32, ""),
            codec.decode(message.indptr, np.int64, ""),
        ),
        shape=cells.shape,
    )
    np.testing.assert_array_equal(back.toarray(), cells.toarray().astype(np.float32))


def test_only_rows_are_sent() -> None:
    with pytest.raises(InvalidArgumentError, match="given as csc_matrix; give a CSR matrix"):
        to_message(sp.csc_matrix((1, 2)))
