import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from satclip_train.rasters.config import read_config
from satclip_train.sentinel2.config import is_tiles_config, read_s2_config

from ..conftest import ROOT

CONFIGS = ROOT / "train" / "configs"
# What dataclasses.asdict returned for each file when the checks were still written by hand. Checkpoints, metrics and
# the fingerprints of caches store these values; a run can be resumed only if they stay the same.
STORED = json.loads(Path(__file__).with_name("stored_configs.json").read_text())


def plain(value):
    """Return a value in JSON, with types that JSON lacks named and the folder of the file left out."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return {"tuple": [plain(item) for item in value]}
    if isinstance(value, Path):
        return {"Path": plain(str(value))}
    return value.replace(str(CONFIGS), "CONFIGS") if isinstance(value, str) else value


def test_every_committed_configuration_has_a_stored_one():
    assert {path.name for path in CONFIGS.glob("*.toml")} == set(STORED)


@pytest.mark.parametrize("name", sorted(STORED))
def test_a_committed_configuration_is_stored_as_ever(name):
    path = CONFIGS / name
    config = (read_s2_config if is_tiles_config(path) else read_config)(path)
    assert json.dumps(plain(dataclasses.asdict(config))) == json.dumps(STORED[name])


def test_without_pydantic_the_missing_extra_is_named():
    work = (
        "import sys\nsys.modules['pydantic'] = None\n"
        "from satclip_index.errors import MissingExtraError\n"
        "try:\n    import satclip_train.rasters.config\n"
        "except MissingExtraError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=True)
    assert "pip install 'satclip-index[train]'" in done.stdout
