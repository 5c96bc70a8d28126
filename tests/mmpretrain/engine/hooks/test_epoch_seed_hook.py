import random
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.registry import FUNCTIONS

from paco.mmpretrain import EpochSeedHook
from paco.mmpretrain.engine.hooks import epoch_seed_hook


def draws() -> tuple[float, ...]:
    return random.random(), np.random.rand(), torch.rand(()).item()


def draws_of(seed: int, epoch: int) -> tuple[float, ...]:
    EpochSeedHook().before_train_epoch(SimpleNamespace(seed=seed, epoch=epoch))
    return draws()


def test_an_epoch_s_numbers_depend_on_seed_and_epoch_and_rank(monkeypatch):
    first = draws_of(seed=3, epoch=5)
    draws()
    assert draws_of(seed=3, epoch=5) == first
    others = [draws_of(seed=3, epoch=6), draws_of(seed=4, epoch=5), draws_of(seed=5, epoch=3)]
    monkeypatch.setattr(epoch_seed_hook, "get_rank", lambda: 1)
    others.append(draws_of(seed=3, epoch=5))
    assert len({first, *others}) == 5


class Draws(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> tuple[float, ...]:
        return draws()


def test_workers_repeat_an_epoch_and_differ_between_epochs():
    loader = torch.utils.data.DataLoader(
        Draws(),
        num_workers=2,
        collate_fn=lambda samples: samples,
        worker_init_fn=FUNCTIONS.get("seed_worker"),
    )

    def epoch(number: int) -> list[tuple[float, ...]]:
        EpochSeedHook().before_train_epoch(SimpleNamespace(seed=1, epoch=number))
        return [sample for batch in loader for sample in batch]

    first, second = epoch(0), epoch(1)
    assert epoch(0) == first
    for kind in range(3):
        assert len({sample[kind] for sample in first + second}) == 8
