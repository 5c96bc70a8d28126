import math

import pytest
import torch
from helpers.small_models import NUM_CLASSES, build, views_of
from mmengine.logging import MessageHub
from mmpretrain.registry import MODELS
from torch.nn import functional as F

from paco.mmpretrain import EncodedViews

PROJECTOR = dict(type="Projector", num_layers=2, norm=True, hidden_channels=9)
COUNTS = (50, 20, 9, 4, 1)


def model_config(**head) -> dict:
    return dict(
        type="PaCoClassifier",
        backbone=dict(type="SmallImageResNet", depth=8, in_channels=1),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(
            dict(
                type="ConCutMixHead",
                num_classes=NUM_CLASSES,
                in_channels=64,
                feat_channels=6,
                projector=PROJECTOR,
                prototype_projector=PROJECTOR,
                contrast_loss=dict(type="BCLLoss", temperature=0.2),
                classification_weight=2.0,
                contrast_weight=0.6,
                rectification=0.8,
                rectify_after=3,
                num_neighbors=2,
            ),
            **head,
        ),
        momentum=None,
    )


@pytest.fixture
def epoch(monkeypatch):
    """Sets the epoch of the run."""
    info = {}
    monkeypatch.setattr(
        MessageHub.get_current_instance(), "get_info", lambda name, default: info.get(name, default)
    )
    return lambda number: info.update(epoch=number)


def draw_views(batch: int) -> EncodedViews:
    shape = (2, batch, 64), (2, batch, 6)
    pooled, projections = (torch.randn(s, requires_grad=True) for s in shape)
    return EncodedViews(pooled, projections, None, torch.randn(batch, 64), torch.randn(batch, 6))


def rectified(target, projection, prototypes, neighbors: int) -> list[float]:
    """The definition for one image, number by number."""
    distance = [math.dist(projection, c) for c in prototypes]
    nearest = sorted(range(NUM_CLASSES), key=lambda k: distance[k])[:neighbors]
    total = sum(1 / distance[k] for k in nearest)
    images = sum(t * n for t, n in zip(target, COUNTS, strict=True))
    omega = 0.8 * math.log(images) / sum(map(math.log, COUNTS))
    return [
        (1 - omega) * t + (omega / distance[k] / total if k in nearest else 0)
        for k, t in enumerate(target)
    ]


@pytest.mark.parametrize("neighbors", [1, 2, 9])
def test_mixed_targets_are_rectified_after_some_epochs(epoch, neighbors):
    head = build(model_config(num_neighbors=neighbors), COUNTS).head
    _, samples = views_of(4)
    views = draw_views(4)
    targets = torch.rand(4, NUM_CLASSES)
    targets = targets / targets.sum(1, keepdim=True)
    for sample, target in zip(samples, targets, strict=True):
        sample.set_gt_score(target)
    prototypes = head.prototype_projector(head.centers.weight)
    for number in (0, 3):
        epoch(number)
        assert torch.equal(head.target_of(samples, views, prototypes), targets)
    epoch(4)
    actual = head.target_of(samples, views, prototypes)
    assert not actual.requires_grad
    expected = [
        rectified(t, f, prototypes.tolist(), min(neighbors, NUM_CLASSES))
        for t, f in zip(targets.tolist(), views.classification_projections.tolist(), strict=True)
    ]
    torch.testing.assert_close(actual, torch.tensor(expected))
    torch.testing.assert_close(actual.sum(1), torch.ones(4))

    losses = head.loss(views, samples)
    logits = head.centers(views.classification)
    torch.testing.assert_close(losses["cross_entropy"], 2 * F.cross_entropy(logits, actual))
    losses["loss"].backward()
    assert all(p.grad.isfinite().all() for p in head.prototype_projector.parameters())


def test_images_that_are_not_mixed_keep_their_label(epoch):
    epoch(9)
    head = build(model_config(), COUNTS).head
    _, samples = views_of(4)
    views = draw_views(4)
    labels = torch.cat([sample.gt_label for sample in samples])
    assert torch.equal(head.target_of(samples, views, torch.randn(NUM_CLASSES, 6)), labels)
    assert torch.equal(head.target_of(labels, views, torch.randn(NUM_CLASSES, 6)), labels)


def test_a_projection_that_is_a_prototype_is_this_one_s(epoch):
    epoch(9)
    head = build(model_config(), COUNTS).head
    _, samples = views_of(1)
    views = draw_views(1)
    samples[0].set_gt_score(torch.full((NUM_CLASSES,), 1 / NUM_CLASSES))
    prototypes = torch.randn(NUM_CLASSES, 6)
    prototypes[3] = views.classification_projections[0]
    target = head.target_of(samples, views, prototypes)[0]
    assert target.argmax() == 3 and target.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "value"), [("rectification", 1.5), ("rectification", -0.1), ("num_neighbors", 0)]
)
def test_a_bad_argument_is_an_error(name, value):
    with pytest.raises(ValueError, match=rf"ConCutMixHead: {name} must .* got {value}"):
        MODELS.build(model_config(**{name: value}))


@pytest.mark.parametrize("counts", [(1, 1, 1, 1, 1), (5, 0, 1, 1, 1)])
def test_counts_without_a_logarithm_are_an_error(counts):
    with pytest.raises(ValueError, match="ConCutMixHead: class_counts must be at least 1"):
        build(model_config(), counts)
