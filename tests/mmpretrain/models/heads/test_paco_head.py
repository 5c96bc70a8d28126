import copy
from collections.abc import Iterator

import pytest
import torch
from helpers.small_models import NUM_CLASSES, build, labels_of, model_config, views_of
from torch.nn import functional as F

from paco import reference
from paco.mmpretrain import EncodedViews


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    # Two ways to compute a gradient through BatchNorm of few rows differ by its rounding.
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def unit_rows(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


def encoded(head, x, keys=None, own=None) -> EncodedViews:
    """Views of pooled features [V, B, F] as the classifier hands them over."""
    projections = head.projector(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return EncodedViews(x, projections, keys, own, None if own is None else head.projector(own))


def expected_loss(head, x, samples, keys, queue, queue_labels, own=None) -> torch.Tensor:
    """The definition, for B anchors and their keys or for V·B anchors, over the queue's valid rows.

    With a classification view, ``own``, each anchor has the logits of its image's.
    """
    features = F.normalize(head.projector(x.flatten(0, 1)), dim=1)
    if keys is not None:
        features = torch.cat([features, keys.flatten(0, 1)])
    pooled = x.flatten(0, 1) if own is None else torch.cat([own] * len(x))
    logits = F.linear(pooled, head.centers.weight, head.centers.bias) + head.centers.log_prior
    return reference.paco_loss(
        features,
        labels_of(samples).repeat(len(features) // x.size(1)),
        logits,
        queue,
        queue_labels,
        num_anchors=len(pooled),
        alpha=0.3,
        temperature=0.2,
    )


@pytest.mark.parametrize("momentum", [0.9, None], ids=["PaCo", "GPaCo"])
@pytest.mark.parametrize("num_views", [2, 3])
@pytest.mark.parametrize("classification", [False, True], ids=["contrast", "and classification"])
def test_losses_and_queue_over_some_steps(rng, momentum, num_views, classification):
    batch = rng.randint(2, 9)
    head = build(model_config(momentum)).head
    past = torch.empty(0, 6)
    past_labels = torch.empty(0, dtype=torch.int64)
    for _ in range(20 // batch + 2):  # until the queue has wrapped around
        _, samples = views_of(batch)
        labels = labels_of(samples)
        x = torch.randn(1 if momentum is not None else num_views, batch, 64)
        keys = unit_rows(num_views - 1, batch, 6) if momentum is not None else None
        own = torch.randn(batch, 64) if classification else None
        twin = copy.deepcopy(head)
        losses = head.loss(encoded(head, x, keys, own), samples)
        expected = expected_loss(twin, x, samples, keys, past, past_labels, own)
        torch.testing.assert_close(losses["loss"], expected)
        assert losses["num_valid"].item() == len(past)

        views = F.normalize(copy.deepcopy(twin).projector(x.flatten(0, 1)), dim=1).view(
            *x.shape[:2], 6
        )
        others = keys if keys is not None else views[1:]
        similarity = torch.stack([(views[0] * other).sum(1).mean() for other in others]).mean()
        torch.testing.assert_close(losses["view_similarity"], similarity)
        correct = [
            twin.centers(pooled).argmax(1) == labels for pooled in (x if own is None else [own])
        ]
        accuracy = 100 * torch.stack(correct).double().mean()
        torch.testing.assert_close(losses["accuracy_top-1"], accuracy, check_dtype=False)

        # All views of an image but the first are kept, the last 20 of them.
        past = torch.cat([past, *others.detach()])[-20:]
        past_labels = torch.cat([past_labels, labels.repeat(num_views - 1)])[-20:]
        valid = head.queue.features[: len(past)]
        torch.testing.assert_close(by_content(valid), by_content(past))
        assert sorted(head.queue.labels.tolist()) == sorted(
            past_labels.tolist() + [-1] * (20 - len(past))
        )


def by_content(rows: torch.Tensor) -> torch.Tensor:
    """The rows in an order of their own; the queue's is not the order of age."""
    return rows[rows[:, 0].argsort()]


@pytest.mark.parametrize("momentum", [0.9, None], ids=["PaCo", "GPaCo"])
@pytest.mark.parametrize("classification", [False, True], ids=["contrast", "and classification"])
def test_the_gradient_flows_to_features_centers_and_projector(momentum, classification):
    head = build(model_config(momentum)).head
    _, samples = views_of(4)
    keys = unit_rows(1, 4, 6) if momentum is not None else None
    leaves = [torch.randn(1 if momentum is not None else 2, 4, 64, requires_grad=True)]
    if classification:
        leaves.append(torch.randn(4, 64, requires_grad=True))
    twin = copy.deepcopy(head)
    twin_leaves = [x.detach().clone().requires_grad_() for x in leaves]
    x, own = (*leaves, None)[:2]
    head.loss(encoded(head, x, keys, own), samples)["loss"].backward()
    x, own = (*twin_leaves, None)[:2]
    queue = (torch.empty(0, 6), torch.empty(0, dtype=torch.int64))
    expected_loss(twin, x, samples, keys, *queue, own).backward()
    for leaf, other in zip(leaves, twin_leaves, strict=True):
        assert leaf.grad.abs().sum() > 0
        torch.testing.assert_close(leaf.grad, other.grad)
    for (name, p), q in zip(head.named_parameters(), twin.parameters(), strict=True):
        assert p.grad.abs().sum() > 0, name
        torch.testing.assert_close(p.grad, q.grad)


def test_it_predicts_with_the_centers_alone():
    head = build(model_config()).head
    x = torch.randn(4, 64)
    expected = F.linear(x, head.centers.weight, head.centers.bias)
    torch.testing.assert_close(head((x,)), expected)
    assert expected.shape == (4, NUM_CLASSES)


@pytest.mark.parametrize("momentum", [0.9, None], ids=["one view", "both views"])
def test_supcon_s_encoder_learns_from_pairs_and_its_centers_from_features(momentum):
    config = model_config(momentum, detach_centers=True)
    config["head"]["loss"] = dict(type="MultiTaskLoss", alpha=1.0, temperature=0.2)
    head = build(config).head
    _, samples = views_of(4)
    x = torch.randn(1 if momentum is not None else 2, 4, 64, requires_grad=True)
    keys = unit_rows(1, 4, 6) if momentum is not None else None
    twin = copy.deepcopy(head)
    twin_x = x.detach().clone().requires_grad_()
    head.loss(encoded(head, x, keys), samples)["loss"].backward()

    features = F.normalize(twin.projector(twin_x.flatten(0, 1)), dim=1)
    if keys is not None:
        features = torch.cat([features, keys[0]])
    labels = labels_of(samples).repeat(2)
    settings = dict(alpha=1.0, temperature=0.2)
    anchors = 4 * len(twin_x)
    pairs = reference.paco_loss(features, labels, num_anchors=anchors, **settings)
    logits = twin.centers(twin_x.detach().flatten(0, 1))
    (pairs + F.cross_entropy(logits, labels[:anchors])).backward()
    assert twin_x.grad.abs().sum() > 0
    torch.testing.assert_close(x.grad, twin_x.grad)
    for (name, p), q in zip(head.named_parameters(), twin.parameters(), strict=True):
        assert p.grad.abs().sum() > 0, name
        torch.testing.assert_close(p.grad, q.grad)


@pytest.mark.parametrize("kind", ["CrossEntropyLoss", "LabelSmoothLoss"])
def test_the_loss_of_another_head_is_an_error(kind):
    config = model_config()
    config["head"]["loss"] = dict(type=kind)
    if kind == "LabelSmoothLoss":
        config["head"]["loss"]["label_smooth_val"] = 0.1
    with pytest.raises(
        TypeError, match=rf"must be a PaCoLoss or a MultiTaskLoss, got a {kind}; .*_delete_"
    ):
        build(config)
