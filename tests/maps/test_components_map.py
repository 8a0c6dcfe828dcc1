import numpy as np
import pytest

from satclip_index.errors import ResolutionError

from ..oracles import stored


def test_colours_are_the_first_three_components_stretched(atlas):
    figure = atlas.plot(1, width=120)
    (image,) = figure.axes[0].images
    image = image.get_array()
    assert image.shape == (60, 120, 4)
    assert (image[..., 3] == 255).all()
    columns = stored(atlas, 1)
    values = (columns["embedding"].astype(np.float64) - atlas.components.mean) @ atlas.components.components[:3].T
    low, high = np.percentile(values, [2, 98], axis=0)  # each of the 842 cells is seen, near enough
    expected = np.clip((values - low) / (high - low), 0, 1) * 255
    for lon, lat, color in zip(columns["lon"], columns["lat"], expected, strict=True):
        shown = image[int((90 - lat) / 3), int((lon + 180) / 3)]
        if abs(lat) < 80:
            np.testing.assert_allclose(shown[:3], color, atol=3)


def test_a_map_of_land_leaves_the_sea_out(atlas, land_atlas):
    for opened, land_only in ((atlas, True), (land_atlas, False)):
        image = opened.plot(2, width=180, land_only=land_only).axes[0].images[0].get_array()
        clear = image[..., 3] == 0
        assert clear[50, 20]  # the Pacific
        assert not clear[45, 105]  # Africa
        assert 0.6 < clear[15:-30].mean() < 0.9


def test_it_says_how_much_of_the_variance_is_shown(atlas):
    texts = [text.get_text() for text in atlas.plot(width=900).texts]
    share = sum(atlas.manifest.components["variance_shares"][:3])
    assert any(f"{share:.0%} of the variance" in text for text in texts)
    with pytest.raises(ResolutionError, match="holds resolution 1, 2"):
        atlas.plot(7)
