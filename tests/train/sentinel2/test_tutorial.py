import re
import shlex
import shutil

import pytest

from ...printed import differences
from .fixtures import ROOT, SHARED, needs_shared, satclip_index

PAGE = ROOT / "docs" / "training.md"


def _commands():
    for body in re.findall(r"```console\n(.*?)```", PAGE.read_text(), flags=re.DOTALL):
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, _, output = part.replace("\\\n", " ").partition("\n")
            yield shlex.split(command), output


@pytest.mark.slow
@pytest.mark.shared
@needs_shared
def test_the_tutorial_leads_from_tiles_to_an_atlas(tmp_path):
    shutil.copytree(SHARED, tmp_path / "s2")
    shutil.copytree(ROOT / "train" / "configs", tmp_path / "configs")
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    typed = []
    for arguments, shown in _commands():
        assert arguments[0] == "satclip-index"
        done = satclip_index(*arguments[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert not differences(shown, done.stderr + done.stdout), done.stderr
        typed.append(" ".join(arguments[1:3]))
    assert [words for words in typed if words.startswith("train")] == [
        "train features",
        "train configs/s2-tutorial.toml",
        "train export",
    ]
    assert typed[-1].startswith("build")
    assert (tmp_path / "s2-atlas" / "manifest.json").exists()


def test_the_configuration_on_the_page_is_one(tmp_path):
    from satclip_train.sentinel2.config import read_s2_config

    (block,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (tmp_path / "c.toml").write_text(block)
    config = read_s2_config(tmp_path / "c.toml")
    assert config.from_cache
    assert config.training.batch_size == 8192
