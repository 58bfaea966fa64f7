"""The first inner loop of the projection: choose a cell's genes.

A histogram of the leading bits of a cell's weights gives the bin of the ``top_n``-th largest; only
the weights in that bin are examined again. The chosen genes are returned in ascending order, so
that the sums of a cell do not depend on other cells. Totals of float32 are computed in double
precision, which is exact for counts in any order.

Arrays are read-only views of fixed types, because every other combination is compiled again.
"""

# Compiled functions are called with arrays and numbers of the types in their docstrings; numba
# infers the rest and has no annotations.
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np

from cellkin.space.compiled import compiled

LINEAR, LOG1P, SQRT = 0, 1, 2
EXPRESSIONS = {"linear": LINEAR, "log1p": LOG1P, "sqrt": SQRT}
"""Codes of the values of `Recipe.expression`."""

# The leading bits of a positive float32: 8 of the exponent and 3 of the mantissa.
_COARSE_SHIFT = np.uint32(20)
_N_COARSE = 1 << 11
_N_FINE = 1 << 8
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ZERO64 = np.uint64(0)
_ONE64 = np.uint64(1)
_PER_CELL = 10_000.0
_N_REMEMBERED = 64
_STRETCH = 256
_LEAST_BITS, _INFINITY_BITS = np.uint32(1), np.uint32(0x7F800000)


@compiled
def _bit_length(value):
    n = 0
    while value != _ZERO64:
        n += 1
        value >>= _ONE64
    return n


@compiled
def _sort_by(source, target, n, shift, counts):
    """Sort n keys stably by the 8 bits from ``shift`` on, from ``source`` into ``target``."""
    mask = np.uint64(255)
    counts[:] = 0
    for i in range(n):
        counts[(source[i] >> shift) & mask] += 1
    total = 0
    for digit in range(len(counts)):
        count = counts[digit]
        counts[digit] = total
        total += count
    for i in range(n):
        digit = (source[i] >> shift) & mask
        target[counts[digit]] = source[i]
        counts[digit] += 1


@compiled
def _sort(keys, n, other, differ):
    """Sort the first n keys, which differ only in the bits ``differ``; ``other`` is scratch."""
    counts = np.empty(256, np.int32)
    shift, in_other = _ZERO64, False
    while differ >> shift != _ZERO64:
        if (differ >> shift) & np.uint64(255) != _ZERO64:
            if in_other:
                _sort_by(other, keys, n, shift, counts)
            else:
                _sort_by(keys, other, n, shift, counts)
            in_other = not in_other
        shift += np.uint64(8)
        if shift == np.uint64(64):
            break
    if in_other:
        for i in range(n):  # a slice takes seconds to compile
            keys[i] = other[i]


@compiled
def _expressed(columns, values, rows, shared, slot, sums, kept):
    """Keep a cell's expressed, matched columns, summed per gene; return their number."""
    n = 0
    for i in range(len(columns)):
        column = columns[i]
        gene = rows[column]
        value = values[i]
        if gene < 0 or not value > 0:
            continue
        if shared[column]:
            first = slot[gene]
            if first >= 0:
                sums[first] += value
                continue
            slot[gene] = n
        sums[n] = value
        kept[n] = column
        n += 1
    for i in range(n):
        if shared[kept[i]]:
            slot[rows[kept[i]]] = -1
    return n


@compiled
def _log_expression(x, n):
    """Replace values by ``log(1 + 10,000 x / total)``."""
    total = 0.0
    for i in range(n):
        total += np.float64(x[i])
    scale = _PER_CELL / total
    # Most values are small counts, so their logarithms are cached per cell.
    remembered = np.zeros(_N_REMEMBERED, np.float32)
    for i in range(n):
        value = x[i]
        small = np.int64(value) if value < _N_REMEMBERED else 0
        if small > 0 and np.float32(small) == value:
            if remembered[small] == 0:
                remembered[small] = np.float32(np.log1p(np.float64(value) * scale))
            x[i] = remembered[small]
        else:
            x[i] = np.float32(np.log1p(np.float64(value) * scale))


@compiled
def _limit(keys, n, wanted):
    """Return a limit that exactly ``wanted`` of n distinct keys reach; overwrites the keys.

    Each round counts the keys by the 8 leading bits in which they differ and continues with those
    in the bin of the limit.
    """
    counts = np.empty(_N_FINE, np.int32)
    mask = np.uint64(_N_FINE - 1)
    while True:
        differ = _ZERO64
        for i in range(n):
            differ |= keys[i] ^ keys[0]
        if differ == _ZERO64:
            return keys[0]
        shift = np.uint64(max(_bit_length(differ) - 8, 0))
        counts[:] = 0
        for i in range(n):
            counts[(keys[i] >> shift) & mask] += 1
        digit = _N_FINE - 1
        while counts[digit] < wanted:
            wanted -= counts[digit]
            digit -= 1
        if counts[digit] == wanted:
            return (((keys[0] >> shift) & ~mask) | np.uint64(digit)) << shift
        left = 0
        for i in range(n):
            key = keys[i]
            keys[left] = key
            left += (key >> shift) & mask == np.uint64(digit)
        n = left


@compiled
def _choose(columns, values, rows, weights, top_n, weighted, places, keys, scratch):
    """Write the keys of a cell's top genes to ``keys``, in input order; return their number.

    A key is the bits of the weight followed by the inverted gene row: larger weights are first,
    ties go to the lower row.
    """
    n = len(columns)
    bits = weighted.view(np.uint32)
    counts = np.zeros(_N_COARSE, np.int32)
    for i in range(n):
        weight = values[i] * weights[np.uint32(columns[i])]
        # NaN and negative weights become zero, so that the sign bit is never set.
        weighted[i] = weight if weight > 0 else np.float32(0)
        counts[bits[i] >> _COARSE_SHIFT] += 1
    wanted = top_n if top_n > 0 else n
    bin_ = _N_COARSE - 1
    while bin_ > 0 and counts[bin_] < wanted:
        wanted -= counts[bin_]
        bin_ -= 1
    least = max(np.uint32(bin_) << _COARSE_SHIFT, np.uint32(1))
    n_places = 0
    for i in range(n):
        places[n_places] = i
        n_places += bits[i] >= least
    for j in range(n_places):
        i = places[j]
        keys[j] = (np.uint64(bits[i]) << _HALF) | np.uint64(~np.uint32(rows[np.uint32(columns[i])]))
    if top_n <= 0 or n_places <= top_n:
        return n_places
    above = np.uint64(np.uint32(bin_ + 1) << _COARSE_SHIFT) << _HALF
    n_lowest = np.int64(0)  # a literal would be another type, for which _limit is compiled again
    for j in range(n_places):
        scratch[n_lowest] = keys[j]
        n_lowest += keys[j] < above
    limit = _limit(scratch, n_lowest, wanted)
    n_chosen = 0
    for j in range(n_places):
        key = keys[j]
        keys[n_chosen] = key
        n_chosen += key >= limit
    return n_chosen


@compiled
def _share_out(keys, n, ordered, scratch, genes, shares, at):
    """Write a cell's genes, ascending, and their weights divided by the sum of weights."""
    differ = _ZERO64
    for i in range(n):
        keys[i] = (np.uint64(~np.uint32(keys[i] & _LOW)) << _HALF) | (keys[i] >> _HALF)
        differ |= (keys[i] ^ keys[0]) & ~_LOW
    if not ordered:
        _sort(keys, n, scratch, differ)
    bits = shares.view(np.uint32)
    total = 0.0
    for i in range(n):
        genes[at + i] = np.int32(keys[i] >> _HALF)
        bits[at + i] = np.uint32(keys[i] & _LOW)
        total += np.float64(shares[at + i])
    for i in range(n):
        shares[at + i] = np.float32(np.float64(shares[at + i]) / total)


@compiled
def choose_genes(
    indptr, indices, data, picked, rows, shared, n_shared, ordered, weights, n_genes,
    expression, top_n, bounds, genes, shares,
):  # fmt: skip
    """Choose the genes of some cells.

    Parameters
    ----------
    indptr, indices, data
        int64, int32 and float32: the cells in CSR, without duplicate columns in a cell.
    picked
        (n,) int64, the cells to process.
    rows, shared, n_shared, ordered
        From `GeneColumns`: (n_columns,) int32 and bool; whether any column is shared; bool.
    weights
        (n_columns,) float32, the weight of each column's gene, 0 for no gene.
    n_genes
        Number of genes of the space.
    expression, top_n
        From the recipe.
    bounds
        (n + 1,) int64, output: cell i has the entries from ``bounds[i]`` to ``bounds[i + 1]``.
    genes, shares
        int32 and float32, output: rows of the space, ascending in a cell, and their shares, which
        sum to 1.
    """
    most = 1
    for cell in picked:
        most = max(most, indptr[cell + 1] - indptr[cell])
    keys, scratch = np.empty(most, np.uint64), np.empty(most, np.uint64)
    weighted, x = np.empty(most, np.float32), np.empty(most, np.float32)
    places, kept = np.empty(most, np.int32), np.empty(most, np.int32)
    sums = np.empty(most, np.float64)
    slot = np.full(n_genes if n_shared else 1, -1, np.int32)
    bounds[0] = 0
    for i in range(len(picked)):
        begin, end = indptr[picked[i]], indptr[picked[i] + 1]
        columns, values = indices[begin:end], data[begin:end]
        if expression != LINEAR or n_shared:
            n = _expressed(columns, values, rows, shared, slot, sums, kept)
            for j in range(n):
                x[j] = np.float32(sums[j])
            if expression == LOG1P:
                _log_expression(x, n)
            elif expression == SQRT:
                for j in range(n):
                    x[j] = np.float32(np.sqrt(np.float64(x[j])))
            columns, values = kept[:n], x[:n]
        n = _choose(columns, values, rows, weights, top_n, weighted, places, keys, scratch)
        _share_out(keys, n, ordered, scratch, genes, shares, bounds[i])
        bounds[i + 1] = bounds[i] + n


@compiled
def count_columns(indptr, indices, data, rows, shared, n_genes, detected, mass):
    """Add the number of cells expressing each gene to ``detected``, column sums to ``mass``."""
    last = np.full(n_genes, -1, np.int64)
    for cell in range(len(indptr) - 1):
        for i in range(indptr[cell], indptr[cell + 1]):
            column = indices[i]
            mass[column] += data[i]
            gene = rows[column]
            if gene < 0 or not data[i] > 0:
                continue
            if shared[column]:
                detected[gene] += last[gene] != cell
                last[gene] = cell
            else:
                detected[gene] += 1


@compiled
def count_positive(indptr, indices, data, counted, found):
    """Count the values of each cell that are above 0, in the columns that count."""
    for cell in range(len(found)):
        n = 0
        for i in range(indptr[cell], indptr[cell + 1]):
            n += (data[i] > 0) & counted[indices[i]]
        found[cell] = n


@compiled
def is_ascending(indptr, indices, n_columns, first, last):
    """Return whether the columns of each cell strictly ascend and are within range.

    Checks the cells from ``first`` to ``last`` and the ends of ``indptr``.
    """
    if indptr[0] != 0 or indptr[-1] > len(indices):
        return False
    for cell in range(first, last):
        begin, end = indptr[cell], indptr[cell + 1]
        if begin > end or begin < 0 or end > len(indices):
            return False
        if not _ascends(indices[begin:end], n_columns):
            return False
    return True


@compiled
def _ascends(line, n_columns):
    if len(line) and (line[0] < 0 or line[-1] >= n_columns):
        return False
    n_wrong = np.int32(0)
    for i in range(len(line) - 1):
        n_wrong += np.int32(line[i + 1] <= line[i])
    return n_wrong == 0


@compiled
def _positive(bits):
    # The bits of positive finite numbers are consecutive integers.
    wrong = np.uint32(0)
    for i in range(len(bits)):
        wrong |= np.uint32(bits[i] - _LEAST_BITS >= _INFINITY_BITS - _LEAST_BITS)
    return wrong == 0


@compiled
def _whole(values):
    n_broken = np.int32(0)
    for i in range(len(values)):
        n_broken += np.int32(np.floor(values[i]) != values[i])
    return n_broken == 0


@compiled
def check_cells(indptr, indices, data, n_columns):
    """Return whether cells are tidy, and whether all values are whole numbers.

    Cells are tidy if the columns of each strictly ascend within range, and values are positive and
    finite. The rest of cells that are not is not looked at.
    """
    bits, whole = data.view(np.uint32), True
    for cell in range(len(indptr) - 1):
        begin, end = indptr[cell], indptr[cell + 1]
        # One simple loop after the other: each is turned into SIMD, and a cell fits the cache.
        if not (_ascends(indices[begin:end], n_columns) and _positive(bits[begin:end])):
            return False, False
        whole = whole and _whole(data[begin:end])
    return True, whole


@compiled
def keep_best(scores, best, places):
    """Find the k largest numbers of each row, in descending order; ties go to the leftmost.

    Parameters
    ----------
    scores
        (n, m) float32, without NaN.
    best, places
        (n, k) float32 and int64, output, k at most m: the numbers and their columns.
    """
    n, m = scores.shape
    k = best.shape[1]
    for row in range(n):
        line = scores[row]
        best[row] = -np.inf
        places[row] = -1
        for begin in range(0, m, _STRETCH):
            stretch = line[begin : begin + _STRETCH]
            # Most stretches have nothing to keep, and counting needs no branches.
            n_better = 0
            for value in stretch:
                n_better += value > best[row, k - 1]
            if n_better == 0:
                continue
            for i in range(len(stretch)):
                value = stretch[i]
                if not value > best[row, k - 1]:
                    continue
                at = k - 1
                while at > 0 and best[row, at - 1] < value:
                    best[row, at] = best[row, at - 1]
                    places[row, at] = places[row, at - 1]
                    at -= 1
                best[row, at] = value
                places[row, at] = begin + i
