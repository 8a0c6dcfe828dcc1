import h3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import satclip_index as si
from satclip_index.encoder.location_encoder import unit_half
from satclip_index.errors import CoordinateError, InvalidCellError, PlaceError, QueryError, ResolutionError
from satclip_index.geo import grid

from .oracles import all_cells, brute_like, haversine_km, similarity, stored, unit32

PENTAGON = h3.get_pentagons(2)[3]
AREA = {"type": "Polygon", "coordinates": [[[170, -30], [-160, -30], [-160, 10], [170, 10], [170, -30]]]}
POINTS = {"type": "MultiPoint", "coordinates": [[10, 10], [100, 40]]}
SPECK = {"type": "Polygon", "coordinates": [[[10, 10], [10.01, 10], [10.01, 10.01], [10, 10.01], [10, 10]]]}


@pytest.fixture(scope="module")
def columns(atlas, land_atlas):
    return {(name, res): stored(made, res) for name, made in (("all", atlas), ("land", land_atlas)) for res in (1, 2)}


def cells_of(place, res):
    """Return the cells and the locations of a place, by h3-py and by hand."""
    if isinstance(place, dict):
        if place is POINTS:
            points = place["coordinates"]
            return sorted({int(h3.latlng_to_cell(lat, lon, res), 16) for lon, lat in points}), points
        if place is SPECK:
            cells = [int(h3.latlng_to_cell(10.005, 10.005, res), 16)]
        else:
            centres = {int(c): h3.cell_to_latlng(f"{int(c):x}") for c in all_cells(res)}
            cells = [c for c, (lat, lon) in centres.items() if -30 <= lat <= 10 and (lon >= 170 or lon <= -160)]
    elif isinstance(place, str):
        own = h3.get_resolution(place)
        cells = [h3.cell_to_parent(place, res)] if own >= res else h3.cell_to_children(place, res)
        cells = sorted(int(cell, 16) for cell in cells)
    else:
        return [int(h3.latlng_to_cell(place[1], place[0], res), 16)], [place]
    return cells, [h3.cell_to_latlng(f"{cell:x}")[::-1] for cell in cells]


def expected_query(columns, wanted, unwanted, res, encoder=None):
    def vector(place):
        cells = np.array(cells_of(place, res)[0], dtype=np.uint64)
        held = np.isin(cells, columns["cell"])
        vectors = np.empty((cells.size, columns["embedding"].shape[1]), np.float32)
        vectors[held] = columns["embedding"][np.searchsorted(columns["cell"], cells[held])]
        if not held.all():
            lat, lon = np.array([h3.cell_to_latlng(f"{int(cell):x}") for cell in cells[~held]]).T
            vectors[~held] = unit_half(encoder.encode(lon, lat))[0]
        return vectors[0] if len(vectors) == 1 else unit32(np.mean(vectors, axis=0, dtype=np.float64))

    positive = np.mean([vector(place).astype(np.float64) for place in wanted], axis=0)
    if unwanted:
        negative = np.mean([vector(place).astype(np.float64) for place in unwanted], axis=0)
        return unit32(2 * positive - negative)
    return vector(wanted[0]) if len(wanted) == 1 else unit32(positive)


def check(made, columns, wanted, unwanted=(), *, res, k, exclude, apart, ocean, encoder=None):
    found = made.like(
        list(wanted), unlike=list(unwanted), k=k, res=res, exclude_within_km=exclude, apart_km=apart, ocean=ocean
    )
    query = expected_query(columns, wanted, unwanted, res, encoder)
    examples = np.array([point for place in wanted for point in cells_of(place, res)[1]], dtype=np.float64).T
    rows, alike = brute_like(columns, query, examples, k=k, exclude=exclude, apart=apart, ocean=ocean)
    np.testing.assert_array_equal(found.cell, columns["cell"][rows])
    np.testing.assert_array_equal(found.similarity, alike)
    np.testing.assert_array_equal(found.lon, columns["lon"][rows])
    np.testing.assert_array_equal(found.lat, columns["lat"][rows])
    assert found.rank.tolist() == list(range(1, rows.size + 1))
    distance = haversine_km(found.lon[:, None], found.lat[:, None], *examples).min(axis=1)
    np.testing.assert_allclose(found.distance_km, distance, atol=0.01)
    return found


OPTIONS = [
    {"k": 10, "exclude": 500.0, "apart": 300.0, "ocean": False},
    {"k": 10, "exclude": 500.0, "apart": 300.0, "ocean": True},
    {"k": 25, "exclude": 0.0, "apart": 0.0, "ocean": True},
    {"k": 7, "exclude": 0.0, "apart": 2500.0, "ocean": False},
    {"k": 1, "exclude": 8000.0, "apart": 0.0, "ocean": True},
    {"k": 9999, "exclude": 3000.0, "apart": 1200.0, "ocean": False},
    {"k": 40, "exclude": 1e-9, "apart": 1e-9, "ocean": True},
]
QUERIES = {
    "a point": ([(36.82, -1.29)], []),
    "the north pole": ([(0.0, 90.0)], []),
    "the south pole": ([(-77.0, -90.0)], []),
    "the antimeridian": ([(180.0, -16.5)], []),
    "a pentagon": ([PENTAGON], []),
    "a coarser cell": ([h3.get_pentagons(0)[2]], []),
    "a finer cell": ([h3.latlng_to_cell(48.8, 2.3, 9)], []),
    "several": ([(36.82, -1.29), (-60.0, -3.0), PENTAGON], []),
    "unlike": ([(36.82, -1.29)], [(-60.0, -3.0)]),
    "several unlike several": ([(36.82, -1.29), (-179.9, 70.0)], [(-60.0, -3.0), PENTAGON, AREA]),
    "an area": ([AREA], []),
    "points": ([POINTS, (0.0, 0.0)], []),
    "a tiny area": ([SPECK], []),
}


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: ",".join(f"{k}={v:g}" for k, v in o.items()))
@pytest.mark.parametrize("name", QUERIES)
def test_like_is_brute_force(atlas, columns, name, options):
    wanted, unwanted = QUERIES[name]
    for res in (1, 2):
        if options["k"] == 9999 and res == 2 and name not in ("a point", "a pentagon"):
            continue  # the naive greedy is slow
        check(atlas, columns["all", res], wanted, unwanted, res=res, **options)


@pytest.mark.parametrize("options", OPTIONS[:4], ids=lambda o: ",".join(f"{k}={v:g}" for k, v in o.items()))
@pytest.mark.parametrize("name", QUERIES)
def test_like_in_a_land_only_atlas_is_brute_force_even_for_an_example_at_sea(
    land_atlas, columns, encoder, name, options
):
    wanted, unwanted = QUERIES[name]
    check(land_atlas, columns["land", 2], wanted, unwanted, res=2, encoder=encoder, **options)


@settings(max_examples=30)
@given(
    places=st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), min_size=1, max_size=3),
    unlike=st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), max_size=2),
    k=st.integers(1, 20),
    exclude=st.floats(0, 5000),
    apart=st.floats(0, 5000),
    ocean=st.booleans(),
)
def test_like_is_brute_force_anywhere(atlas, columns, places, unlike, k, exclude, apart, ocean):
    try:
        check(atlas, columns["all", 2], places, unlike, res=2, k=k, exclude=exclude, apart=apart, ocean=ocean)
    except QueryError:
        query = 2 * np.mean([stored_vector(columns, p) for p in places], axis=0)
        if unlike:
            query -= np.mean([stored_vector(columns, p) for p in unlike], axis=0)
        assert np.linalg.norm(query) < 1e-5


def stored_vector(columns, point):
    data = columns["all", 2]
    return data["embedding"][data["cell"] == np.uint64(int(h3.latlng_to_cell(point[1], point[0], 2), 16))][0]


def test_the_defaults_are_those_of_the_design(atlas):
    found = atlas.like("Nairobi")
    assert len(found) == 10
    assert found.query["res"] == 2
    assert (found.distance_km >= 500).all()
    apart = haversine_km(found.lon[:, None], found.lat[:, None], found.lon, found.lat) + 1e9 * np.eye(10)
    assert apart.min() >= 300
    assert atlas.index(2).tree.rows.land[atlas.index(2).rows_of(found.cell)].all()


def test_the_plain_nearest_neighbour_of_a_cell_is_itself(atlas):
    found = atlas.like((36.82, -1.29), k=1, exclude_within_km=0, apart_km=0, ocean=True)
    assert f"{int(found.cell[0]):x}" == h3.latlng_to_cell(-1.29, 36.82, 2)
    assert found.similarity[0] == pytest.approx(1, abs=1e-3)


def test_fewer_come_back_only_where_no_more_qualify(atlas, columns):
    assert len(atlas.like((0, 0), exclude_within_km=25_000)) == 0
    assert len(atlas.like((0, 0), k=10**6, exclude_within_km=0, apart_km=0)) == columns["all", 2]["land"].sum()
    everything = atlas.like((0, 0), k=np.int64(10**6), exclude_within_km=0, apart_km=0, ocean=True)
    np.testing.assert_array_equal(np.sort(everything.cell), columns["all", 2]["cell"])


def test_rows_of_equal_similarity_come_in_row_order(tmp_path, encoder):
    from .oracles import make_encoder

    made = si.build_atlas(tmp_path / "flat", encoder=make_encoder(roughness=0.0), res=2, device="cpu")
    found = made.like((0, 0), k=50, exclude_within_km=0, apart_km=0, ocean=True)
    np.testing.assert_array_equal(found.cell, grid.cells_at(2)[:50])


def test_the_query_says_what_was_asked_and_how_it_was_answered(atlas):
    one = atlas.like("Nairobi", k=3, res=1).query
    assert one["query"] == "like"
    assert one["like"][0].startswith("Nairobi, KE: 36.82 E 1.28 S, cell 81")
    assert (one["k"], one["res"], one["ocean"], one["exact"], one["encoder"]) == (3, 1, False, True, "tiny")
    assert atlas.like(["Nairobi", "Lima"]).query["query"] == "unit(mean(like))"
    both = atlas.like("Nairobi", unlike="Lima").query
    assert both["query"] == "unit(2 * mean(like) - mean(unlike))"
    assert both["unlike"][0].startswith("Lima")


def test_percentiles_rise_with_similarity(atlas):
    found = atlas.like("Nairobi", k=200, apart_km=0)
    assert (np.diff(found.similarity) <= 0).all()
    assert (np.diff(found.percentile) <= 0).all()
    assert ((found.percentile >= 0) & (found.percentile <= 100)).all()


def test_a_tuple_of_two_numbers_is_a_point_and_a_tuple_of_places_is_several(atlas):
    assert len(atlas.like((10, 20)).query["like"]) == 1
    assert len(atlas.like(("Nairobi", "Lima")).query["like"]) == 2
    assert len(atlas.like([(10, 20), (30, 40)]).query["like"]) == 2
    assert len(atlas.like(((10, 20), (30, 40))).query["like"]) == 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"k": 0}, QueryError),
        ({"k": -1}, QueryError),
        ({"k": 2.0}, QueryError),
        ({"k": True}, QueryError),
        ({"k": "3"}, QueryError),
        ({"exclude_within_km": -1}, QueryError),
        ({"exclude_within_km": float("nan")}, QueryError),
        ({"exclude_within_km": float("inf")}, QueryError),
        ({"apart_km": -0.1}, QueryError),
        ({"apart_km": float("nan")}, QueryError),
        ({"res": 3}, ResolutionError),
        ({"res": -1}, ResolutionError),
        ({"res": "2"}, ResolutionError),
        ({"place": []}, QueryError),
        ({"place": "Nowhereville"}, PlaceError),
        ({"place": (0, 91)}, CoordinateError),
        ({"place": 7}, InvalidCellError),
        ({"unlike": "Nowhereville"}, PlaceError),
        ({"place": "Nairobi", "unlike": ["Nairobi", "Nairobi"]}, None),
    ],
)
def test_an_option_out_of_range_is_refused_in_one_line(atlas, options, error):
    options = {"place": (0, 0)} | options
    if error is None:  # 2 a - a is a: like Nairobi, after all
        np.testing.assert_array_equal(atlas.like(**options).cell, atlas.like("Nairobi").cell)
        return
    with pytest.raises(error) as caught:
        atlas.like(**options)
    assert "\n" not in str(caught.value)


def test_examples_that_cancel_out_are_refused(tmp_path):
    from .oracles import make_encoder

    made = si.build_atlas(tmp_path / "one", encoder=make_encoder(dim=1), res=1, device="cpu")
    rows = made.index().vectors.of_rows(np.arange(842)).ravel()
    assert {-1.0, 1.0} == set(rows.tolist())
    opposite = [int(made.index().cells[np.flatnonzero(rows == sign)[0]]) for sign in (1, -1)]
    with pytest.raises(QueryError, match="cancel"):
        made.like(opposite)


@pytest.mark.parametrize("res", [None, 1, 2])
def test_embedding_at_is_what_is_stored_of_the_cell(atlas, columns, res):
    lon, lat = np.array([36.82, 180, -180, 0, 200, 5]), np.array([-1.29, 10, 10, 90, -90, 5])
    data = columns["all", res or 2]
    found = atlas.embedding_at(lon, lat, res=res)
    assert found.shape == (6, 16)
    assert found.dtype == np.float32
    for i in range(6):
        cell = np.uint64(int(h3.latlng_to_cell(lat[i], (lon[i] + 180) % 360 - 180, res or 2), 16))
        np.testing.assert_array_equal(found[i], data["embedding"][data["cell"] == cell][0])
    np.testing.assert_array_equal(atlas.embedding_at(36.82, -1.29, res=res), found[:1])
    assert atlas.embedding_at([], [], res=res).shape == (0, 16)


def test_embedding_at_in_a_land_only_atlas_encodes_the_sea(atlas, land_atlas):
    lon, lat = [36.82, -30.0, 100.0, -150.0], [-1.29, 0.0, 60.0, -40.0]
    expected, found = atlas.embedding_at(lon, lat), land_atlas.embedding_at(lon, lat)
    np.testing.assert_allclose(found, expected, atol=5e-4)
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize(
    ("arguments", "error"), [((0, 91), CoordinateError), (([0, 1], [0]), CoordinateError), ((0, 0, 5), ResolutionError)]
)
def test_embedding_at_refuses_what_is_not_there(atlas, arguments, error):
    lon, lat, *res = arguments
    with pytest.raises(error):
        atlas.embedding_at(lon, lat, res=res[0] if res else None)


def test_a_land_only_atlas_holds_the_land_of_the_whole_one(atlas, land_atlas, columns):
    for res in (1, 2):
        whole, land = columns["all", res], columns["land", res]
        np.testing.assert_array_equal(land["cell"], whole["cell"][whole["land"]])
        np.testing.assert_allclose(land["embedding"], whole["embedding"][whole["land"]], atol=5e-4)
        assert land["land"].all()
    assert land_atlas.manifest.land_only
    assert not atlas.manifest.land_only


def test_rows_of_cells_are_their_rows_or_minus_one(land_atlas):
    index = land_atlas.index(2)
    cells = grid.cells_at(2)
    rows = index.rows_of(cells)
    held = np.isin(cells, index.cells)
    np.testing.assert_array_equal(rows >= 0, held)
    np.testing.assert_array_equal(index.cells[rows[held]], cells[held])


def test_an_atlas_may_be_moved_and_keeps_its_encoder(atlas, copy_of, encoder):
    moved = si.open_atlas(copy_of(atlas))
    assert moved.encoder.sha256 == encoder.sha256 == atlas.manifest.encoder["sha256"]
    np.testing.assert_array_equal(moved.like("Nairobi").cell, atlas.like("Nairobi").cell)


def test_repr_says_what_it_holds(atlas):
    assert "res 1: 842 cells, res 2: 5,882 cells" in repr(atlas)
    assert atlas.resolutions == [1, 2]


def test_similarity_is_the_cosine_within_a_few_ten_thousandths(atlas, columns):
    found = atlas.like((36.82, -1.29), k=50, apart_km=0)
    query = stored_vector(columns, (36.82, -1.29)).astype(np.float64)
    vectors = atlas.index(2).vectors.of_rows(atlas.index(2).rows_of(found.cell)).astype(np.float64)
    cosine = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    np.testing.assert_allclose(found.similarity, cosine, atol=1e-3)
    np.testing.assert_array_equal(found.similarity, similarity(vectors, query.astype(np.float32)))


def test_an_absurd_k_gives_what_there_is(atlas):
    assert len(atlas.like("Nairobi", k=10**12, ocean=True, exclude_within_km=0, apart_km=0, res=1)) == 842
