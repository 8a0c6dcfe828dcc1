import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from satclip_index.maps._label_placement import Label, place_labels

WIDTH, HEIGHT = 300.0, 150.0


def boxes_of(labels, spots):
    return [
        shapely.box(
            *(label.x + spot[0] - label.width / 2, label.y + spot[1] - label.height / 2),
            *(label.x + spot[0] + label.width / 2, label.y + spot[1] + label.height / 2),
        )
        for label, spot in zip(labels, spots, strict=True)
        if spot is not None
    ]


@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 150), st.integers(5, 60), st.booleans()), min_size=1, max_size=25
    )
)
def test_no_label_covers_another_or_anothers_place_or_leaves_the_map(given_labels):
    labels = [Label(float(x), float(y), float(width), 12.0, over) for x, y, width, over in given_labels]
    taken = [Label(150.0, 75.0, 30.0, 30.0)]
    spots = place_labels(labels, WIDTH, HEIGHT, taken=taken)
    placed = [label for label, spot in zip(labels, spots, strict=True) if spot is not None]
    boxes = boxes_of(labels, spots)
    everything = [*boxes, *boxes_of(taken, [(0.0, 0.0)])]
    for i, (label, box) in enumerate(zip(placed, boxes, strict=True)):
        assert shapely.covers(shapely.box(0, 0, WIDTH, HEIGHT), box)
        assert not any(box.intersects(other) for j, other in enumerate(everything) if j != i)
        elsewhere = [(other.x, other.y) for other in labels if (other.x, other.y) != (label.x, label.y)]
        assert not any(box.contains(shapely.Point(place)) for place in elsewhere)


def test_a_label_alone_lies_on_its_place_if_it_may_and_else_beside_it():
    assert place_labels([Label(50, 50, 16, 16, over=True)], WIDTH, HEIGHT) == [(0.0, 0.0)]
    ((right, down),) = place_labels([Label(50, 50, 40, 16)], WIDTH, HEIGHT)
    assert (right, down) == (26.0, 0.0)
    ((right, _),) = place_labels([Label(290, 50, 40, 16)], WIDTH, HEIGHT)
    assert right == -26.0  # there is no room to the right


def test_what_has_no_room_is_left_out_and_never_what_matters_more():
    crowd = [Label(50 + i % 3, 50 + i // 3, 16, 16, over=True) for i in range(150)]
    spots = place_labels(crowd, WIDTH, HEIGHT)
    assert spots[0] is not None
    assert 5 < sum(spot is not None for spot in spots) < 150
    assert place_labels([], WIDTH, HEIGHT) == []


def test_no_line_to_a_label_passes_under_another_label():
    rng = np.random.default_rng(3)
    labels = [Label(*xy, 16.0, 16.0, over=True) for xy in rng.uniform((100, 40), (200, 110), size=(15, 2)).tolist()]
    spots = place_labels(labels, WIDTH, HEIGHT)
    boxes = boxes_of(labels, spots)
    placed = [(label, spot) for label, spot in zip(labels, spots, strict=True) if spot is not None]
    assert len(placed) > 8
    for i, (label, (right, down)) in enumerate(placed):
        line = shapely.LineString([(label.x, label.y), (label.x + right, label.y + down)])
        for j, box in enumerate(boxes):
            assert j == i or shapely.length(line.intersection(box)) < 6  # between two of the points that stand for it
