"""Losses and heads of several processes, contrasted as one, are those of one process."""

import copy

# First, because the processes import this file without conftest.py.
import paco.mmpretrain  # noqa: F401

# isort: split
import pytest
import torch
from helpers.problems import soft_targets, unit_rows
from helpers.shares import cut
from torch import Tensor, nn

from paco.distributed import ShardedClassCenters
from paco.mmpretrain import EncodedViews
from paco.mmpretrain.models.heads.bcl_head import BCLHead
from paco.mmpretrain.models.losses.multi_task_loss import MultiTaskLoss
from paco.nn import ClassCenters

CLASSES, WIDTH, DIM = 5, 6, 4
PROJECTOR = dict(type="Projector", num_layers=2, norm=True, hidden_channels=9)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected.detach(), rtol=1e-10, atol=1e-12)


def new_head(contrast: str) -> BCLHead:
    head = BCLHead(
        num_classes=CLASSES,
        in_channels=WIDTH,
        feat_channels=DIM,
        projector=PROJECTOR,
        prototype_projector=PROJECTOR,
        contrast_loss=dict(type="BCLLoss", temperature=0.2),
        classification_weight=2.0,
        contrast_weight=0.6,
        contrast=contrast,
    ).double()
    head.set_class_counts(torch.arange(CLASSES) + 1)
    return head


def solve_head(head: BCLHead, projections: Tensor, pooled: Tensor, labels: Tensor) -> list[Tensor]:
    """The loss and its gradients."""
    views = EncodedViews(
        projections.new_zeros(*projections.shape[:2], WIDTH),
        projections.requires_grad_(),
        None,
        pooled.requires_grad_(),
        projections[0].detach(),
    )
    loss = head.loss(views, labels)["loss"]
    parameters = [*head.prototype_projector.parameters(), *head.centers.parameters()]
    return [loss.detach(), *torch.autograd.grad(loss, [projections, pooled, *parameters])]


def head_of_process(rank: int, head: BCLHead, parts: list[list[Tensor]]) -> list[Tensor]:
    return solve_head(copy.deepcopy(head), *(part[rank] for part in parts))


def test_the_bcl_head_is_that_of_one_process(rng, on_two_processes):
    head, sizes = new_head("global"), [rng.randint(1, 5), rng.randint(1, 5)]
    n = sum(sizes)
    projections, pooled = torch.randn(2, n, DIM).double(), torch.randn(n, WIDTH).double()
    labels = torch.randint(CLASSES, (n,))
    parts = [list(projections.split(sizes, 1)), pooled.split(sizes), labels.split(sizes)]
    each = on_two_processes(head_of_process, head, parts)
    expected = solve_head(copy.deepcopy(head), projections, pooled, labels)
    losses, of_views, of_pooled, *parameters = zip(*each, strict=True)
    close(torch.stack(losses).mean(), expected[0])
    close(torch.cat(of_views, 1) / 2, expected[1])
    close(torch.cat(of_pooled) / 2, expected[2])
    for gradients, gradient in zip(parameters, expected[3:], strict=True):
        close(torch.stack(gradients).mean(0), gradient)


def test_another_contrast_of_the_bcl_head_is_refused():
    with pytest.raises(ValueError, match="contrast must be 'local' or 'global', got 'all'"):
        new_head("all")


def loss_of_process(
    rank: int, loss: nn.Module, centers: ClassCenters, parts: list, shared: bool
) -> list[Tensor]:
    features, labels, pooled, targets = (part[rank] for part in parts)
    sizes = [len(part) for part in parts[2]]
    own: ClassCenters = centers
    if shared:
        own = ShardedClassCenters(WIDTH, CLASSES).double()
        own.load_state_dict(centers.state_dict())
    logits = own(pooled)
    value = loss.across_processes(
        features.requires_grad_(),
        labels,
        logits,
        num_anchors=sizes[rank],
        soft_targets=targets,
        num_classes=CLASSES if shared else None,
    )
    gradients = torch.autograd.grad(value, [features, *own.parameters()])
    return [value.detach(), *gradients]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_the_multi_task_loss_is_that_of_one_process(rng, on_three_processes, shared, soft):
    loss = MultiTaskLoss(alpha=0.3, temperature=0.2, label_smoothing=0.2)
    centers = ClassCenters(WIDTH, CLASSES).double()
    n = rng.randint(2, 9)
    sizes = cut(rng, n, 3)
    features, pooled = unit_rows(n, DIM), unit_rows(n, WIDTH)
    labels = torch.randint(CLASSES, (n,))
    targets = soft_targets(rng, n, CLASSES) if soft else None
    parts = [x.split(sizes) for x in (features, labels, pooled)]
    parts.append(targets.split(sizes) if targets is not None else [None] * 3)
    each = on_three_processes(loss_of_process, loss, centers, parts, shared)

    value = loss(features.requires_grad_(), labels, centers(pooled), soft_targets=targets)
    expected = torch.autograd.grad(value, [features, *centers.parameters()])
    losses, of_features, *of_centers = zip(*each, strict=True)
    close(torch.stack(losses).mean(), value)
    close(torch.cat(of_features) / 3, expected[0])
    for gradients, gradient in zip(of_centers, expected[1:], strict=True):
        close(torch.cat(gradients) if shared else torch.stack(gradients).mean(0), gradient)
