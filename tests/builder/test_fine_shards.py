"""Shards smaller than a base cell, which the finest resolutions have, made at a coarse one."""

import numpy as np
import pytest

import satclip_index as si
from satclip_index.builder.build import build_atlas
from satclip_index.builder.verify import verify_atlas
from satclip_index.geo import grid, sphere

from ..oracles import make_encoder, similarity, stored

RES = 3


@pytest.fixture(scope="module")
def encoder():
    return make_encoder(5, dim=8)


@pytest.fixture(scope="module")
def coarse(tmp_path_factory, encoder):
    return build_atlas(tmp_path_factory.mktemp("coarse") / "atlas", encoder=encoder, res=RES, land_only=True)


@pytest.fixture(scope="module")
def fine(tmp_path_factory, encoder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "_FINEST_OF_BASE_CELLS", RES - 1)
        grid.shard_roots.cache_clear()
        built = build_atlas(tmp_path_factory.mktemp("fine") / "atlas", encoder=encoder, res=RES, land_only=True)
    grid.shard_roots.cache_clear()
    return built


def test_an_atlas_of_fine_shards_has_a_file_for_each_cell_that_has_land(fine, coarse):
    land = grid.ancestors(stored(coarse, RES)["cell"], 1)
    assert len(fine.manifest.cell_files(RES)) == np.unique(land).size > 200
    assert len(coarse.manifest.cell_files(RES)) == 1


def test_its_rows_and_vectors_are_those_of_any_other(fine, coarse):
    of_fine, of_coarse = stored(fine, RES), stored(coarse, RES)
    for name in ("cell", "lon", "lat", "land", "norm", "embedding"):
        np.testing.assert_allclose(of_fine[name], of_coarse[name], atol=1e-3 if name == "embedding" else 1e-6)
    ours, theirs = ((atlas.path / f"res={RES}" / "index.faiss").stat().st_size for atlas in (fine, coarse))
    assert ours == theirs


def test_verify_finds_nothing_wrong_with_it(fine):
    assert not list(verify_atlas(fine.path).findings)


@pytest.mark.parametrize("exclude_within_km", [0, 2000])
def test_like_is_brute_force_over_it(fine, exclude_within_km):
    cells, vectors = stored(fine, RES)["cell"], fine.index(RES).vectors.of_rows(np.arange(len(fine.index(RES))))
    found = fine.like(int(cells[777]), k=40, exclude_within_km=exclude_within_km, apart_km=0)
    lon, lat = grid.cell_centers(cells)
    away = sphere.distances_km(lon, lat, np.full(lon.size, lon[777]), np.full(lat.size, lat[777])) >= exclude_within_km
    values = similarity(vectors, vectors[777])
    best = np.flatnonzero(away)
    best = best[np.lexsort((best, -values[best]))[:40]]
    np.testing.assert_array_equal(found.cell, cells[best])


def test_what_a_fine_atlas_answers_a_reopened_one_does(fine):
    again = si.open_atlas(fine.path)
    np.testing.assert_array_equal(again.like("Nairobi").cell, fine.like("Nairobi").cell)
