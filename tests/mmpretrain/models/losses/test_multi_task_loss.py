import pytest
import torch
from helpers.digits_runs import CONFIGS
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch.nn import functional as F


def supcon(features, labels, num_anchors: int, temperature: float) -> torch.Tensor:
    """Khosla et al., eq. 2, over anchors of which some have no positive."""
    total = features.new_zeros(())
    for i in range(num_anchors):
        others = [j for j in range(len(features)) if j != i]
        log_p = F.log_softmax(features[others] @ features[i] / temperature, dim=0)
        positive = labels[others] == labels[i]
        if positive.any():
            total = total - log_p[positive].mean()
    return total / num_anchors


@pytest.mark.parametrize("views", ["PaCo", "GPaCo"])
def test_it_is_the_sum_of_its_two_tasks(rng, views):
    batch, dim, num_classes, valid = rng.randint(2, 6), rng.randint(2, 8), 4, rng.randint(0, 9)
    num_anchors = batch if views == "PaCo" else 2 * batch
    alpha, temperature, smoothing = rng.uniform(0.1, 2), rng.uniform(0.1, 1), rng.random()
    features = F.normalize(torch.randn(2 * batch, dim, dtype=torch.float64), dim=1)
    labels = torch.randint(num_classes, (batch,)).repeat(2)
    logits = torch.randn(num_anchors, num_classes, dtype=torch.float64)
    queue = F.normalize(torch.randn(9, dim, dtype=torch.float64), dim=1)
    queue_labels = torch.randint(num_classes, (9,))
    queue_labels[valid:] = -1
    for value in (features, logits):
        value.requires_grad_()

    settings = dict(alpha=alpha, temperature=temperature, label_smoothing=smoothing)
    loss = MODELS.build(dict(type="MultiTaskLoss", **settings))
    result = loss(
        features,
        labels,
        logits,
        queue,
        queue_labels,
        num_valid=torch.tensor(valid),
        num_anchors=num_anchors,
    )
    rows = torch.cat([features, queue[:valid]])
    row_labels = torch.cat([labels, queue_labels[:valid]])
    log_p = F.log_softmax(logits, dim=1)
    of_label = log_p.gather(1, labels[:num_anchors, None]).squeeze(1)
    expected = -((1 - smoothing) * of_label + smoothing * log_p.mean(dim=1)).mean()
    expected = expected + alpha * supcon(rows, row_labels, num_anchors, temperature)
    torch.testing.assert_close(result, expected)
    gradients = torch.autograd.grad(result, (features, logits))
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, (features, logits)))


def test_soft_targets_are_those_of_cross_entropy():
    features = F.normalize(torch.randn(8, 5), dim=1)
    labels, logits = torch.randint(3, (8,)), torch.randn(4, 3)
    targets = torch.rand(4, 3).softmax(1)
    loss = MODELS.build(dict(type="MultiTaskLoss", alpha=0.5, temperature=0.2))
    expected = F.cross_entropy(logits, targets) + 0.5 * supcon(features, labels, 4, 0.2)
    torch.testing.assert_close(loss(features, labels, logits, soft_targets=targets), expected)


@pytest.mark.parametrize(("name", "value"), [("alpha", -1), ("temperature", 0)])
def test_a_bad_hyper_parameter_is_an_error(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be finite and >=? 0, got {value}"):
        MODELS.build({"type": "MultiTaskLoss", "alpha": 1, "temperature": 0.1, name: value})


def test_label_smoothing_beyond_1_is_an_error():
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\], got 1\.5"):
        MODELS.build(dict(type="MultiTaskLoss", alpha=1, temperature=0.1, label_smoothing=1.5))


@pytest.mark.parametrize("method", ["multi_task", "supcon"])
def test_its_config_is_that_of_paco_with_another_loss(method):
    config = Config.fromfile(CONFIGS / "cifar100_lt" / f"{method}_if100.py")
    paco = Config.fromfile(CONFIGS / "cifar100_lt" / "paco_if100.py")
    assert config.model.head.pop("prior") is False
    config.model.head.pop("detach_centers", None)
    assert config.model.head.loss.type == "MultiTaskLoss"
    config.model.head.loss = paco.model.head.loss
    assert config.to_dict() == paco.to_dict()
