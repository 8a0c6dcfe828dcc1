import numpy as np
import pytest

from satclip_index.geo.land_mask import is_land
from satclip_index.maps.coastlines import _FILE, load_outlines


@pytest.fixture(params=["fine", "coarse"])
def lines(request):
    return load_outlines(request.param)


def steps(lines):
    """The pieces of all lines: their ends, and whether each is of a border."""
    inside = np.ones(lines.lon.size - 1, bool)
    inside[lines.start[1:-1] - 1] = False
    points = np.column_stack([lines.lon, lines.lat]).astype(np.float64)
    of = np.repeat(lines.is_border, np.diff(lines.start))[:-1]
    return points[:-1][inside], points[1:][inside], of[inside]


def test_lines_have_two_points_at_least_and_lie_on_the_plane(lines):
    assert lines.start[0] == 0
    assert lines.start[-1] == lines.lon.size == lines.lat.size
    assert (np.diff(lines.start) >= 2).all()
    assert np.abs(lines.lon).max() <= 180
    assert np.abs(lines.lat).max() <= 90
    assert lines.lon.dtype == lines.lat.dtype == np.float32
    assert sum(1 for border in (True, False) for _ in lines.lines(border=border)) == lines.is_border.size


def test_no_line_goes_across_the_map_or_along_its_edges(lines):
    a, b, _ = steps(lines)
    assert np.abs(b - a).max() < 10
    assert (np.abs(a - b) > 0).any(axis=1).all()
    assert not ((np.abs(a[:, 0]) == 180) & (np.abs(b[:, 0]) == 180)).any()
    assert lines.lat.min() > -86  # Antarctica ends at its coast, not at the pole


def test_lines_that_meet_the_antimeridian_go_on_beyond_it(lines):
    ends = [np.sort(lines.lat[lines.lon == side]) for side in (-180, 180)]
    assert ends[0].size >= 5
    np.testing.assert_allclose(ends[0], ends[1], atol=0.02)


def around(points, degrees):
    """Whether there is land, and sea, at each point or in eight directions from it."""
    angle = np.arange(8) * np.pi / 4
    offsets = [(0.0, 0.0), *(degrees * r * np.array([np.cos(t), np.sin(t)]) for t in angle for r in (0.5, 1.0))]
    land = [is_land((points[:, 0] + x + 180) % 360 - 180, np.clip(points[:, 1] + y, -90, 90)) for x, y in offsets]
    return np.any(land, axis=0), ~np.all(land, axis=0)


@pytest.mark.parametrize(("level", "degrees"), [("fine", 0.3), ("coarse", 1.0)])
def test_coasts_lie_between_land_and_sea_and_borders_on_land(level, degrees):
    a, b, border = steps(load_outlines(level))
    middle, border = ((a + b) / 2)[::5], border[::5]
    coast = middle[~border & (middle[:, 1] > -60)]  # below, maps take ice for sea or for land
    land, sea = around(coast, degrees)
    assert (land & sea).mean() > 0.95  # the mask has no atolls, and takes the Caspian Sea for land
    land, _ = around(middle[border], degrees)
    assert land.mean() > 0.99
    assert border.mean() > 0.1


def test_where_kenya_and_tanzania_part_is_a_border():
    lines = load_outlines("fine")
    near = (np.abs(lines.lon - 34.0) < 1.2) & (np.abs(lines.lat + 1.0) < 0.05)
    of = np.repeat(lines.is_border, np.diff(lines.start))
    assert near.any()  # at 1 S, from Lake Victoria on
    assert of[near].all()


def test_the_file_is_small_and_says_whom_to_credit():
    assert _FILE.stat().st_size < 250_000
    with np.load(_FILE) as file:
        assert "Natural Earth" in str(file["credit"])
    assert load_outlines("fine") is load_outlines("fine")
