import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SubsetRandomSampler

import satclip_index as si
from satclip_index.errors import AtlasNotFoundError, ResolutionError

from ..oracles import stored

# Workers are forked here; Python 3.12 warns of that wherever threads run.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
NAMES = ["embedding", "lon", "lat", "cell", "land"]


@pytest.fixture(scope="module")
def data(atlas):
    return atlas.dataset(2)


@pytest.fixture(scope="module")
def columns(atlas):
    return stored(atlas, 2)


def check(batch, columns, rows):
    """Check that a batch holds some rows of what is stored, in their order."""
    assert list(batch) == NAMES
    assert (batch["embedding"].dtype, batch["cell"].dtype) == (torch.float32, torch.int64)
    assert (batch["lon"].dtype, batch["lat"].dtype, batch["land"].dtype) == (torch.float64, torch.float64, torch.bool)
    for name in NAMES:
        expected = columns[name][rows]
        found = batch[name].numpy()
        np.testing.assert_array_equal(found.view(np.uint64) if name == "cell" else found, expected)


def rows_of(batch, columns):
    return np.searchsorted(columns["cell"], batch["cell"].numpy().view(np.uint64))


def test_an_item_is_a_stored_row(data, columns):
    assert len(data) == 5882
    np.testing.assert_array_equal(data.cells, columns["cell"])
    for i in (0, 17, 5881, -1, np.int64(3), torch.tensor(4)):
        check({name: value[None] for name, value in data[i].items()}, columns, np.array([int(i)]))
        assert data[i]["embedding"].shape == (16,)
    with pytest.raises(IndexError):
        _ = data[5882]


def test_several_numbers_are_a_batch(data, columns):
    for several in ([5, 3, 3, -1], np.array([9, 2]), torch.tensor([1, 0]), range(4), []):
        check(data[several], columns, np.array(list(several), dtype=np.int64))
    check(data[10:30:7], columns, np.arange(10, 30, 7))


@pytest.mark.parametrize("land", [True, False])
def test_land_and_sea_are_apart(atlas, columns, land):
    data = atlas.dataset(2, land=land)
    kept = np.flatnonzero(columns["land"].astype(bool) == land)
    assert len(data) == kept.size
    np.testing.assert_array_equal(data.cells, columns["cell"][kept])
    check(data[[4, 0]], columns, kept[[4, 0]])


def test_the_finest_is_the_default_and_a_resolution_must_be_held(atlas):
    assert len(atlas.dataset()) == 5882
    assert len(atlas.dataset(1)) == 842
    with pytest.raises(ResolutionError, match="holds resolution 1, 2, not 5"):
        atlas.dataset(5)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shuffled_loader_gives_every_row_once(data, columns, workers):
    torch.manual_seed(0)
    loader = DataLoader(data, batch_size=1000, shuffle=True, num_workers=workers)
    seen = []
    for batch in loader:
        rows = rows_of(batch, columns)
        check(batch, columns, rows)
        seen.append(rows)
    seen = np.concatenate(seen)
    assert not np.array_equal(seen, np.arange(seen.size))
    np.testing.assert_array_equal(np.sort(seen), np.arange(5882))


@pytest.mark.parametrize("workers", [0, 2])
def test_whole_batches_need_no_collating(data, columns, workers):
    batches = BatchSampler(RandomSampler(data), 1000, drop_last=True)
    found = list(DataLoader(data, sampler=batches, batch_size=None, num_workers=workers))
    assert [batch["cell"].numel() for batch in found] == [1000] * 5
    for batch in found:
        check(batch, columns, rows_of(batch, columns))


def test_a_sampler_chooses(data, columns):
    loader = DataLoader(data, batch_size=2, sampler=SubsetRandomSampler([7, 70, 700]))
    assert sorted(np.concatenate([rows_of(batch, columns) for batch in loader])) == [7, 70, 700]


def test_a_worker_that_shares_nothing_opens_the_atlas_itself(atlas, columns, monkeypatch, tmp_path):
    data = si.open_atlas(atlas.path).dataset(2, land=True)
    packed = pickle.dumps(data)
    assert len(packed) < 1000
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(pickle.loads(packed).cells, data.cells)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        check(pool.apply(data.__getitem__, ([2, 1],)), columns, np.flatnonzero(columns["land"])[[2, 1]])


def test_an_atlas_that_is_gone_is_said(atlas, copy_of):
    import shutil

    root = copy_of(atlas)
    packed = pickle.dumps(si.open_atlas(root).dataset(1))
    shutil.rmtree(root)
    with pytest.raises(AtlasNotFoundError):
        pickle.loads(packed)


def test_a_network_learns_from_it(data):
    torch.manual_seed(0)
    network = torch.nn.Linear(16, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        for batch in DataLoader(data, batch_size=512, shuffle=True):
            target = torch.sin(torch.deg2rad(batch["lat"])).float()
            loss = torch.nn.functional.mse_loss(network(batch["embedding"]).squeeze(1), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
