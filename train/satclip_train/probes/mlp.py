"""Small networks as probes: one for cross-validation, and that of the released notebook."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

FloatMatrix = NDArray[np.float64]
IntVector = NDArray[np.int64]
WIDTH = 64
EPOCHS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 60, 128, 2e-3, 1e-2
LEAST_CHECK = 20
NOTEBOOK_EPOCHS, NOTEBOOK_LEARNING_RATE = 3000, 1e-3


class MlpFolds:
    """A network of two hidden layers of 64, trained on all folds but one at a time.

    Parameters
    ----------
    x : (n, d) float64
        Features; standardised over all rows, which asks for no target.
    y : (n, k) float64
        Numbers, for squared error, or an indicator column for each class, for cross-entropy.
    fold : (n,) int64
        The fold of each row, in [0, folds); at least three.
    classify : bool
        Which of the two.
    seed : int
        Of the weights and the order of the rows.

    Notes
    -----
    AdamW, 60 epochs in batches of 128 with the rate falling to nothing. The weights kept are those of the epoch with
    the least loss on the next fold after the held-out one that has 20 rows or more, which is not trained on.
    """

    name = "MLP"

    def __init__(self, x: FloatMatrix, y: FloatMatrix, fold: IntVector, *, classify: bool, seed: int) -> None:
        deviation = x.std(axis=0)
        self._x = _tensor((x - x.mean(axis=0)) / np.where(deviation > 1e-12, deviation, np.inf))
        self._y, self._fold, self._classify, self._seed = y, fold, classify, seed

    def predict(self, held: int, rows: IntVector, extra: IntVector | None = None) -> FloatMatrix:
        """Return predictions for rows, as :meth:`RidgeFolds.predict` does: (m, k) float64."""
        check = self._check_fold(held)
        train = np.flatnonzero((self._fold != held) & (self._fold != check))
        if extra is not None:
            train = np.concatenate([train, extra])
        mean = 0.0 if self._classify else self._y[train].mean(axis=0)
        deviation = 1.0 if self._classify else self._y[train].std(axis=0) + 1e-12
        y = _tensor((self._y - mean) / deviation)
        with _seeded(self._seed):
            network = self._fit(y, train, np.flatnonzero(self._fold == check))
            with torch.inference_mode():
                predicted: FloatMatrix = network(self._x[rows]).double().numpy()
        return predicted * deviation + mean

    def _check_fold(self, held: int) -> int:
        """Return the next fold that is large enough to judge by, or else the largest other one."""
        sizes = np.bincount(self._fold)
        others = [(held + step) % len(sizes) for step in range(1, len(sizes))]
        return next(
            (number for number in others if sizes[number] >= LEAST_CHECK), max(others, key=lambda at: sizes[at])
        )

    def _loss(self, network: nn.Module, y: Tensor, rows: IntVector | Tensor) -> Tensor:
        out = network(self._x[rows])
        return nn.functional.cross_entropy(out, y[rows]) if self._classify else nn.functional.mse_loss(out, y[rows])

    def _fit(self, y: Tensor, train: IntVector, check: IntVector) -> nn.Module:
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
                loss = float(self._loss(network, y, check))
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
        Features, as they come: the notebook does not standardise them.
    y : (n,) float64
        Numbers with a positive maximum, by which they are divided.
    seed : int
        Of the 50/50 split and the weights.
    epochs : int
        Full-batch steps.

    Notes
    -----
    microsoft/satclip, notebooks/B01_Example_Air_Temperature_Prediction.ipynb: an MLP with three hidden layers of 64,
    Adam at 1e-3 for 3,000 full-batch epochs, mean squared error on the half not trained on. In the copies of it that
    other repositories carry, the second and third layer are listed by multiplying a list, so that they are one layer
    used twice; so are they here. The notebook's own listing of the layers was not at hand.
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
    # In float32, as the notebook has it; scikit-learn's metrics, in float64, differ from the eighth digit on.
    return squared, 1 - squared / float(scaled[test].var(correction=0))


def _tensor(values: FloatMatrix) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from a seed, and leave the caller's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
