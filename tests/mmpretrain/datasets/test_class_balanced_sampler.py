from typing import ClassVar

import pytest
import torch
from mmengine.dataset import BaseDataset, RepeatDataset
from mmengine.registry import DATA_SAMPLERS

from paco.mmpretrain import ClassBalancedSampler

COUNTS = (500, 0, 40, 3)


class Labelled(BaseDataset):
    METAINFO: ClassVar = dict(classes=tuple("abcd"))

    def load_data_list(self) -> list[dict]:
        labels = torch.arange(4).repeat_interleave(torch.tensor(COUNTS))
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        return [dict(gt_label=label) for label in labels[order].tolist()]


def labels_of(dataset, indices) -> torch.Tensor:
    return torch.tensor([dataset.get_data_info(i)["gt_label"] for i in indices])


def sampler_of(dataset, seed=0) -> ClassBalancedSampler:
    return DATA_SAMPLERS.build(dict(type="ClassBalancedSampler", dataset=dataset, seed=seed))


def test_every_class_is_drawn_as_often_and_every_image_of_it():
    dataset = RepeatDataset(Labelled(), times=2)
    sampler = sampler_of(dataset)
    assert len(sampler) == len(dataset) == 2 * sum(COUNTS)
    drawn = torch.zeros(len(dataset))
    epochs = 60
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        indices = list(sampler)
        assert len(indices) == len(sampler)
        drawn += torch.tensor(indices).bincount(minlength=len(dataset))
    labels = labels_of(dataset, range(len(dataset)))
    total = epochs * len(sampler)
    for c, count in enumerate(COUNTS):
        share = drawn[labels == c].sum() / total
        assert share == pytest.approx(1 / 3 if count else 0, abs=0.01)
    few = drawn[labels == 3]
    assert few.std() < 0.1 * few.mean()
    assert (drawn[labels == 0] > 0).float().mean() > 0.99


def test_a_seed_and_an_epoch_repeat_their_draws(monkeypatch):
    dataset = Labelled()
    sampler, twin = sampler_of(dataset, 5), sampler_of(dataset, 5)
    first = list(sampler)
    assert list(twin) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(sampler_of(dataset, 6)) != first
    # Two processes share the draws out among themselves.
    shares = []
    for rank in range(2):
        monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda rank=rank: (rank, 2))
        share = sampler_of(dataset, 5)
        assert len(share) == len(list(share)) == -(-len(dataset) // 2)
        shares.append(list(share))
    draws = share.draw(2 * len(share), torch.Generator().manual_seed(5))
    assert torch.tensor(shares).T.flatten().equal(draws)
