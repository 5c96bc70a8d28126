"""The step of tools/train_fast.py: replayed from a graph, it trains as it does without one."""

import copy
import operator

import paco.mmpretrain  # noqa: F401  (first, because it mends the toolbox's imports)

# isort: split
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import nn

from paco.mmpretrain.engine.loops.device_loops import Step

BATCH = 128


def losses_of_training(model: nn.Module, batches: list) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    shape = batches[0][0].shape
    step = Step(model, shape, list if shape[0] > 1 else operator.itemgetter(0))
    losses = []
    for views, labels in batches:
        log_vars = step(views, labels)
        optimizer.step()
        losses.append(log_vars["loss"].item())
    assert (step.graph is not None) == (len(batches) > step.WARM_UP)
    return losses


@pytest.mark.parametrize(("recipe", "num_views"), [("paco", 2), ("gpaco", 2), ("ce", 1)])
def test_a_replayed_step_trains_as_one_without_a_graph(recipe, num_views, device, monkeypatch):
    # Left alone, cuDNN adds up weight gradients in any order; training amplifies what that rounds.
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    init_default_scope("mmpretrain")
    config = Config.fromfile(f"configs/cifar100_lt/{recipe}_if100.py")
    model = MODELS.build({**config.model, "data_preprocessor": config.data_preprocessor})
    model.init_weights()
    model.head.set_class_counts(torch.arange(1, 101))
    model.to(device, memory_format=torch.channels_last).train()
    batches = [
        (
            torch.randint(0, 256, (num_views, BATCH, 3, 32, 32), dtype=torch.uint8, device=device),
            torch.randint(0, 100, (BATCH,), device=device),
        )
        for _ in range(6)
    ]
    eager = copy.deepcopy(model)
    graphed = losses_of_training(model, batches)
    monkeypatch.setattr(Step, "WARM_UP", len(batches))
    expected = losses_of_training(eager, batches)
    # Old weights, or another batch, would be off by more.
    assert graphed == pytest.approx(expected, rel=1e-2)
    state, expected_state = model.state_dict(), eager.state_dict()
    for name in ("head.step.queue.labels", "head.step.queue.state") if num_views == 2 else ():
        assert torch.equal(state[name], expected_state[name])
    if recipe == "paco":
        moved = "key_encoder.encoder.backbone.conv1.weight"
        torch.testing.assert_close(state[moved], expected_state[moved], rtol=1e-2, atol=1e-3)
