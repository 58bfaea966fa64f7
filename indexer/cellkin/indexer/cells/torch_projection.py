"""Projection in torch, on CUDA with all data resident on the device."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cellkin.space.arrays import BoolVector, CsrMatrix, Float32Matrix, canonical
from cellkin.space.projection import CellSpace, GeneColumns
from cellkin.wire.errors import InvalidArgumentError

# The sign bit of a positive float32 is zero.
_WEIGHT_BITS = 31
_MOST_BITS = (1 << _WEIGHT_BITS) - 1
_PER_CELL = 10_000.0


@dataclass(frozen=True)
class _Entries:
    """Entries of a block on the device: (n,) cell int64, gene int64 and expression float32."""

    n_cells: int
    cell: torch.Tensor
    gene: torch.Tensor
    x: torch.Tensor


class TorchProjector:
    """Project in torch, on CUDA or, for tests, on the CPU.

    The genes of a cell are chosen by sorting one integer per entry, made of the cell, the weight in
    descending order and the gene. The integer holds all of the entry, so nothing else is moved, and
    the order is that of the CPU kernels.

    Parameters
    ----------
    space, columns
        The fitted space, and the genes of the columns.
    device
        ``cuda:N`` or ``cpu``.
    """

    def __init__(self, space: CellSpace, columns: GeneColumns, device: str) -> None:
        self._device = torch.device(device)
        self._recipe, self._shared = space.recipe, bool(columns.shared.any())
        self._n_columns = columns.n_columns
        self._n_genes, self._dim = space.vectors.shape
        self._gene_bits = max(1, int(self._n_genes).bit_length())
        # Cells per sort: limited by the bits that the weight and the gene leave of 63.
        self._most_cells = 1 << (63 - _WEIGHT_BITS - self._gene_bits)
        self._rows = torch.from_numpy(columns.rows.astype(np.int64)).to(self._device)
        self._weights = torch.from_numpy(np.array(space.weights)).to(self._device)
        self._vectors = torch.from_numpy(np.array(space.vectors)).to(self._device)

    def means(self, blocks: Iterable[CsrMatrix]) -> Iterator[tuple[Float32Matrix, BoolVector]]:
        """Yield the weighted mean vectors of each block, in order.

        The next block is uploaded while a block is projected.
        """
        upload = _Upload(self._device)
        waiting = None
        for block in blocks:
            staged = upload.start(self._checked(block))
            if waiting is not None:
                yield self._finish(upload, waiting)
            waiting = staged
        if waiting is not None:
            yield self._finish(upload, waiting)

    def _checked(self, cells: CsrMatrix) -> CsrMatrix:
        n_cells, n_columns = cells.shape
        if n_columns != self._n_columns:
            raise InvalidArgumentError(
                f"cells of {n_columns} columns; their genes are given for {self._n_columns}"
            )
        if n_cells > self._most_cells:
            raise InvalidArgumentError(
                f"a block of {n_cells} cells; give at most {self._most_cells}"
            )
        return canonical(cells)

    def _finish(self, upload: "_Upload", staged: "_Staged") -> tuple[Float32Matrix, BoolVector]:
        upload.wait(staged)
        means, empty = self.resident_means(*staged.tensors)
        upload.release(staged)
        return means.cpu().numpy(), empty.cpu().numpy()

    @torch.inference_mode()
    def resident_means(
        self, indptr: torch.Tensor, indices: torch.Tensor, data: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Project a block that is on the device.

        Parameters
        ----------
        indptr, indices, data
            CSR without duplicate columns: int64, int32 and float32.

        Returns
        -------
        means
            (n_cells, dim) float32 weighted mean vectors.
        empty
            (n_cells,) bool, True for cells without a usable gene.
        """
        entries = self._expressed(indptr, indices, data)
        entries = replace(entries, x=self._express(entries))
        cell, gene, weight = self._choose(entries)
        n_chosen = torch.bincount(cell, minlength=entries.n_cells)
        offsets = torch.cumsum(n_chosen, 0) - n_chosen
        shares = (weight.double() / _sums(weight, n_chosen)[cell]).float()
        means = torch.nn.functional.embedding_bag(
            gene, self._vectors, offsets, mode="sum", per_sample_weights=shares
        )
        return means, n_chosen == 0

    def _expressed(
        self, indptr: torch.Tensor, indices: torch.Tensor, data: torch.Tensor
    ) -> _Entries:
        """Return the expressed entries of matched genes; columns of the same gene are summed."""
        n_cells = len(indptr) - 1
        cell = torch.repeat_interleave(
            torch.arange(n_cells, device=self._device), indptr.diff(), output_size=len(data)
        )
        gene = self._rows[indices]
        kept = (gene >= 0) & (data > 0)
        cell, gene, x = cell[kept], gene[kept], data[kept]
        if self._shared:
            pairs = (cell * self._n_genes + gene).sort(stable=True)
            pair, n_columns = torch.unique_consecutive(pairs.values, return_counts=True)
            x = _sums(x[pairs.indices], n_columns).float()
            cell, gene = pair // self._n_genes, pair % self._n_genes
        return _Entries(n_cells, cell, gene, x)

    def _express(self, entries: _Entries) -> torch.Tensor:
        """Return the recipe's expression transform of the entries, float32."""
        kind, x = self._recipe.expression, entries.x
        if kind == "linear":
            return x
        if kind == "sqrt":
            return x.double().sqrt().float()
        totals = _sums(x, torch.bincount(entries.cell, minlength=entries.n_cells))
        return torch.log1p(x.double() * (_PER_CELL / totals)[entries.cell]).float()

    def _choose(self, entries: _Entries) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return cell, gene and weight of the chosen entries, ordered by cell."""
        weight = entries.x * self._weights[entries.gene]
        bits = weight.view(torch.int32).long()
        order = (_MOST_BITS - bits) << self._gene_bits | entries.gene
        keys = (entries.cell << (_WEIGHT_BITS + self._gene_bits) | order)[weight > 0]
        keys = keys.sort().values
        cell = keys >> (_WEIGHT_BITS + self._gene_bits)
        if self._recipe.top_n:
            n_entries = torch.bincount(cell, minlength=entries.n_cells)
            first = torch.cumsum(n_entries, 0) - n_entries
            place = torch.arange(len(keys), device=self._device) - first[cell]
            keys = keys[place < self._recipe.top_n]
            cell = keys >> (_WEIGHT_BITS + self._gene_bits)
        gene = keys & ((1 << self._gene_bits) - 1)
        bits = _MOST_BITS - ((keys >> self._gene_bits) & _MOST_BITS)
        return cell, gene, bits.int().view(torch.float32)


def _sums(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Add up neighbors in double precision, always in their order."""
    return torch.segment_reduce(values.double(), "sum", lengths=lengths, unsafe=True)


@dataclass(frozen=True)
class _Staged:
    """A block being uploaded, and the buffer it is sent from."""

    tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    slot: int
    arrived: "torch.cuda.Event | None"


class _Upload:
    """Upload blocks to the device on a separate stream, from two buffers in turn."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: list[dict[str, torch.Tensor]] = [{}, {}]
        self._sent: list[torch.cuda.Event | None] = [None, None]
        self._turn = 0
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def start(self, cells: CsrMatrix) -> _Staged:
        """Start the upload of a block; on the CPU its arrays are copied."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "indptr": np.asarray(cells.indptr, np.int64),
            "indices": np.asarray(cells.indices, np.int32),
            "data": np.asarray(cells.data, np.float32),
        }
        slot, self._turn = self._turn, 1 - self._turn
        if self._stream is None:
            tensors = [torch.from_numpy(np.array(array)) for array in arrays.values()]
            return _Staged((tensors[0], tensors[1], tensors[2]), slot, None)
        last = self._sent[slot]
        if last is not None:
            last.synchronize()  # the buffer is in use until then
        with torch.cuda.stream(self._stream):
            sent = [
                self._pinned(slot, name, array).to(self._device, non_blocking=True)
                for name, array in arrays.items()
            ]
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(self._stream)
        self._sent[slot] = arrived
        return _Staged((sent[0], sent[1], sent[2]), slot, arrived)

    def wait(self, staged: _Staged) -> None:
        """Make the compute stream wait for a block."""
        if staged.arrived is not None:
            torch.cuda.current_stream(self._device).wait_event(staged.arrived)

    def release(self, staged: _Staged) -> None:
        """Record that the compute stream uses a block, so that its memory is not reused before."""
        if staged.arrived is not None:
            for tensor in staged.tensors:
                tensor.record_stream(torch.cuda.current_stream(self._device))

    def _pinned(self, slot: int, name: str, array: npt.NDArray[Any]) -> torch.Tensor:
        source = torch.from_numpy(array if array.flags.writeable else np.array(array))
        buffer = self._buffers[slot].get(name)
        if buffer is None or len(buffer) < len(array):
            # With some slack, as blocks differ in size.
            buffer = torch.empty(len(array) * 5 // 4 + 1, dtype=source.dtype, pin_memory=True)
            self._buffers[slot][name] = buffer
        part = buffer[: len(array)]
        part.copy_(source)
        return part
