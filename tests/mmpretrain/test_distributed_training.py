"""Two processes train as one does on the same images."""

import copy

# First, because the processes import this file without conftest.py.
import paco.mmpretrain  # noqa: F401

# isort: split
import pytest
import torch
from helpers.processes import RANKS
from helpers.small_models import build, labels_of, model_config, views_of
from mmengine.model import MMDistributedDataParallel
from mmpretrain.structures import DataSample
from torch.nn import functional as F

from paco import reference

LR = 0.1


def config_without_batch_norm(momentum: float | None) -> dict:
    """Else a process's statistics, and with them its features, depend on its share."""
    config = model_config(momentum)
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)
    config["backbone"] = dict(
        type="VisionTransformer", arch=arch, img_size=8, patch_size=4, in_channels=1
    )
    del config["neck"]
    config["head"] |= dict(
        in_channels=16, projector=dict(type="Projector", num_layers=2, norm=False)
    )
    return config


def train(rank: int, model, batches: list, sizes: list[list[int]]) -> dict:
    """SGD on this rank's share of each batch."""
    # A copy, because tensors are sent between processes as memory that they share.
    model = MMDistributedDataParallel(copy.deepcopy(model), broadcast_buffers=False)
    losses = []
    for (inputs, labels), split in zip(batches, sizes, strict=True):
        own = slice(sum(split[:rank]), sum(split[: rank + 1]))
        anchor_view, key_view = inputs.chunk(2)
        inputs = torch.cat([anchor_view[own], key_view[own]])
        model.zero_grad()
        result = model(inputs, samples_of(labels[own]), mode="loss")
        result["loss"].backward()
        losses.append(result["loss"].item())
        descend(model)
    return dict(losses=losses, **state_of(model.module))


def train_alone(model, batches: list, sizes: list[list[int]]) -> dict:
    """The definition of it on one process, by the formula.

    A rank contrasts with its own images and with the queue of all, and the gradients of the ranks
    are averaged: so the loss is the mean over the ranks of each rank's loss.
    """
    head, queue = model.head, model.head.queue
    losses = []
    for (inputs, labels), split in zip(batches, sizes, strict=True):
        anchor_view, key_view = inputs.chunk(2)
        x = model.backbone(anchor_view)[-1]
        if model.key_encoder is None:
            key_x = model.backbone(key_view)[-1]
            keys = F.normalize(head.projector(key_x), dim=1)
        else:
            with torch.no_grad():
                momentum = model.key_encoder.momentum
                query_encoder = model._query_encoder()
                pairs = zip(model.key_encoder.parameters(), query_encoder.parameters(), strict=True)
                for key, query in pairs:
                    key.copy_(momentum * key + (1 - momentum) * query)
                keys = F.normalize(model.key_encoder(key_view), dim=1)
        queries = F.normalize(head.projector(x), dim=1)
        n = int(queue.num_valid)
        parts = []
        for own in torch.arange(len(labels)).split(split):
            pooled = x[own]
            if model.key_encoder is None:
                pooled = torch.cat([pooled, key_x[own]])
            logits = F.linear(pooled, head.centers.weight, head.centers.bias)
            parts.append(
                reference.paco_loss(
                    torch.cat([queries[own], keys[own]]),
                    labels[own].repeat(2),
                    logits + head.centers.log_prior,
                    queue.features[:n],
                    queue.labels[:n],
                    num_anchors=len(pooled),
                    alpha=0.3,
                    temperature=0.2,
                )
            )
        model.zero_grad()
        sum(parts).div(RANKS).backward()
        losses.append([part.item() for part in parts])
        descend(model)
        queue.enqueue(keys.detach(), labels)
    return dict(losses=losses, **state_of(model))


def samples_of(labels: torch.Tensor) -> list[DataSample]:
    """The images' labels as the toolbox has them, which does not send them to processes so."""
    return [DataSample().set_gt_label(label) for label in labels]


def descend(model) -> None:
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p -= LR * p.grad


def state_of(model) -> dict:
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return dict(gradients=gradients, state=model.state_dict())


@pytest.mark.parametrize("momentum", [0.9, None], ids=["PaCo", "GPaCo"])
def test_loss_queue_and_gradients_are_those_of_one_process(rng, momentum, on_two_processes):
    model = build(config_without_batch_norm(momentum)).double()
    # Even shares, uneven ones and a last batch that is smaller; the queue of 20 wraps around.
    sizes = [[4, 4], [rng.randint(1, 3), rng.randint(4, 6)], [5, 2], [1, 1]]
    batches = []
    for split in sizes:
        inputs, samples = views_of(sum(split))
        batches.append((inputs.double(), labels_of(samples)))
    results = on_two_processes(train, model, batches, sizes)
    expected = train_alone(copy.deepcopy(model), batches, sizes)
    assert expected["state"]["head.step.queue.state"][1] == 20
    for rank, result in enumerate(results):
        losses = [step[rank] for step in expected["losses"]]
        assert result["losses"] == pytest.approx(losses, rel=1e-6)
        for part in ("gradients", "state"):
            assert result[part].keys() == expected[part].keys()
            for name, value in result[part].items():
                torch.testing.assert_close(
                    value, expected[part][name], rtol=1e-6, atol=1e-8, msg=f"{part} {name}"
                )
                # Not only close: the same on both ranks.
                assert torch.equal(value, results[0][part][name]), name


def keys_of(rank: int, model, inputs: torch.Tensor, labels: torch.Tensor) -> dict:
    inputs = inputs.view(2, RANKS, -1, *inputs.shape[1:])[:, rank].flatten(0, 1)
    samples = samples_of(labels.chunk(RANKS)[rank])
    keys = {}
    for shuffle_bn in (True, False):
        torch.manual_seed(0)  # an order that puts rows of both ranks into each batch
        twin = copy.deepcopy(model)
        twin.shuffle_bn = shuffle_bn
        twin.loss(inputs, samples)
        keys[str(shuffle_bn)] = twin.head.queue.features[: len(labels)]
    return keys


def test_batch_norm_is_shuffled_for_the_keys_unless_it_is_switched_off(on_two_processes):
    model = build(model_config())
    assert model.shuffle_bn
    inputs, samples = views_of(16)
    first, second = on_two_processes(keys_of, model, inputs, labels_of(samples))
    alone = [F.normalize(model.key_encoder(share), dim=1) for share in inputs[16:].chunk(RANKS)]
    torch.testing.assert_close(first["False"], torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(first["True"], first["False"], atol=1e-2)
    for switch in ("True", "False"):
        assert torch.equal(first[switch], second[switch])
