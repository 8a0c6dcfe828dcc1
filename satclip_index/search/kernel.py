"""The inner loops of the search, compiled by numba when first used and cached on disk.

Everything here is plain arrays. Similarity is summed in float64 over the stored half-precision values, where the
products are exact, and rounded to float32 once: the tree and the scan give the same number.
"""

import math

import numpy as np
from numba import njit

from .halves import float_of_half

_NODES = np.int64(1) << 62  # a node's number is kept below zero, so that of equal keys nodes come before rows
_DOT_ERROR = 1e-12  # far above what a float64 sum of 256 products may be off
_CHORD_ERROR = 1e-12  # far above what a chord may be off
_MOST_BELOW = 7  # nodes or rows below a node
_QUEUE = 4096

# The queue is a binary heap in three arrays: key (a row's similarity, or the bound of a node's), number, and where its
# list of disks begins. The higher key comes first; of equal ones nodes, since a row below may have the same
# similarity; then the lower number. A list of disks says how many there were when it was made, how many of those met
# the node above, and which: whatever lies below needs to be compared with those and with later ones only. The lists
# lie one behind the other in the fourth array of the queue, whose first value is its used length; the list at 1 is of
# no disks.


@njit(cache=True, inline="always")
def _before(key_a: float, number_a: int, key_b: float, number_b: int) -> bool:
    return key_a > key_b or (key_a == key_b and number_a < number_b)


@njit(cache=True)
def _push(keys, numbers, lists, size, key, number, disks_at):
    at = size
    while at > 0:
        above = (at - 1) >> 1
        if not _before(key, number, keys[above], numbers[above]):
            break
        keys[at], numbers[at], lists[at] = keys[above], numbers[above], lists[above]
        at = above
    keys[at], numbers[at], lists[at] = key, number, disks_at
    return size + 1


@njit(cache=True)
def _pop(keys, numbers, lists, size):
    size -= 1
    key, number, disks_at = keys[size], numbers[size], lists[size]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and _before(keys[below + 1], numbers[below + 1], keys[below], numbers[below]):
            below += 1
        if not _before(keys[below], numbers[below], key, number):
            break
        keys[at], numbers[at], lists[at] = keys[below], numbers[below], lists[below]
        at = below
    keys[at], numbers[at], lists[at] = key, number, disks_at
    return size


@njit(cache=True)
def new_queue():
    """Return an empty queue, with room for the roots."""
    return np.empty(_QUEUE), np.empty(_QUEUE, np.int64), np.empty(_QUEUE, np.int64), np.zeros(_QUEUE, np.int64)


@njit(cache=True)
def _longer(values, used):
    """Return an array of twice the size that begins alike."""
    more = np.empty(2 * values.size, values.dtype)
    more[:used] = values[:used]
    return more


@njit(cache=True)
def _list_disks(lists, n_disks, met, n_met):
    """Append a list of disks and return where it begins."""
    at = lists[0]
    lists[at], lists[at + 1] = n_disks, n_met
    for j in range(n_met):
        lists[at + 2 + j] = met[j]
    lists[0] = at + 2 + n_met
    return at


@njit(cache=True, fastmath={"reassoc", "contract"})
def _dot(codes, first, query):
    row = codes[first : first + query.size]  # indices that cannot be negative let the compiler use whole registers
    total = 0.0
    for i in range(query.size):
        total += np.float64(float_of_half(row[i])) * query[i]
    return total


# A disk is a column: x, y, z of its centre, its radius in radians, and the chord of the radius.


@njit(cache=True, inline="always")
def _cosine_within(cosine, radius_cosine):
    """Return the greatest cosine with anything inside a ball: cos(angle - radius), without the arc cosine."""
    if cosine >= radius_cosine:
        return 1.0
    return cosine * radius_cosine + math.sqrt((1.0 - cosine * cosine) * (1.0 - radius_cosine * radius_cosine))


@njit(cache=True, inline="always")
def _chord(points, i, disks, d):
    x, y, z = points[i, 0] - disks[0, d], points[i, 1] - disks[1, d], points[i, 2] - disks[2, d]
    return math.sqrt(x * x + y * y + z * z)


@njit(cache=True)
def _met(points, i, reach, disks, n_disks, lists, disks_at, met):
    """List the disks that come within ``reach`` of a point, and return their number; -1 if one covers all of it.

    Only those of the list at ``disks_at`` and later ones are looked at. Chords do for what is far, since the chord of a
    sum of angles is at most the sum of their chords; angles decide what is covered, and come from chords, which keep
    their digits when they are small.
    """
    n_met, before, n_listed = 0, lists[disks_at], lists[disks_at + 1]
    for j in range(n_listed + n_disks - before):
        d = lists[disks_at + 2 + j] if j < n_listed else before + j - n_listed
        chord = _chord(points, i, disks, d)
        if chord <= disks[4, d] + reach + _CHORD_ERROR:
            if 2.0 * math.asin(min(1.0, 0.5 * chord)) + reach < disks[3, d]:
                return -1
            met[n_met] = d
            n_met += 1
    return n_met


@njit(cache=True)
def _covered(points, i, reach, disks, met, n_met):
    """Whether one of the disks listed covers all that is within ``reach`` of a point."""
    for j in range(n_met):
        if 2.0 * math.asin(min(1.0, 0.5 * _chord(points, i, disks, met[j]))) + reach < disks[3, met[j]]:
            return True
    return False


@njit(cache=True)
def _add_disk(points, i, radius, disks, n_disks):
    disks[0, n_disks], disks[1, n_disks], disks[2, n_disks] = points[i, 0], points[i, 1], points[i, 2]
    disks[3, n_disks], disks[4, n_disks] = radius, 2.0 * math.sin(0.5 * min(radius, math.pi))
    return n_disks + 1


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
    nodes,
    rows,
    land_only,
    ranges,
    disks,
    n_disks,
    apart_rad,
    least,
):
    """Pop the queue until ``wanted`` rows have come out of it, best first, or it is empty, or too many were compared.

    A size of -1 begins a search. ``length`` is that of the query; rows less similar than ``least`` do not count.
    Returns the queue and its size, the rows and their similarity, how many disks there are now, and how many rows were
    compared and nodes opened.
    """
    node_rows, node_children, node_codes, centroids, scales, radii, node_points, reaches, node_land, n_roots, slack = (
        nodes
    )
    row_points, row_land = rows
    keys, numbers, places, lists = queue
    dim = query.size
    found, similarity = np.empty(wanted, np.int64), np.empty(wanted, np.float32)
    met = np.arange(disks.shape[1])  # the disks that what is looked at has to be compared with
    n_met, disks_at = n_disks, 1
    got, compared, opened = 0, 0, 0
    first_child, last_child = 0, 0
    if size < 0:  # a new search begins with the roots
        size, last_child, lists[0] = 0, n_roots, 3
    while True:
        for node in range(first_child, last_child):
            if land_only and not node_land[node]:
                continue
            if ranges.shape[0] and not _meets(ranges, node_rows[node, 0], node_rows[node, 1]):
                continue
            if _covered(node_points, node, reaches[node], disks, met, n_met):
                continue
            opened += 1
            cosine = max(-1.0, _dot(centroids, node * dim, query) * scales[node] / length + _DOT_ERROR)
            bound = length * (_cosine_within(cosine, math.cos(radii[node])) + slack)
            if bound >= least:
                size = _push(keys, numbers, places, size, bound, node - _NODES, disks_at)
        first_child, last_child = 0, 0
        while size > 0 and got < wanted:
            key, number, disks_at = keys[0], numbers[0], places[0]
            size = _pop(keys, numbers, places, size)
            if number >= 0:
                if _met(row_points, number, 0.0, disks, n_disks, lists, disks_at, met) == -1:
                    continue
                found[got], similarity[got] = number, key
                got += 1
                if apart_rad > 0:
                    n_disks = _add_disk(row_points, number, apart_rad, disks, n_disks)
                continue
            node = number + _NODES
            n_met = _met(node_points, node, reaches[node], disks, n_disks, lists, disks_at, met)
            if n_met == -1:
                continue
            if n_disks:
                while lists[0] + n_met + 2 > lists.size:
                    lists = _longer(lists, lists[0])
                disks_at = _list_disks(lists, n_disks, met, n_met)
            if size + _MOST_BELOW > keys.size:
                keys, numbers, places = _longer(keys, size), _longer(numbers, size), _longer(places, size)
            if node_children[node, 0] < node_children[node, 1]:
                first_child, last_child = node_children[node, 0], node_children[node, 1]
                break
            for row in range(node_rows[node, 0], node_rows[node, 1]):
                if land_only and not row_land[row]:
                    continue
                if ranges.shape[0] and not _meets(ranges, row, row + 1):
                    continue
                if _covered(row_points, row, 0.0, disks, met, n_met):
                    continue
                compared += 1
                value = np.float32(_dot(codes, node_codes[node] + (row - node_rows[node, 0]) * dim, query))
                if value >= least:
                    size = _push(keys, numbers, places, size, value, row, disks_at)
            if compared > compare_at_most:
                return (keys, numbers, places, lists), size, found[:got], similarity[:got], n_disks, compared, opened
        if first_child == last_child:
            return (keys, numbers, places, lists), size, found[:got], similarity[:got], n_disks, compared, opened


@njit(cache=True, nogil=True)
def advance_each(
    queries,
    lengths,
    own,
    wanted,
    compare_at_most,
    codes,
    nodes,
    rows,
    land_only,
    ranges,
    away,
    apart_rad,
    least,
):
    """Search once for each query, outside its own disk as well if there is one for each.

    Returns rows and similarity, (m, wanted), and how many were found; -1 where too many had to be compared.
    """
    many = queries.shape[0]
    found, similarity = np.empty((many, wanted), np.int64), np.empty((many, wanted), np.float32)
    counts = np.empty(many, np.int64)
    queue = new_queue()
    has_own = 1 if own.shape[1] else 0
    disks = np.zeros((5, has_own + away.shape[1] + (wanted if apart_rad > 0 else 0)))
    disks[:, has_own : has_own + away.shape[1]] = away
    for i in range(many):
        if has_own:
            disks[:, 0] = own[:, i]
        queue, size, some, alike, _, _, _ = advance(
            queue,
            -1,
            wanted,
            compare_at_most,
            queries[i],
            lengths[i],
            codes,
            nodes,
            rows,
            land_only,
            ranges,
            disks,
            has_own + away.shape[1],
            apart_rad,
            least,
        )
        found[i, : some.size], similarity[i, : some.size] = some, alike
        counts[i] = -1 if some.size < wanted and size > 0 else some.size
    return found, similarity, counts


@njit(cache=True, nogil=True)
def scan(codes, list_start, list_first, dim, query):
    """Compare a query with every row, (n,) float32."""
    out = np.empty(list_start[-1], np.float32)
    for number in range(list_start.size - 1):
        for row in range(list_start[number], list_start[number + 1]):
            first = list_first[number] + (row - list_start[number]) * dim
            out[row] = np.float32(_dot(codes, first, query))
    return out


@njit(cache=True, nogil=True)
def pick(order, similarity_of, wanted, land_only, row_land, row_points, ranges, disks, n_disks, apart_rad, least):
    """Return the first ``wanted`` rows of an order that the filters let through."""
    found, similarity = np.empty(wanted, np.int64), np.empty(wanted, np.float32)
    met, none, got = np.empty(disks.shape[1], np.int64), np.zeros(2, np.int64), 0
    for row in order:
        if got == wanted or similarity_of[row] < least:
            break
        if land_only and not row_land[row]:
            continue
        if ranges.shape[0] and not _meets(ranges, row, row + 1):
            continue
        if _met(row_points, row, 0.0, disks, n_disks, none, 0, met) == -1:
            continue
        found[got], similarity[got] = row, similarity_of[row]
        got += 1
        if apart_rad > 0:
            n_disks = _add_disk(row_points, row, apart_rad, disks, n_disks)
    return found[:got], similarity[:got]
