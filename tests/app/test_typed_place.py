import pytest

from satclip_index.app._state import Example
from satclip_index.app._typed_place import place_of
from satclip_index.errors import PlaceError
from satclip_index.geo.places import Place


@pytest.mark.parametrize("text", ["Nairobi", "36.8,-1.3", "84f29c3ffffffff", "Biel/Bienne", "Springfield, Illinois"])
def test_a_place_is_what_the_library_takes_it_for(text):
    assert place_of(Example(text)).label == Place.of(text).label
    assert place_of(Example(text, 2.0)).weight == 2.0


@pytest.mark.parametrize("name", ["area.geojson", "area.json", "area.GEOJSON:2", "AREA.JSON:2:3"])
def test_no_file_of_the_server_is_read(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "area.geojson").write_text('{"type": "Point", "coordinates": [1, 2]}')
    (tmp_path / "lima").write_text('{"type": "Point", "coordinates": [1, 2]}')
    for text in (name, f"{tmp_path}/{name}", f"{tmp_path}/lima", "./lima", f"{tmp_path}/lima:2"):
        with pytest.raises(PlaceError):
            place_of(Example(text))


def test_whether_a_file_is_there_makes_no_difference(tmp_path):
    (tmp_path / "there").write_text("secret")
    said = []
    for name in ("there", "gone"):
        with pytest.raises(PlaceError) as error:
            place_of(Example(f"{tmp_path}/{name}"))
        said.append(str(error.value).replace(repr(f"{tmp_path}/{name}"), ""))
    assert said[0] == said[1]
