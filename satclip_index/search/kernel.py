"""The inner loops of the search, compiled by numba when first used and cached on disk.

Everything here is plain arrays. Similarity is summed in float64 over the stored half-precision values, where the
products are exact, and rounded to float32 once: the tree and the scan give the same number.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

HALF: NDArray[np.float32] = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
"""Every half-precision value by its bits: a look-up beats converting, which numba cannot do on a CPU."""

_ROW, _NODE = 1, 0  # nodes come first where keys are equal, since a row below may have the same similarity
_DOT_ERROR = 1e-12  # far above what a float64 sum of 256 products may be off


@njit(cache=True, inline="always")
def _before(key_a: float, kind_a: int, id_a: int, key_b: float, kind_b: int, id_b: int) -> bool:
    """Order of the queue: the higher bound, then nodes, then the lower row."""
    if key_a != key_b:
        return key_a > key_b
    if kind_a != kind_b:
        return kind_a < kind_b
    return id_a < id_b


@njit(cache=True)
def _push(keys, kinds, ids, size, key, kind, number):
    at = size
    while at > 0:
        above = (at - 1) >> 1
        if not _before(key, kind, number, keys[above], kinds[above], ids[above]):
            break
        keys[at], kinds[at], ids[at] = keys[above], kinds[above], ids[above]
        at = above
    keys[at], kinds[at], ids[at] = key, kind, number
    return size + 1


@njit(cache=True)
def _pop(keys, kinds, ids, size):
    size -= 1
    key, kind, number = keys[size], kinds[size], ids[size]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and _before(
            keys[below + 1], kinds[below + 1], ids[below + 1], keys[below], kinds[below], ids[below]
        ):
            below += 1
        if not _before(keys[below], kinds[below], ids[below], key, kind, number):
            break
        keys[at], kinds[at], ids[at] = keys[below], kinds[below], ids[below]
        at = below
    keys[at], kinds[at], ids[at] = key, kind, number
    return size


@njit(cache=True)
def _grown(keys, kinds, ids, size):
    more_keys, more_kinds = np.empty(2 * keys.size, keys.dtype), np.empty(2 * keys.size, kinds.dtype)
    more_ids = np.empty(2 * keys.size, ids.dtype)
    more_keys[:size], more_kinds[:size], more_ids[:size] = keys[:size], kinds[:size], ids[:size]
    return more_keys, more_kinds, more_ids


@njit(cache=True, fastmath={"reassoc", "contract"})
def _dot(codes, first, query, half):
    total = 0.0
    for i in range(query.size):
        total += half[codes[first + i]] * query[i]
    return total


@njit(cache=True, inline="always")
def _angle(points, i, disks, d):
    """Angle between a point and the centre of a disk, from the chord, which keeps its digits when it is small."""
    x, y, z = points[i, 0] - disks[d, 0], points[i, 1] - disks[d, 1], points[i, 2] - disks[d, 2]
    return 2.0 * math.asin(min(1.0, 0.5 * math.sqrt(x * x + y * y + z * z)))


@njit(cache=True)
def _covered(points, i, reach, disks, n_disks):
    """Whether everything within ``reach`` of a point lies inside one disk."""
    for d in range(n_disks):
        if _angle(points, i, disks, d) + reach < disks[d, 3]:
            return True
    return False


@njit(cache=True)
def _meets(ranges, start, stop):
    """Whether rows ``start .. stop - 1`` meet sorted, disjoint ranges of rows."""
    low, high = 0, ranges.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if ranges[middle, 1] <= start:
            low = middle + 1
        else:
            high = middle
    return low < ranges.shape[0] and ranges[low, 0] < stop


@njit(cache=True, nogil=True)
def advance(
    queue,
    size,
    wanted,
    compare_at_most,
    query,
    length,
    codes,
    half,
    nodes,
    rows,
    land_only,
    ranges,
    disks,
    n_disks,
    apart_rad,
):
    """Pop the queue until ``wanted`` rows have come out of it, best first, or it is empty, or too many were compared.

    A size of -1 begins a search. ``length`` is that of the query. Returns the queue and its size, the rows and their
    similarity, how many disks there are now, and how many rows were compared and nodes opened.
    """
    keys, kinds, ids = queue
    node_rows, node_children, node_codes, centroids, scales, radii, node_points, reaches, node_land, n_roots, slack = (
        nodes
    )
    row_points, row_land = rows
    dim = query.size
    found, similarity = np.empty(wanted, np.int64), np.empty(wanted, np.float32)
    got, compared, opened = 0, 0, 0
    first_child, last_child = 0, 0
    if size < 0:  # a new search begins with the roots
        size, last_child = 0, n_roots
    while True:
        for node in range(first_child, last_child):
            if land_only and not node_land[node]:
                continue
            if ranges.shape[0] and not _meets(ranges, node_rows[node, 0], node_rows[node, 1]):
                continue
            if n_disks and _covered(node_points, node, reaches[node], disks, n_disks):
                continue
            opened += 1
            cosine = _dot(centroids, node * dim, query, half) * scales[node] / length + _DOT_ERROR
            angle = math.acos(min(1.0, max(-1.0, cosine))) - radii[node]
            bound = length * ((1.0 if angle <= 0 else math.cos(angle)) + slack)
            if size == keys.size:
                keys, kinds, ids = _grown(keys, kinds, ids, size)
            size = _push(keys, kinds, ids, size, bound, _NODE, node)
        first_child, last_child = 0, 0
        while size > 0 and got < wanted:
            key, kind, number = keys[0], kinds[0], ids[0]
            size = _pop(keys, kinds, ids, size)
            if kind == _ROW:
                if n_disks and _covered(row_points, number, 0.0, disks, n_disks):
                    continue
                found[got], similarity[got] = number, key
                got += 1
                if apart_rad > 0:
                    disks[n_disks, 0], disks[n_disks, 1] = row_points[number, 0], row_points[number, 1]
                    disks[n_disks, 2], disks[n_disks, 3] = row_points[number, 2], apart_rad
                    n_disks += 1
                continue
            if n_disks and _covered(node_points, number, reaches[number], disks, n_disks):
                continue  # a disk has come since it was pushed
            if node_children[number, 0] < node_children[number, 1]:
                first_child, last_child = node_children[number, 0], node_children[number, 1]
                break
            for row in range(node_rows[number, 0], node_rows[number, 1]):
                if land_only and not row_land[row]:
                    continue
                if ranges.shape[0] and not _meets(ranges, row, row + 1):
                    continue
                if n_disks and _covered(row_points, row, 0.0, disks, n_disks):
                    continue
                compared += 1
                if size == keys.size:
                    keys, kinds, ids = _grown(keys, kinds, ids, size)
                value = np.float32(_dot(codes, node_codes[number] + (row - node_rows[number, 0]) * dim, query, half))
                size = _push(keys, kinds, ids, size, value, _ROW, row)
            if compared > compare_at_most:
                return (keys, kinds, ids), size, found[:got], similarity[:got], n_disks, compared, opened
        if first_child == last_child:
            return (keys, kinds, ids), size, found[:got], similarity[:got], n_disks, compared, opened


@njit(cache=True, nogil=True)
def scan(codes, list_start, list_first, dim, query, half):
    """Compare a query with every row, (n,) float32."""
    out = np.empty(list_start[-1], np.float32)
    for number in range(list_start.size - 1):
        for row in range(list_start[number], list_start[number + 1]):
            first = list_first[number] + (row - list_start[number]) * dim
            out[row] = np.float32(_dot(codes, first, query, half))
    return out


@njit(cache=True, nogil=True)
def pick(order, similarity_of, wanted, land_only, row_land, row_points, ranges, disks, n_disks, apart_rad):
    """Return the first ``wanted`` rows of an order that the filters let through."""
    found, similarity = np.empty(wanted, np.int64), np.empty(wanted, np.float32)
    got = 0
    for row in order:
        if got == wanted:
            break
        if land_only and not row_land[row]:
            continue
        if ranges.shape[0] and not _meets(ranges, row, row + 1):
            continue
        if n_disks and _covered(row_points, row, 0.0, disks, n_disks):
            continue
        found[got], similarity[got] = row, similarity_of[row]
        got += 1
        if apart_rad > 0:
            disks[n_disks, 0], disks[n_disks, 1] = row_points[row, 0], row_points[row, 1]
            disks[n_disks, 2], disks[n_disks, 3] = row_points[row, 2], apart_rad
            n_disks += 1
    return found[:got], similarity[:got]


@njit(cache=True, nogil=True)
def dots(codes, firsts, query, half, tags, cached):
    """Compare a query with the vectors that begin at some places, (n,) float32.

    ``tags``, (m,) int64 and -1 at first, and ``cached``, (m,) float32, remember results from call to call: the rows of
    a table often share a vector.
    """
    out = np.empty(firsts.size, np.float32)
    for i in range(firsts.size):
        slot = (firsts[i] // query.size) % tags.size
        if tags[slot] != firsts[i]:
            tags[slot], cached[slot] = firsts[i], np.float32(_dot(codes, firsts[i], query, half))
        out[i] = cached[slot]
    return out
