"""The inner loops of the search, compiled by numba when first used and cached on disk.

Everything here is plain arrays. Similarity is summed in float64 over the stored half-precision values, where the
products are exact, and rounded to float32 once: the tree and the scan give the same number.
"""

import math

import numpy as np
from numba import njit

from ._float16 import float_of_half

_NODES = np.int64(1) << 62  # a node's number is kept below zero, so that of equal keys nodes come before rows
_DOT_ERROR = 1e-12  # far above what a float64 sum of 256 products may be off
_CHORD_ERROR = 1e-12  # far above what a chord may be off
_ANGLE_ERROR = 1e-9  # far above what an angle from a chord may be off
_CANCELLED = 1e-6
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


@njit(cache=True, inline="always")
def _cosine_within(cosine, radius_cosine):
    """Return the greatest cosine with anything inside a ball: cos(angle - radius), without the arc cosine."""
    if cosine >= radius_cosine:
        return 1.0
    return cosine * radius_cosine + math.sqrt((1.0 - cosine * cosine) * (1.0 - radius_cosine * radius_cosine))


# A disk is a column: x, y, z of its centre, its radius in radians, and the chord of the radius.


@njit(cache=True, inline="always")
def _chord_sq(x, y, z, disks, d):
    return (x - disks[0, d]) ** 2 + (y - disks[1, d]) ** 2 + (z - disks[2, d]) ** 2


@njit(cache=True, inline="always")
def _covers(chord_sq, reach, disks, d):
    """Whether a disk covers all within ``reach`` of a point, by angles: from chords, which keep their small digits."""
    return 2.0 * math.asin(min(1.0, 0.5 * math.sqrt(chord_sq))) + reach < disks[3, d]


@njit(cache=True)
def _met(points, i, reach, disks, n_disks, lists, disks_at, met):
    """List the disks that come within ``reach`` of a point, and return their number; -1 if one covers all of it.

    Only those of the list at ``disks_at`` and later ones are looked at. Chords do for what is far, since the chord of a
    sum of angles is at most the sum of their chords.
    """
    x, y, z = points[i, 0], points[i, 1], points[i, 2]
    n_met, before, n_listed, wide = 0, lists[disks_at], lists[disks_at + 1], reach + _CHORD_ERROR
    for j in range(n_listed + n_disks - before):
        d = lists[disks_at + 2 + j] if j < n_listed else before + j - n_listed
        chord_sq = _chord_sq(x, y, z, disks, d)
        if chord_sq <= (disks[4, d] + wide) ** 2:
            if _covers(chord_sq, reach, disks, d):
                return -1
            met[n_met] = d
            n_met += 1
    return n_met


@njit(cache=True)
def _covered(points, i, reach, disks, met, n_met):
    """Whether one of the disks listed covers all that is within ``reach`` of a point."""
    x, y, z = points[i, 0], points[i, 1], points[i, 2]
    for j in range(n_met):
        chord_sq = _chord_sq(x, y, z, disks, met[j])
        if chord_sq <= (disks[4, met[j]] + _CHORD_ERROR) ** 2 and _covers(chord_sq, reach, disks, met[j]):
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
def advance(queue, size, wanted, compare_at_most, query, length, codes, nodes, rows, where, disks, n_disks):
    """Pop the queue until ``wanted`` rows have come out of it, best first, or it is empty, or too many were compared.

    A size of -1 begins a search. ``length`` is that of the query; ``where`` holds a filter's ``land_only``, ``ranges``,
    ``apart_rad`` and ``least``. Returns the queue and its size, the rows and their similarity, how many disks there are
    now, and how many rows were compared and nodes opened.
    """
    node_rows, node_children, node_codes, centroids, scales, radii, node_points, reaches, node_land, n_roots, slack = (
        nodes
    )
    row_points, row_land = rows
    land_only, ranges, apart_rad, least = where
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


@njit(cache=True)
def _middle(vectors, first, last):
    """Return the direction of the sum of some vectors, and the greatest angle between it and one of them."""
    middle = np.zeros(vectors.shape[1])
    for i in range(first, last):
        middle += vectors[i]
    length = math.sqrt((middle * middle).sum())
    middle = middle / length if length > _CANCELLED else vectors[first] / math.sqrt((vectors[first] ** 2).sum())
    greatest = 0.0
    for i in range(first, last):
        apart = vectors[i] / math.sqrt((vectors[i] ** 2).sum()) - middle
        greatest = max(greatest, (apart * apart).sum())
    return middle, 2.0 * math.asin(min(1.0, 0.5 * math.sqrt(greatest))) + _ANGLE_ERROR


@njit(cache=True, inline="always")
def _angle(a, b):
    x, y, z = a[0] - b[0], a[1] - b[1], a[2] - b[2]
    return 2.0 * math.asin(min(1.0, 0.5 * math.sqrt(x * x + y * y + z * z)))


@njit(cache=True)
def _insert(rows, similarity, row, value):
    """Put a row in its place among the best so far, ties by row, if it belongs there."""
    at = rows.size
    while at > 0 and (value > similarity[at - 1] or (value == similarity[at - 1] and row < rows[at - 1])):
        if at < rows.size:
            rows[at], similarity[at] = rows[at - 1], similarity[at - 1]
        at -= 1
    if at < rows.size:
        rows[at], similarity[at] = row, value


@njit(cache=True, nogil=True)
def nearest(queries, group_start, points, away_rad, compare_at_most, codes, nodes, rows, where, best):
    """Fill in the best rows of every query, group by group, and return which groups are done.

    ``best`` holds their rows, which begin as -1, and similarity, minus infinity; ``where`` a filter's ``land_only`` and
    ``ranges``. A group goes down the tree as one ball of vectors, and one cap of places: a node that holds nothing for
    the ball holds nothing for any of its queries.
    """
    node_rows, node_children, node_codes, centroids, scales, radii, node_points, reaches, node_land, n_roots, slack = (
        nodes
    )
    row_points, row_land = rows
    land_only, ranges = where
    out_rows, out_similarity = best
    dim = queries.shape[1]
    done = np.ones(group_start.size - 1, np.bool_)
    keys, numbers, places, _ = new_queue()
    for group in range(group_start.size - 1):
        first, last = group_start[group], group_start[group + 1]
        middle, spread = _middle(queries, first, last)
        cap, cap_reach = middle, 0.0
        if away_rad > 0:
            cap, cap_reach = _middle(points, first, last)
        size, compared, worst = 0, 0, np.float32(-np.inf)
        first_child, last_child = 0, n_roots
        while True:
            for node in range(first_child, last_child):
                if land_only and not node_land[node]:
                    continue
                if ranges.shape[0] and not _meets(ranges, node_rows[node, 0], node_rows[node, 1]):
                    continue
                if away_rad > 0 and _angle(node_points[node], cap) + reaches[node] + cap_reach < away_rad:
                    continue
                cosine = max(-1.0, _dot(centroids, node * dim, middle) * scales[node] + _DOT_ERROR)
                bound = _cosine_within(cosine, math.cos(min(math.pi, radii[node] + spread))) + 2.0 * slack
                if bound >= worst:
                    size = _push(keys, numbers, places, size, bound, node, 0)
            first_child, last_child = 0, 0
            while size > 0 and keys[0] >= worst and compared <= compare_at_most * (last - first):
                node = numbers[0]
                size = _pop(keys, numbers, places, size)
                if node_children[node, 0] < node_children[node, 1]:
                    first_child, last_child = node_children[node, 0], node_children[node, 1]
                    if size + _MOST_BELOW > keys.size:
                        keys, numbers, places = _longer(keys, size), _longer(numbers, size), _longer(places, size)
                    break
                worst = np.float32(np.inf)
                for i in range(first, last):
                    similarity = out_similarity[i]
                    length = math.sqrt((queries[i] ** 2).sum())
                    cosine = max(-1.0, _dot(centroids, node * dim, queries[i]) * scales[node] / length + _DOT_ERROR)
                    if _cosine_within(cosine, math.cos(radii[node])) + 2.0 * slack >= similarity[-1]:
                        for row in range(node_rows[node, 0], node_rows[node, 1]):
                            if land_only and not row_land[row]:
                                continue
                            if ranges.shape[0] and not _meets(ranges, row, row + 1):
                                continue
                            if away_rad > 0 and _angle(row_points[row], points[i]) < away_rad:
                                continue
                            compared += 1
                            at = node_codes[node] + (row - node_rows[node, 0]) * dim
                            _insert(out_rows[i], similarity, row, np.float32(_dot(codes, at, queries[i])))
                    worst = min(worst, similarity[-1])
            if first_child == last_child:
                done[group] = size == 0 or keys[0] < worst
                break
    return done


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
def pick(order, similarity_of, wanted, rows, where, disks, n_disks):
    """Return the first ``wanted`` rows of an order that the filters let through."""
    row_points, row_land = rows
    land_only, ranges, apart_rad, least = where
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


@njit(cache=True, nogil=True)
def dots(codes, first, query):
    """Compare a query with the vectors that begin at some places of the codes, (n,) float32."""
    out = np.empty(first.size, np.float32)
    for i in range(first.size):
        out[i] = np.float32(_dot(codes, first[i], query))
    return out
