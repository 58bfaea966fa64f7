"""The inner loops of placing by expression: sort a cell's values by gene, and weigh its genes."""

# numba infers types.
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from cellkin.space.compiled import compiled

# Most values are small counts, so the logarithms of these are cached per cell.
_FEW = 16
_NO_BIT, _ONE = np.uint64(0), np.uint64(1)


@intrinsic
def _lowest_bit(typing_context, word):
    """Return the number of the lowest bit that is set; undefined for 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(word), generate


@compiled
def sort_by_gene(indptr, indices, values, places, n_genes, bounds, genes, sums):
    """Sort the values of cells by gene, and sum those of the same gene.

    Parameters
    ----------
    indptr, indices, values
        int64, int32 and float32 or float64: the cells in CSR, in any order of columns. The first
        offset may be above 0.
    places
        (n_columns,) int32, the gene of each column, from 0 to ``n_genes`` - 1; -1 for none.
    bounds
        (n_cells + 1,) int64, output: cell i has entries from ``bounds[i]`` to ``bounds[i + 1]``.
    genes, sums
        (n_values + 1,) int32 and float64, output: ascending in a cell, without zeros. The last
        element is scratch.
    """
    # A bit for each gene takes a few cache lines, and yields the genes in order without a sort.
    words = np.zeros(n_genes // 64 + 1, np.uint64)
    of_gene = np.empty(n_genes, np.float64)
    n = 0
    bounds[0] = 0
    for cell in range(len(indptr) - 1):
        for i in range(indptr[cell], indptr[cell + 1]):
            gene = places[np.uint32(indices[i])]
            if gene < 0:
                continue
            word, bit = np.uint32(gene) >> np.uint32(6), _ONE << np.uint64(gene & 63)
            if words[word] & bit:
                of_gene[np.uint32(gene)] += values[i]
            else:
                words[word] |= bit
                of_gene[np.uint32(gene)] = values[i]
        for at in range(len(words)):
            left = words[at]
            words[at] = _NO_BIT
            while left != _NO_BIT:
                gene = 64 * at + _lowest_bit(left)  # type: ignore[call-arg]  # of the compiler
                left &= left - _ONE
                # Stored unconditionally, as in `_met`.
                genes[n], sums[n] = gene, of_gene[gene]
                n += of_gene[gene] != 0.0
        bounds[cell + 1] = n


@compiled
def _total(values):
    """Return the sum of a cell's values in double precision."""
    # Eight accumulators, because each addition to a single one would wait for the one before.
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    e, f, g, h = 0.0, 0.0, 0.0, 0.0
    n_whole = len(values) - len(values) % 8
    for i in range(0, n_whole, 8):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
        e += values[i + 4]
        f += values[i + 5]
        g += values[i + 6]
        h += values[i + 7]
    for i in range(n_whole, len(values)):
        a += values[i]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@compiled
def _met(columns, either, places):
    """Write the positions of a cell's variable or weighted genes; return their number."""
    n = 0
    for i in range(len(columns)):
        # Stored unconditionally: the branch would be mispredicted.
        places[n] = i
        n += either[np.uint32(columns[i])]
    return n


@compiled
def weigh_genes(
    indptr, indices, values, either, variable, weighted, scales, limits, per_cell, empty
):  # fmt: skip
    """Weigh the genes of some cells.

    Parameters
    ----------
    indptr, indices, values
        int64, int32 and float32 or float64: the cells in CSR, without duplicate columns in a cell.
        The first offset may be above 0.
    either
        (n_columns,) uint8, 1 for columns of variable or weighted genes: one byte per gene fits the
        first-level cache.
    variable, weighted
        (n_columns,) int32, rows among the variable and among the weighted genes, -1 for others.
    scales, limits
        (n_variable,) float64, at least one: the factor of a variable gene's logarithm, and the
        upper limit of the product.
    per_cell
        Total that the expression of a cell is scaled to.
    empty
        (n_cells,) bool, output: set for cells without expression.

    Returns
    -------
    tuple
        Bounds, rows and weights of the variable genes, and the same of the weighted genes: inputs
        of `gather.add_vectors`.
    """
    n_cells = len(indptr) - 1
    bounds, other_bounds = np.zeros(n_cells + 1, np.int64), np.zeros(n_cells + 1, np.int64)
    most = indptr[n_cells] - indptr[0]
    # One extra element, because the place after the last is also written.
    chosen, weights = np.empty(most + 1, np.int32), np.empty(most + 1, np.float32)
    others, logs_of = np.empty(most + 1, np.int32), np.empty(most + 1, np.float32)
    places = np.empty(most, np.int32)
    logs = np.empty(_FEW + 1, np.float64)
    n, n_others = 0, 0
    for cell in range(n_cells):
        begin, end = indptr[cell], indptr[cell + 1]
        columns, x = indices[begin:end], values[begin:end]
        total = _total(x)
        if total > 0.0:
            factor = per_cell / total
            logs[:] = 0.0
            for j in range(_met(columns, either, places)):
                at = np.uint32(places[j])
                value, column = x[at], np.uint32(columns[at])
                if not value > 0.0:
                    continue
                count = np.uint32(min(value, _FEW))
                if count == value:
                    if logs[count] == 0.0:
                        logs[count] = np.log(1.0 + count * factor)
                    expression = logs[count]
                else:
                    expression = np.log(1.0 + value * factor)
                # Stored unconditionally, as in `_met`.
                row = variable[column]
                known = np.uint32(max(row, 0))
                chosen[n] = row
                weights[n] = min(expression * scales[known], limits[known])
                n += row >= 0
                others[n_others], logs_of[n_others] = weighted[column], expression
                n_others += weighted[column] >= 0
        else:
            empty[cell] = True
        bounds[cell + 1], other_bounds[cell + 1] = n, n_others
    return (bounds, chosen[:n], weights[:n]), (other_bounds, others[:n_others], logs_of[:n_others])
