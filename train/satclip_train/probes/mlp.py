"""Small networks as probes: one for cross-validation, and the one of the released notebook."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .ridge import standardize

FloatMatrix = NDArray[np.float64]
IntVector = NDArray[np.int64]
WIDTH = 64
EPOCHS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 60, 128, 2e-3, 1e-2
MIN_VALIDATION_ROWS = 20
NOTEBOOK_EPOCHS, NOTEBOOK_LEARNING_RATE = 3000, 1e-3


class MlpFolds:
    """Networks with two hidden layers of 64, one for each fold, trained on the other folds.

    Parameters
    ----------
    x : (n, d) float64
        Features; standardized over all rows, which uses no target.
    y : (n, k) float64
        Numbers, or one indicator column per class.
    fold : (n,) int64
        The fold of each row, in [0, folds); at least three.
    classify : bool
        Whether ``y`` contains indicators: the loss is then the cross-entropy, and the squared error otherwise.
    seed : int
        Seed of the weights and of the order of the rows.

    Notes
    -----
    AdamW, 60 epochs in batches of 128, with a learning rate that decays to 0. A further fold is left out for
    validation: the first one after the held-out fold with 20 rows or more. The weights of the epoch with the lowest
    validation loss are used.
    """

    name = "MLP"

    def __init__(self, x: FloatMatrix, y: FloatMatrix, fold: IntVector, *, classify: bool, seed: int) -> None:
        self._x = _tensor(standardize(x))
        self._y, self._fold, self._classify, self._seed = y, fold, classify, seed

    def predict(self, held_out: int, rows: IntVector, extra: IntVector | None = None) -> FloatMatrix:
        """Return predictions for rows, (m, k) float64; for the parameters see `RidgeFolds.predict`."""
        validation = self._validation_fold(held_out)
        train = np.flatnonzero((self._fold != held_out) & (self._fold != validation))
        if extra is not None:
            train = np.concatenate([train, extra])
        mean = 0.0 if self._classify else self._y[train].mean(axis=0)
        deviation = 1.0 if self._classify else self._y[train].std(axis=0) + 1e-12
        y = _tensor((self._y - mean) / deviation)
        with _seeded(self._seed):
            network = self._fit(y, train, np.flatnonzero(self._fold == validation))
            with torch.inference_mode():
                predicted: FloatMatrix = network(self._x[rows]).double().numpy()
        return predicted * deviation + mean

    def _validation_fold(self, held_out: int) -> int:
        """Return the next fold with enough rows for validation, or else the largest other fold."""
        sizes = np.bincount(self._fold)
        others = [(held_out + step) % len(sizes) for step in range(1, len(sizes))]
        return next(
            (number for number in others if sizes[number] >= MIN_VALIDATION_ROWS),
            max(others, key=lambda number: sizes[number]),
        )

    def _loss(self, network: nn.Module, y: Tensor, rows: IntVector | Tensor) -> Tensor:
        out = network(self._x[rows])
        return nn.functional.cross_entropy(out, y[rows]) if self._classify else nn.functional.mse_loss(out, y[rows])

    def _fit(self, y: Tensor, train: IntVector, validation: IntVector) -> nn.Module:
        network = nn.Sequential(
            *(nn.Linear(self._x.shape[1], WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()),
            nn.Linear(WIDTH, y.shape[1]),
        )
        optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        least, best = float("inf"), network.state_dict()
        rows = torch.from_numpy(train)
        for _ in range(EPOCHS):
            for batch in torch.split(rows[torch.randperm(len(rows))], BATCH_SIZE):
                optimizer.zero_grad()
                self._loss(network, y, batch).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            schedule.step()
            with torch.inference_mode():
                loss = float(self._loss(network, y, validation))
            if loss < least:
                least, best = loss, {key: value.clone() for key, value in network.state_dict().items()}
        network.load_state_dict(best)
        return network


def notebook_scores(
    x: FloatMatrix, y: NDArray[np.float64], seed: int, *, epochs: int = NOTEBOOK_EPOCHS
) -> tuple[float, float]:
    """Return test MSE and R2 by the protocol of the released notebook.

    Parameters
    ----------
    x : (n, d) float64
        Features; as in the notebook, they are not standardized.
    y : (n,) float64
        Numbers with a positive maximum, by which they are divided.
    seed : int
        Seed of the 50/50 split and of the weights.
    epochs : int
        Number of full-batch steps.

    Notes
    -----
    microsoft/satclip, notebooks/B01_Example_Air_Temperature_Prediction.ipynb: an MLP with three hidden layers of 64,
    Adam at 1e-3 for 3,000 full-batch epochs, and the mean squared error on the test half. Copies of the notebook in
    other repositories build the second and third layer by multiplying a list, so both are the same layer, used twice.
    This function does the same. The original notebook was not available for comparison.
    """
    order = np.random.default_rng(seed).permutation(len(x))
    train, test = torch.from_numpy(order[: len(x) // 2]), torch.from_numpy(order[len(x) // 2 :])
    inputs, scaled = _tensor(x), _tensor(y / y.max())[:, None]
    with _seeded(seed):
        repeated = [nn.Linear(WIDTH, WIDTH), nn.ReLU()] * 2
        network = nn.Sequential(nn.Linear(x.shape[1], WIDTH), nn.ReLU(), *repeated, nn.Linear(WIDTH, 1))
        optimizer = torch.optim.Adam(network.parameters(), lr=NOTEBOOK_LEARNING_RATE)
        for _ in range(epochs):
            optimizer.zero_grad()
            nn.functional.mse_loss(network(inputs[train]), scaled[train]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.inference_mode():
            squared = float(nn.functional.mse_loss(network(inputs[test]), scaled[test]))
    # In float32, as in the notebook; scikit-learn's metrics, in float64, differ from the eighth digit on.
    return squared, 1 - squared / float(scaled[test].var(correction=0))


def _tensor(values: FloatMatrix) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Set the seed of torch within the block, and restore the caller's generator afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
