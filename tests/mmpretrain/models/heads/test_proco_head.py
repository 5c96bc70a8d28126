import copy

import pytest
import torch
from helpers.small_models import NUM_CLASSES, build, labels_of, model_config, views_of
from mmpretrain.registry import MODELS
from torch.nn import functional as F

import paco
from paco.mmpretrain import EncodedViews
from paco.nn import ProCoLoss

COUNTS = torch.tensor([50, 20, 9, 4, 1])


def proco_config(**head) -> dict:
    config = model_config(momentum=None)
    config["head"] = dict(
        type="ProCoHead",
        num_classes=NUM_CLASSES,
        in_channels=64,
        feat_channels=6,
        projector=dict(type="Projector", num_layers=2, norm=True, hidden_channels=10),
        contrast_loss=dict(type="ProCoLoss", temperature=0.2),
        **head,
    )
    return config


def encoded(head, batch, views=2):
    x = torch.randn(views, batch, 64)
    projections = head.projector(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return EncodedViews(x, projections, None, torch.randn(batch, 64), torch.randn(batch, 6))


@pytest.mark.parametrize("num_views", [1, 2, 3])
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_loss_is_balanced_softmax_plus_contrast(num_views, weight):
    head = build(proco_config(contrast_weight=weight)).head
    contrast = copy.deepcopy(head.contrast_loss)
    for _ in range(2):
        _, samples = views_of(7)
        views = encoded(head, 7, num_views)
        losses = head.loss(views, samples)
        logits = F.linear(views.classification, head.centers.weight, head.centers.bias)
        prior = paco.log_prior(COUNTS)
        cross_entropy = F.cross_entropy(logits + prior, labels_of(samples))
        features = F.normalize(views.projections, dim=2).flatten(0, 1)
        of_views = weight * contrast(features, labels_of(samples))
        torch.testing.assert_close(contrast.log_prior, prior)
        torch.testing.assert_close(losses["cross_entropy"], cross_entropy)
        torch.testing.assert_close(losses["contrast"], of_views)
        torch.testing.assert_close(losses["loss"], cross_entropy + of_views)
        correct = (logits + prior).argmax(1) == labels_of(samples)
        torch.testing.assert_close(losses["accuracy_top-1"], 100 * correct.float().mean())


def test_a_classifier_s_views_reach_the_head():
    model = build(proco_config())
    views, samples = views_of(5)
    inputs = dict(contrast=views, classification=torch.randn(5, 1, 8, 8))
    losses = model.loss(inputs, samples)
    losses["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.head.contrast_loss.older_count.sum() == 10


def test_a_loop_s_tensor_of_labels_is_as_good_as_samples():
    head = build(proco_config()).head
    _, samples = views_of(4)
    views = encoded(head, 4)
    results = [copy.deepcopy(head).loss(views, of)["loss"] for of in (samples, labels_of(samples))]
    assert torch.equal(*results)


def test_a_mixed_classification_view_has_its_targets_and_the_contrast_its_labels():
    head = build(proco_config(loss=dict(type="CrossEntropyLoss", use_soft=True))).head
    contrast = copy.deepcopy(head.contrast_loss)
    _, samples = views_of(4)
    targets = torch.rand(4, NUM_CLASSES).softmax(dim=1)
    for sample, target in zip(samples, targets, strict=True):
        sample.set_gt_score(target)
    views = encoded(head, 4)
    losses = head.loss(views, samples)
    logits = head.centers(views.classification)
    torch.testing.assert_close(losses["cross_entropy"], F.cross_entropy(logits, targets))
    features = F.normalize(views.projections, dim=2).flatten(0, 1)
    torch.testing.assert_close(losses["contrast"], contrast(features, labels_of(samples)))


def test_without_a_prior_neither_part_has_one():
    head = build(proco_config(prior=False)).head
    assert not head.centers.log_prior.any()
    assert not head.contrast_loss.log_prior.any()


def test_half_precision_features_are_normalised_in_float32():
    head = build(proco_config()).head
    _, samples = views_of(4)
    views = encoded(head, 4)
    low = views._replace(projections=views.projections.bfloat16())
    head.loss(low, samples)
    lengths = head.contrast_loss.older_mean[head.contrast_loss.older_count == 1].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=1e-6)


def test_what_it_cannot_train_on_is_a_sentence():
    head = build(proco_config()).head
    _, samples = views_of(4)
    views = encoded(head, 4)
    with pytest.raises(ValueError, match="no classification view"):
        head.loss(views._replace(classification=None), samples)
    with pytest.raises(ValueError, match="set momentum=None"):
        head.loss(views._replace(keys=torch.randn(1, 4, 6)), samples)
    untold = MODELS.build(proco_config()).head
    with pytest.raises(RuntimeError, match="no class counts"):
        untold.loss(views, samples)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (dict(contrast_weight=-1.0), ValueError, "contrast_weight must be finite and >= 0, got -1"),
        (dict(contrast_weight=float("nan")), ValueError, "contrast_weight"),
    ],
)
def test_bad_settings(settings, error, message):
    with pytest.raises(error, match=message):
        MODELS.build(proco_config(**settings))


def test_another_loss_is_refused():
    config = proco_config()
    config["head"]["contrast_loss"] = dict(type="CrossEntropyLoss")
    with pytest.raises(TypeError, match="contrast_loss must be a ProCoLoss, got a CrossEntropy"):
        MODELS.build(config)


def test_a_checkpoint_holds_the_estimates():
    head = build(proco_config()).head
    _, samples = views_of(6)
    head.loss(encoded(head, 6), samples)
    other = build(proco_config()).head
    other.load_state_dict(head.state_dict())
    assert isinstance(other.contrast_loss, ProCoLoss)
    torch.testing.assert_close(other.state_dict(), head.state_dict(), rtol=0, atol=0)
