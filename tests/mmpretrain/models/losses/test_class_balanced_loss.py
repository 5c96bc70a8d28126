import pytest
import torch
from mmpretrain.registry import MODELS
from torch.nn import functional as F

COUNTS = torch.tensor([500, 100, 20, 1])


def build_loss(beta: float = 0.999):
    loss = MODELS.build(dict(type="ClassBalancedLoss", beta=beta))
    loss.set_class_counts(COUNTS)
    return loss


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999])
def test_it_is_the_weighted_sum(beta):
    logits = torch.randn(9, 4, requires_grad=True)
    labels = torch.randint(4, (9,))
    weights = [(1 - beta) / (1 - beta**n) for n in COUNTS.tolist()]
    scale = 4 / sum(weights)
    expected = sum(
        scale * weights[y] * F.cross_entropy(row[None], torch.tensor([y]))
        for row, y in zip(logits, labels.tolist(), strict=True)
    )
    loss = build_loss(beta)
    torch.testing.assert_close(loss(logits, labels), expected / 9)
    torch.testing.assert_close(loss(logits, labels, avg_factor=4), expected / 4)
    one_hot = F.one_hot(labels, 4).float()
    torch.testing.assert_close(loss(logits, one_hot), expected / 9)


def test_a_head_hands_it_the_class_counts():
    config = dict(type="ClassCentersHead", num_classes=4, in_channels=6, prior=False)
    head = MODELS.build(config | dict(loss=dict(type="ClassBalancedLoss", beta=0.999)))
    feats, labels = (torch.randn(5, 6),), torch.randint(4, (5,))
    with pytest.raises(RuntimeError, match=r"no class counts.*ClassCountsHook"):
        head.loss(feats, labels)
    names = set(head.state_dict())
    head.set_class_counts(COUNTS)
    expected = build_loss()(head.centers(*feats), labels)
    torch.testing.assert_close(head.loss(feats, labels)["loss"], expected)
    assert set(head.state_dict()) == names


@pytest.mark.parametrize("beta", [-0.1, 1.0, float("nan")])
def test_a_bad_beta_is_an_error(beta):
    with pytest.raises(ValueError, match=rf"beta must lie in \[0, 1\), got {beta}"):
        MODELS.build(dict(type="ClassBalancedLoss", beta=beta))


def test_a_class_without_an_image_is_an_error():
    with pytest.raises(ValueError, match=r"class_counts .*at least 1, got a minimum of 0"):
        build_loss().set_class_counts(torch.tensor([3, 0, 1, 1]))
