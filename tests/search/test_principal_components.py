import json

import numpy as np
import pytest
from sklearn.decomposition import PCA

from satclip_index.errors import CorruptAtlasError, QueryError
from satclip_index.search.principal_components import Components
from satclip_index.storage.manifest import FileEntry

from ..oracles import stored


def up_to_sign(a, b):
    return a * np.sign((a * b).sum(axis=-1, keepdims=True))


def test_components_are_those_of_scikit_learn(atlas):
    columns = stored(atlas, 2)
    land = columns["embedding"][columns["land"].astype(bool)]
    expected = PCA(svd_solver="full").fit(land.astype(np.float64))
    ours = atlas.components
    np.testing.assert_allclose(ours.mean, expected.mean_, atol=1e-6)
    np.testing.assert_allclose(ours.variance, expected.explained_variance_, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(up_to_sign(expected.components_, ours.components), ours.components, atol=1e-4)
    projected = expected.transform(columns["embedding"])[:, :3]
    np.testing.assert_allclose(np.abs(ours.project(columns["embedding"], 3)), np.abs(projected), atol=1e-5)


def test_the_entry_of_greatest_magnitude_is_positive_and_a_fit_is_repeated_exactly():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 8)).astype(np.float32) * np.arange(1, 9, dtype=np.float32)
    fitted, again = Components.fit(vectors), Components.fit(vectors)
    largest = np.abs(fitted.components).argmax(axis=1)
    assert (fitted.components[np.arange(8), largest] > 0).all()
    assert (np.diff(fitted.variance) <= 0).all()
    for name in ("mean", "components", "variance"):
        assert getattr(fitted, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(fitted, name), getattr(again, name))


def test_a_single_vector_varies_in_no_direction():
    fitted = Components.fit(np.eye(4, dtype=np.float32)[:1])
    assert not fitted.variance.any()
    assert fitted.shares() == [0.0] * 4


def test_the_manifest_says_what_they_were_fitted_on(atlas, land_atlas):
    for opened in (atlas, land_atlas):
        said = opened.manifest.components
        assert (said["res"], said["fitted_on"]) == (2, "land cells")
        assert said["cells"] == opened.manifest.entry(2).land_count
        assert 0.9 < sum(said["variance_shares"]) <= 1.00001  # all 16 of them
        entry = next(entry for entry in opened.manifest.files if entry.path == "components.safetensors")
        assert entry == FileEntry.of(opened.path, opened.path / entry.path)


@pytest.mark.parametrize("count", [0, 17, -1, 2.5, True])
def test_there_are_as_many_components_as_dimensions(atlas, count):
    with pytest.raises(QueryError, match="from 1 to 16"):
        atlas.components.project(np.zeros((1, 16), np.float32), count)


def test_an_atlas_without_components_is_refused(atlas, copy_of):
    root = copy_of(atlas)
    manifest = json.loads((root / "manifest.json").read_text())
    del manifest["components"]["cells"]
    (root / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptAtlasError, match="not a manifest"):
        type(atlas.manifest).read(root)
    Components.fit(np.eye(3, dtype=np.float32)).write(root)
    with pytest.raises(CorruptAtlasError, match="16 dimensions"):
        Components.open(root, 16)
