import copy
from collections.abc import Iterator

import pytest
import torch
from helpers.small_models import NUM_CLASSES, build, labels_of, model_config, two_views
from torch.nn import functional as F

from paco import reference


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    # Two ways to compute a gradient through BatchNorm of few rows differ by its rounding.
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def head_and_features(momentum: float | None, batch: int):
    head = build(model_config(momentum)).head
    _, samples = two_views(batch)
    rows = batch if momentum is not None else 2 * batch
    return head, samples, torch.randn(rows, 64, requires_grad=True)


def unit_keys(n: int) -> torch.Tensor:
    return F.normalize(torch.randn(n, 6), dim=1)


def expected_loss(head, x, samples, keys, queue, queue_labels) -> torch.Tensor:
    """The definition, for B anchors and B keys or for 2B anchors, over the queue's valid rows."""
    features = F.normalize(head.projector(x), dim=1)
    if keys is not None:
        features = torch.cat([features, keys])
    logits = F.linear(x, head.centers.weight, head.centers.bias) + head.centers.log_prior
    return reference.paco_loss(
        features,
        labels_of(samples).repeat(2),
        logits,
        queue,
        queue_labels,
        num_anchors=x.size(0),
        alpha=0.3,
        temperature=0.2,
    )


@pytest.mark.parametrize("momentum", [0.9, None], ids=["PaCo", "GPaCo"])
def test_losses_and_queue_over_some_steps(rng, momentum):
    batch = rng.randint(2, 9)
    head, samples, _ = head_and_features(momentum, batch)
    past = torch.empty(0, 6)
    past_labels = torch.empty(0, dtype=torch.int64)
    for _ in range(20 // batch + 2):  # until the queue has wrapped around
        _, samples = two_views(batch)
        x = torch.randn(batch if momentum is not None else 2 * batch, 64)
        keys = unit_keys(batch) if momentum is not None else None
        twin = copy.deepcopy(head)
        losses = head.loss((x,), samples, keys)
        expected = expected_loss(twin, x, samples, keys, past, past_labels)
        torch.testing.assert_close(losses["loss"], expected)
        assert losses["num_valid"].item() == len(past)

        views = F.normalize(copy.deepcopy(twin).projector(x), dim=1)
        key_view = keys if keys is not None else views[batch:]
        similarity = (views[:batch] * key_view).sum(1).mean()
        torch.testing.assert_close(losses["view_similarity"], similarity)
        logits = twin.centers(x)
        correct = logits.argmax(1) == labels_of(samples).repeat(2)[: len(x)]
        torch.testing.assert_close(losses["accuracy_top-1"], 100 * correct.float().mean())

        # Only the second view of an image is kept, of the last 20 images.
        past = torch.cat([past, key_view.detach()])[-20:]
        past_labels = torch.cat([past_labels, labels_of(samples)])[-20:]
        valid = head.queue.features[: len(past)]
        torch.testing.assert_close(by_content(valid), by_content(past))
        assert sorted(head.queue.labels.tolist()) == sorted(
            past_labels.tolist() + [-1] * (20 - len(past))
        )


def by_content(rows: torch.Tensor) -> torch.Tensor:
    """The rows in an order of their own; the queue's is not the order of age."""
    return rows[rows[:, 0].argsort()]


@pytest.mark.parametrize("momentum", [0.9, None], ids=["PaCo", "GPaCo"])
def test_the_gradient_flows_to_features_centers_and_projector(momentum):
    head, samples, x = head_and_features(momentum, 4)
    keys = unit_keys(4).requires_grad_() if momentum is not None else None
    twin = copy.deepcopy(head)
    twin_x = x.detach().clone().requires_grad_()
    head.loss((x,), samples, None if keys is None else keys.detach())["loss"].backward()
    queue = (torch.empty(0, 6), torch.empty(0, dtype=torch.int64))
    expected_loss(twin, twin_x, samples, None if keys is None else keys.detach(), *queue).backward()
    torch.testing.assert_close(x.grad, twin_x.grad)
    for (name, p), q in zip(head.named_parameters(), twin.parameters(), strict=True):
        assert p.grad.abs().sum() > 0, name
        torch.testing.assert_close(p.grad, q.grad)


def test_it_predicts_with_the_centers_alone():
    head, _, x = head_and_features(0.9, 4)
    expected = F.linear(x, head.centers.weight, head.centers.bias)
    torch.testing.assert_close(head((x,)), expected)
    assert expected.shape == (4, NUM_CLASSES)


@pytest.mark.parametrize("momentum", [0.9, None], ids=["one view", "both views"])
def test_supcon_s_encoder_learns_from_pairs_and_its_centers_from_features(momentum):
    config = model_config(momentum, detach_centers=True)
    config["head"]["loss"] = dict(type="MultiTaskLoss", alpha=1.0, temperature=0.2)
    head = build(config).head
    _, samples = two_views(4)
    x = torch.randn(4 if momentum is not None else 8, 64, requires_grad=True)
    keys = unit_keys(4) if momentum is not None else None
    twin = copy.deepcopy(head)
    twin_x = x.detach().clone().requires_grad_()
    head.loss((x,), samples, keys)["loss"].backward()

    features = F.normalize(twin.projector(twin_x), dim=1)
    if keys is not None:
        features = torch.cat([features, keys])
    labels = labels_of(samples).repeat(2)
    settings = dict(alpha=1.0, temperature=0.2)
    pairs = reference.paco_loss(features, labels, num_anchors=len(twin_x), **settings)
    logits = twin.centers(twin_x.detach())
    (pairs + F.cross_entropy(logits, labels[: len(twin_x)])).backward()
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
