import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from satclip_index.encoder.spherical_harmonics import CONVENTIONS, real_harmonics

from .. import oracles

LON = np.array([0.0, 180.0, -180.0, 179.999999, 36.82, -70.5, 90.0, -90.0, 12.5, 301.0])
LAT = np.array([90.0, -90.0, 0.0, 45.0, -1.29, 89.9999, -89.9999, 0.0, 66.6, 1e-9])
LONS = st.floats(-180, 360)
LATS = st.floats(-90, 90)


def features(lon, lat, legendre_polys, convention="analytic", **options):
    lon, lat = (torch.tensor(np.atleast_1d(v), dtype=torch.float64) for v in (lon, lat))
    return real_harmonics(lon, lat, legendre_polys, convention, **options).T.numpy()


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("legendre_polys", [1, 2, 3, 10, 40, 100])
def test_every_degree_and_order_equals_scipy(legendre_polys, convention):
    found = features(LON, LAT, legendre_polys, convention)
    assert found.shape == (LON.size, legendre_polys**2)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, oracles.harmonics(LON, LAT, legendre_polys, convention), atol=2e-11)


def test_a_smaller_basis_is_the_beginning_of_a_larger_one():
    np.testing.assert_array_equal(features(LON, LAT, 12), features(LON, LAT, 40)[:, :144])


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_no_value_is_missing_on_a_dense_grid_at_degree_99(convention):
    lat = np.concatenate([np.linspace(-90, 90, 721), 90 - np.logspace(-15, 0, 50)])
    found = features(np.linspace(-180, 180, lat.size), lat, 100, convention)
    assert np.isfinite(found).all()


def test_at_a_pole_only_order_zero_is_left_and_longitude_is_nothing():
    for pole in (-90.0, 90.0):
        found = features([0.0, 77.0, -180.0], [pole] * 3, 40)
        order_zero = np.array([degree * degree + degree for degree in range(40)])
        others = np.setdiff1d(np.arange(1600), order_zero)
        np.testing.assert_allclose(found[:, others], 0, atol=1e-12)
        np.testing.assert_allclose(found, found[:1].repeat(3, axis=0), atol=1e-12)
        # Y_l0 at the pole is sqrt((2l+1)/4pi) times (+-1)^l.
        expected = np.pi * np.sqrt((2 * np.arange(40) + 1) / (4 * np.pi)) * (-np.sign(pole)) ** np.arange(40)
        np.testing.assert_allclose(found[0, order_zero], expected, rtol=1e-12)


def test_the_first_features_are_those_of_the_table():
    found = features(30.0, 60.0, 2)[0]
    cos_lat, sin_lat, lon = 0.5, np.sqrt(3) / 2, np.radians(30)
    scale = np.sqrt(3 / (4 * np.pi))
    # SATCLIP.md, section 1: (-1)^l pi Re Y; (-1)^l (-1)^m sqrt(2) Im/Re Y, Y with the Condon-Shortley phase.
    expected = [
        np.pi * np.sqrt(1 / (4 * np.pi)),
        -scale * cos_lat * np.sin(lon),
        -np.pi * scale * sin_lat,
        -scale * cos_lat * np.cos(lon),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_float32_is_the_rounding_of_float64():
    exact = features(LON, LAT, 40)
    np.testing.assert_array_equal(features(LON, LAT, 40, dtype=torch.float32), exact.astype(np.float32))


def test_float32_coordinates_cost_no_more_than_their_own_rounding():
    lon, lat = torch.tensor([36.75]), torch.tensor([-1.25])
    np.testing.assert_array_equal(real_harmonics(lon, lat, 40).numpy().ravel(), features(36.75, -1.25, 40).ravel())


@given(lon=LONS, lat=LATS, convention=st.sampled_from(CONVENTIONS))
def test_a_whole_turn_changes_nothing(lon, lat, convention):
    np.testing.assert_allclose(features(lon, lat, 30, convention), features(lon - 360, lat, 30, convention), atol=1e-11)


@given(lon=LONS, lat=LATS, convention=st.sampled_from(CONVENTIONS))
def test_squares_of_a_degree_add_up_to_the_same_everywhere(lon, lat, convention):
    found = features(lon, lat, 40, convention)[0]
    for degree in range(40):
        centre = degree * degree + degree
        values = found[centre - degree : centre + degree + 1].copy()
        if convention == "analytic":
            values[degree] /= np.pi
        assert np.square(values).sum() == pytest.approx((2 * degree + 1) / (4 * np.pi), rel=1e-10)


@given(lon=LONS, lat=LATS, to_lon=LONS, to_lat=LATS)
def test_products_of_a_degree_are_the_legendre_polynomial_of_the_angle(lon, lat, to_lon, to_lat):
    from scipy.special import eval_legendre

    one, other = features([lon, to_lon], [lat, to_lat], 12, "closed-form")
    angle = oracles.haversine_km(lon, lat, to_lon, to_lat) / oracles.EARTH_RADIUS_KM
    for degree in range(12):
        part = slice(degree * degree, (degree + 1) ** 2)
        expected = (2 * degree + 1) / (4 * np.pi) * eval_legendre(degree, np.cos(angle))
        assert one[part] @ other[part] == pytest.approx(expected, abs=1e-10)
