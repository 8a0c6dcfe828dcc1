"""Compare text printed on one machine with what another prints: tables, CSV, JSON, GeoJSON, Markdown, sentences.

Words, cells and whole numbers have to be the same. A decimal has to be the same as far as arithmetic guarantees it:

- A vector is stored in half precision, to a relative 2**-11 in every component. Two machines can round a component to
  different sides, so that it differs by a relative 2**-10. The inner product of two unit vectors then differs by at
  most 2 * 2**-10 * sum(abs(x * y)) <= 2**-9, by Cauchy and Schwarz. (What float32 adds, about 1e-6, is far below that;
  so is what is seen: one component in a million rounded otherwise, and 3e-6 in the similarity.)
- A percentile is read off quantiles of such similarities. Both move by 2**-9, and the quantiles rise by no more than
  1 % per 0.01: the similarities of random pairs have a density of at most 1.
- Everything else follows from coordinates and tables in float64 alone and is the same to a relative 1e-9, which leaves
  seven digits to the functions of the C library and to conditioning.

A number that such noise can move may also be rounded to the next decimal that is shown, and is allowed one unit of it.
Equal places in the same order are expected: neighbors in the documentation differ by more than 1e-4 in similarity.
"""

import csv
import re
from itertools import zip_longest

EXACT = 1e-9
SIMILARITY = 2.0**-9
PERCENTILE = 100 * 2 * SIMILARITY

# By the name of a column or key, or the words around a number: how far it may be off, absolutely and relatively.
_NOISE = {
    r"(mean_)?similarity": (SIMILARITY, 0),
    r"percentile|% of random pairs": (PERCENTILE, 0),
    r"embedding(_\d+)?": (SIMILARITY / 2, 0),
    r"pc_\d+": (SIMILARITY, 0),  # the inner product of such a vector and a unit vector
    # Linear models of half-precision vectors: an error of the same relative size in what they predict.
    r"(R2|RMSE|accuracy|macro-F1) .*": (SIMILARITY, SIMILARITY),
    # Means over neighbors (docs/sql.md), of which near ties may change: vectors of which every component is moved
    # to a neighboring half, or not, at random give standard deviations of 0.0001 and 0.003.
    r"correlation": (0.001, 0),
    r"mean_error_c": (0.03, 0),
    r"MB|GB": (1, 0.05),  # a compressed file
    r"seconds": (float("inf"), 0),  # the machine's
}
_ROUGH = ("MB", "GB", "seconds")  # also where they are whole
_NUMBER = r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?!\w|\.\d)"
_KEY = r'"(?:[^"\\]|\\.)*"\s*:'
_TOKEN = re.compile(rf"(?P<key>{_KEY})|(?P<number>{_NUMBER})|(?P<word>\w+|[^\w\s])")
_HEADING = re.compile(r"[A-Za-z][\w/ .-]*")


def differences(expected, found):
    """Return what differs between two printed texts, a line of text for each difference."""
    pairs = zip_longest(_tokens(expected), _tokens(found), fillvalue=("", "nothing"))
    return [f"{a[0] or 'text'}: {b[1]} instead of {a[1]}" for a, b in pairs if a != b and not _close(*a, *b)]


def _close(name, one, other_name, other):
    if name != other_name or not (re.fullmatch(_NUMBER, one) and re.fullmatch(_NUMBER, other)):
        return False
    if re.fullmatch(r"[-+]?\d+", one) and re.fullmatch(r"[-+]?\d+", other) and name not in _ROUGH:
        return False  # ranks, counts, identifiers
    absolute, relative = next((noise for kind, noise in _NOISE.items() if re.fullmatch(kind, name)), (0, EXACT))
    unit = min(_unit(one), _unit(other)) if absolute else 0
    return abs(float(one) - float(other)) <= (absolute + relative * abs(float(one)) + unit) * (1 + EXACT)


def _unit(number):
    """Return what the last digit of a number counts."""
    digits, _, exponent = number.lower().partition("e")
    return 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))


def _tokens(text):
    """Yield each word, sign and number, a number with the name of its column, its key, or what is said beside it."""
    table, key = (None, []), ""
    for line in text.splitlines():
        kind, cells = _cells(line)
        named = _under(kind, cells, table[1]) if kind == table[0] else []
        if not named:
            table = kind, cells if all(_HEADING.fullmatch(cell) for *_, cell in cells) else []
        for name, cell in named or [("", line)]:
            for token in _TOKEN.finditer(cell):
                if token["key"]:
                    key = token[0].rstrip(": ").strip('"')
                elif token["word"] and token[0] not in "[],-":
                    key = ""  # its value has ended
                yield (name or key or _said(cell, token) if token["number"] else name), token[0]


def _cells(line):
    """Return what kind of table a line may belong to, and its cells; in a table also where each starts and ends."""
    if re.search(_KEY, line):
        return "JSON", []
    if line.startswith("|"):
        return "Markdown", [(0, 0, cell.strip()) for cell in line.strip("| ").split(" | ")]
    spaced = [(found.start(), found.end(), found[0]) for found in re.finditer(r"\S+(?: \S+)*", line)]
    if len(spaced) > 1 or "," not in line:
        return "table", spaced
    return "CSV", [(0, 0, cell) for cell in next(csv.reader([line]))]


def _under(kind, cells, headings):
    """Return each cell with the heading that it stands under; none if one stands under no heading, or several."""
    if kind != "table":
        cells = cells if len(cells) == len(headings) else []
        return [(head[2], cell[2]) for head, cell in zip(headings, cells, strict=bool(cells))]
    named = []
    for start, end, cell in cells:
        above = [head for left, right, head in headings if left < end and start < right]
        if len(above) != 1:
            return []
        named.append((above[0], cell))
    return named


def _said(text, number):
    """Return what the words beside a number call it."""
    before, after = text[: number.start()], text[number.end() :]
    if found := re.match(r" (MB|GB|% of random pairs)", after):
        return found[1]
    if before.endswith("similarity "):
        return "similarity"
    return "seconds" if before.endswith(" in ") and re.match(r" s\b", after) else ""
