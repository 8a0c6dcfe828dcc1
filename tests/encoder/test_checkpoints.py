import hashlib
import http.server
import json
import os
import pickle
import re
import sys
import threading
import zipfile
from dataclasses import asdict
from subprocess import PIPE
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import torch

from satclip_index.encoder.location_encoder import Encoder, Hyperparameters
from satclip_index.errors import EncoderError

from .. import oracles
from ..conftest import child_environment
from ..oracles import GEOMETRIES, make_encoder
from ..processes import HANG_S, started

LON = np.array([36.82, -70.5, 180.0, -180.0, 0.0, 12.0, 200.0, 179.9999, 77.0])
LAT = np.array([-1.29, -33.4, 10.0, 10.0, 90.0, -90.0, -15.0, 71.0, 89.95])
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def lightning_checkpoint(path, encoder, *, drop=(), hyper=None, **extra):
    """Write what the released training code leaves behind, as SATCLIP.md describes it."""
    weights = {key: tensor.double() for key, tensor in encoder.network.state_dict().items()}
    state = {f"model.location.nnet.{key}": tensor for key, tensor in weights.items()}
    state |= {f"model.nnet.{key}": tensor for key, tensor in weights.items()}
    state |= {
        "model.visual.patch_embed.proj.weight": torch.randn(4, 13, 2, 2),
        "model.visual.norm.num_batches_tracked": torch.tensor(7),
        "model.logit_scale": torch.tensor(2.6),
    }
    hyper_parameters = asdict(encoder.hyperparameters) | {
        "image_resolution": 256, "vision_layers": "moco_vit16", "vision_width": 768, "vision_patch_size": 32,
        "in_channels": 13, "frequency_num": 16, "max_radius": 260, "min_radius": 1, "learning_rate": 1e-4,
        "weight_decay": 0.01, "eval_downstream": False, "air_temp_data_path": "", "election_data_path": "",
        "sh_embedding_dims": 16,
    }  # fmt: skip
    hyper_parameters = {key: value for key, value in hyper_parameters.items() if key not in drop} | (hyper or {})
    checkpoint = {
        "epoch": 499,
        "global_step": 43000,
        "pytorch-lightning_version": "2.0.2",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 500}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(2.5)}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(8)}}}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": hyper_parameters,
    } | extra
    torch.save(checkpoint, path)
    return path


def test_a_saved_encoder_is_the_same_when_loaded(tmp_path):
    for i, dtype in enumerate((torch.float32, torch.float64)):
        encoder = make_encoder(2, dtype=dtype, layers=3, convention="closed-form")
        encoder.save(tmp_path / f"{i}.safetensors")
        loaded = Encoder.load(tmp_path / f"{i}.safetensors")
        assert loaded.hyperparameters == encoder.hyperparameters
        assert loaded.sha256 == encoder.sha256
        assert loaded.name == "tiny"
        assert loaded.origin == {"file": f"{i}.safetensors"}
        assert {t.dtype for t in loaded.network.state_dict().values()} == {dtype}
        np.testing.assert_array_equal(loaded.encode(LON, LAT), encoder.encode(LON, LAT))


def test_a_loaded_encoder_outlives_its_file(encoder_file, tmp_path):
    path = tmp_path / "gone.safetensors"
    path.write_bytes(encoder_file.read_bytes())
    loaded = Encoder.load(path)
    expected = loaded.encode(LON, LAT)
    path.write_bytes(b"\xff" * path.stat().st_size)
    path.unlink()
    np.testing.assert_array_equal(loaded.encode(LON, LAT), expected)


# --- released checkpoints


@pytest.mark.parametrize("convention", ["analytic", "closed-form"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_released_checkpoint_gives_its_location_encoder(tmp_path, geometry, convention):
    original = make_encoder(5, convention=convention, **geometry)
    path = lightning_checkpoint(tmp_path / "satclip-vit16-l10.ckpt", original)
    loaded = Encoder.load(str(path))
    assert loaded.hyperparameters == original.hyperparameters
    assert loaded.name == "satclip-vit16-l10"
    assert {t.dtype for t in loaded.network.state_dict().values()} == {torch.float64}
    np.testing.assert_allclose(
        loaded.encode(LON, LAT, precision="float64"), oracles.embed(original, LON, LAT), atol=1e-6
    )


def test_a_new_checkpoint_without_the_old_files_keys_loads(tmp_path, encoder):
    old_keys = ("eval_downstream", "air_temp_data_path", "election_data_path")
    loaded = Encoder.load(lightning_checkpoint(tmp_path / "new.ckpt", encoder, drop=old_keys))
    assert loaded.sha256 == encoder.sha256


def test_a_checkpoint_written_again_as_safetensors_is_the_same_encoder(tmp_path, encoder):
    loaded = Encoder.load(lightning_checkpoint(tmp_path / "x.ckpt", encoder))
    loaded.save(tmp_path / "x.safetensors")
    assert Encoder.load(tmp_path / "x.safetensors").sha256 == loaded.sha256


@pytest.mark.parametrize("key", Hyperparameters.__dataclass_fields__)
def test_a_missing_hyperparameter_is_named_and_never_assumed(tmp_path, encoder, key):
    with pytest.raises(EncoderError, match=key):
        Encoder.load(lightning_checkpoint(tmp_path / "x.ckpt", encoder, drop=[key]))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("le_type", "grid"),
        ("pe_type", "fcnet"),
        ("harmonics_calculation", "discretized"),
        ("capacity", 31),
        ("capacity", 0),
        ("capacity", "32"),
        ("capacity", True),
        ("num_hidden_layers", 3),
        ("num_hidden_layers", 1),
        ("legendre_polys", 7),
        ("legendre_polys", 10**12),
        ("embed_dim", 17),
        ("embed_dim", None),
    ],
)
def test_a_hyperparameter_that_does_not_fit_is_refused(tmp_path, encoder, key, value):
    with pytest.raises(EncoderError) as caught:
        Encoder.load(lightning_checkpoint(tmp_path / "x.ckpt", encoder, hyper={key: value}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "parts",
    [
        {"state_dict": {}},
        {"state_dict": None},
        {"state_dict": {"model.location.nnet.layers.0.weight": 3}},
        {"state_dict": {1: torch.zeros(2)}},
        {"hyper_parameters": None},
        {"hyper_parameters": [1]},
    ],
)
def test_a_checkpoint_of_other_contents_is_refused(tmp_path, encoder, parts):
    with pytest.raises(EncoderError) as caught:
        Encoder.load(lightning_checkpoint(tmp_path / "x.ckpt", encoder, **parts))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_only_a_state_dict_is_refused(tmp_path, encoder):
    torch.save(encoder.network.state_dict(), tmp_path / "weights.ckpt")
    with pytest.raises(EncoderError, match="hyper_parameters"):
        Encoder.load(tmp_path / "weights.ckpt")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    encoder = make_encoder(0)
    encoder.network.layers[1].weight[0, 0] = float("nan")
    encoder.save(tmp_path / "nan.safetensors")
    for path in (tmp_path / "nan.safetensors", lightning_checkpoint(tmp_path / "nan.ckpt", encoder)):
        with pytest.raises(EncoderError, match="finite"):
            Encoder.load(path)


class _Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


class _Exec:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (exec, (f"open({self.path!r}, 'w').close()",))


@pytest.mark.parametrize("bomb", [_Bomb, _Exec])
@pytest.mark.parametrize("where", ["hyper_parameters", "callbacks", "state_dict"])
def test_a_pickle_that_asks_to_run_code_is_refused_and_nothing_runs(tmp_path, encoder, bomb, where):
    mark = tmp_path / "it-ran"
    path = lightning_checkpoint(tmp_path / "evil.ckpt", encoder, **{where: {"payload": bomb(mark)}})
    with pytest.raises(EncoderError, match=r"refused.*No code in it was run") as caught:
        Encoder.load(path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()
    torch.load(path, weights_only=False)  # the bomb is real
    assert mark.exists()


def test_a_bare_pickle_called_ckpt_is_refused_and_nothing_runs(tmp_path):
    mark = tmp_path / "it-ran"
    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps(_Bomb(mark)))
    with pytest.raises(EncoderError):
        Encoder.load(tmp_path / "evil.ckpt")
    assert not mark.exists()


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, encoder, encoder_file, keep):
    for source in (lightning_checkpoint(tmp_path / "whole.ckpt", encoder), encoder_file):
        data = source.read_bytes()
        path = tmp_path / f"cut{source.suffix}"
        path.write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
        with pytest.raises(EncoderError, match=re.escape(str(path))) as caught:
            Encoder.load(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["notes.ckpt", "notes.safetensors", "notes.txt"])
def test_text_under_another_name_is_refused(tmp_path, name):
    (tmp_path / name).write_text("these are not weights\n" * 50)
    with pytest.raises(EncoderError, match=name):
        Encoder.load(tmp_path / name)


def test_a_zip_without_weights_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.ckpt", "w") as file:
        file.writestr("a.txt", "x")
    with pytest.raises(EncoderError, match="photos"):
        Encoder.load(tmp_path / "photos.ckpt")


def test_safetensors_of_another_program_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(3)}, tmp_path / "a.safetensors")
    save_file({"x": torch.zeros(3)}, tmp_path / "b.safetensors", metadata={"satclip_index.encoder": "[1]"})
    save_file({"x": torch.zeros(3)}, tmp_path / "c.safetensors", metadata={"satclip_index.encoder": "{oops"})
    for name in "abc":
        with pytest.raises(EncoderError, match=f"{name}.safetensors"):
            Encoder.load(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("name", ["", ".", "bluemarbel", "no/such/model/here", "a" * 300, "a" * 300 + "/b", "x\0y"])
def test_an_unknown_name_is_refused_in_one_line(name):
    with pytest.raises(EncoderError) as caught:
        Encoder.load(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.ckpt", "missing.safetensors", "folder.ckpt", "folder"])
def test_a_missing_file_or_a_folder_is_refused(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.ckpt").mkdir()
    with pytest.raises(EncoderError, match=f"No encoder file at .*{name}"):
        Encoder.load(tmp_path / name)


# --- what an atlas stores


class _Hub(http.server.BaseHTTPRequestHandler):
    """Enough of the Hugging Face Hub to download one repository."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, with_body):
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        files = self.server.files
        status, headers, body = 404, {"X-Error-Code": "RepoNotFound"}, b'{"error": "Repository not found"}'
        if re.fullmatch(r"/api/models/our/model/revision/(main|v1|[0-9a-f]{40})", path):
            info = {"id": "our/model", "modelId": "our/model", "sha": COMMIT, "private": False, "tags": []}
            body = json.dumps(info | {"siblings": [{"rfilename": name} for name in files]}).encode()
            status, headers = 200, {"Content-Type": "application/json"}
        elif path.startswith("/api/models/our/model/tree/"):
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in files.items()
            ]
            body, status, headers = json.dumps(entries).encode(), 200, {"Content-Type": "application/json"}
        elif path.startswith(f"/our/model/resolve/{COMMIT}/") and path.rpartition("/")[2] in files:
            body = files[path.rpartition("/")[2]]
            status = 200
            headers = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.files, server.asked = {}, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.env = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


# huggingface_hub reads the environment when it is imported, so each load is a process; torch is imported once for all.
LOADERS = """
import json, os, sys
from satclip_index.encoder import Encoder
from satclip_index.errors import EncoderError
assert "huggingface_hub" not in sys.modules
for line in sys.stdin:
    name, env = json.loads(line)
    child = os.fork()
    if not child:
        os.environ.update(env)
        try:
            encoder = Encoder.load(name)
        except EncoderError as error:
            answer = {"error": str(error)}
        except BaseException as error:
            answer = {"unexpected": repr(error)}
        else:
            answer = {"sha256": encoder.sha256, "origin": encoder.origin, "name": encoder.name}
        print(json.dumps(answer), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def load():
    """Load an encoder by its name in a process of its own, which has more in its environment."""
    command = [sys.executable, "-c", LOADERS]
    with started(command, stdin=PIPE, stdout=PIPE, text=True, env=child_environment()) as loaders:

        def load(name, env):
            loaders.stdin.write(json.dumps([name, env]) + "\n")
            loaders.stdin.flush()
            answer = json.loads(loaders.stdout.readline())
            assert "unexpected" not in answer, answer
            assert "\n" not in answer.get("error", "")
            return answer

        yield load
        loaders.stdin.close()
        assert loaders.wait(HANG_S) == 0


def test_a_hub_repository_is_fetched_once_and_pinned_to_its_commit(hub, load, tmp_path, encoder):
    checkpoint = lightning_checkpoint(tmp_path / "x.ckpt", encoder)
    hub.files = {"satclip-vit16-l40.ckpt": checkpoint.read_bytes(), "README.md": b"# A model", "big.bin": b"0" * 99}
    expected = {"sha256": encoder.sha256, "origin": {"repository": "our/model", "revision": COMMIT}}
    expected["name"] = "our/model"
    assert load("our/model", hub.env) == expected
    assert not any(path.endswith("big.bin") for path in hub.asked)
    asked = len(hub.asked)
    assert load("our/model", hub.env | {"HF_HUB_OFFLINE": "1"}) == expected
    assert load(f"our/model@{COMMIT}", hub.env | {"HF_HUB_OFFLINE": "1"}) == expected
    assert len(hub.asked) == asked


def test_offline_without_a_cache_is_one_clear_line(load, tmp_path):
    env = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    answer = load("microsoft/SatCLIP-ViT16-L40", env)
    assert "cannot be reached" in answer["error"]
    assert "bluemarble" in answer["error"]


def test_a_hub_that_does_not_answer_is_one_clear_line(load, tmp_path):
    env = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    assert "cannot be reached" in load("our/model", env)["error"]


def test_a_repository_that_is_not_there_is_one_clear_line(hub, load):
    assert "our/other" in load("our/other", hub.env)["error"]


@pytest.mark.parametrize("names", [["README.md"], ["a.ckpt", "b.ckpt"]])
def test_a_repository_without_exactly_one_weights_file_is_refused(hub, load, names):
    hub.files = dict.fromkeys(names, b"x")
    assert "expected one" in load("our/model", hub.env)["error"]
