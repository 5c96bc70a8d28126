"""The toolbox's ways to train serve PaCo: mixed precision, gradients that add up, TensorBoard."""

from pathlib import Path

import mmengine.optim.optimizer.amp_optimizer_wrapper as amp
import pytest
import torch
from helpers.digits_runs import runner
from mmengine.config import Config
from mmengine.hooks import Hook
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from paco.mmpretrain import SmallConvNet

RECIPES = ["paco", "gpaco"]
IMAGES = 305  # as the data set has, in batches of 64


class Watch(Hook):
    """Keeps the features' dtypes and the weights of each step."""

    def before_train(self, run) -> None:
        self.dtypes, self.losses, self.weights, self.queued = set(), [], [], []
        backbone = run.model.backbone
        assert isinstance(backbone, SmallConvNet)
        backbone.register_forward_hook(self.see)

    def see(self, backbone, inputs, outputs) -> None:
        if backbone.training:
            self.dtypes.add(outputs[0].dtype)

    def after_train_iter(self, run, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs["loss"].item())
        self.weights.append(run.model.head.centers.weight.detach().clone())
        self.queued.append(outputs["num_valid"].item())


def watched(folder: Path, recipe: str, **options) -> Watch:
    run = runner(folder, recipe, **options)
    watch = Watch()
    run.register_hook(watch)
    run.train()
    return watch


@pytest.mark.parametrize("recipe", RECIPES)
def test_mixed_precision(recipe, tmp_path, monkeypatch):
    """bfloat16, the toolbox's on a CPU, where its wrapper would not start: fp16 needs a GPU."""
    monkeypatch.setattr(amp, "is_cuda_available", lambda: True)
    options = {"optim_wrapper.type": "AmpOptimWrapper", "optim_wrapper.dtype": "bfloat16"}
    mixed = watched(tmp_path / "mixed", recipe, **options)
    full = watched(tmp_path / "full", recipe)
    assert mixed.dtypes == {torch.bfloat16}
    assert full.dtypes == {torch.float32}
    assert len(mixed.losses) == 5
    assert mixed.losses == pytest.approx(full.losses, rel=0.05)
    assert mixed.losses != full.losses
    assert not torch.equal(mixed.weights[0], mixed.weights[-1])
    state = torch.load(tmp_path / "mixed" / "epoch_1.pth", weights_only=True)["state_dict"]
    assert state["head.step.queue.features"].dtype == torch.float32
    lengths = state["head.step.queue.features"].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(256), rtol=0, atol=2**-7)  # bfloat16's


@pytest.mark.parametrize("recipe", RECIPES)
def test_gradients_that_add_up_are_one_step_and_each_batch_is_enqueued(recipe, tmp_path):
    watch = watched(tmp_path, recipe, **{"optim_wrapper.accumulative_counts": 2})
    # Five batches: a step after the second, the fourth and the last.
    changed = [
        not torch.equal(a, b) for a, b in zip(watch.weights[:-1], watch.weights[1:], strict=True)
    ]
    assert changed == [True, False, True, True]
    assert watch.queued == [0, 64, 128, 192, 256]
    state = torch.load(tmp_path / "epoch_1.pth", weights_only=True)["state_dict"]
    assert state["head.step.queue.state"].tolist() == [IMAGES % 256, 256]


@pytest.mark.parametrize(
    "options",
    [
        {"visualizer.vis_backends.0.type": "TensorboardVisBackend"},
        Config(
            dict(
                visualizer=dict(
                    vis_backends=[
                        dict(type="LocalVisBackend"),
                        dict(type="TensorboardVisBackend"),
                    ]
                )
            )
        ).to_dict(),
    ],
    ids=["on the command line", "in a config"],
)
def test_tensorboard_is_written(options, tmp_path):
    options = {"default_hooks.logger.interval": 1, "train_cfg.val_interval": 1} | options
    runner(tmp_path, **options).train()
    (event_file,) = tmp_path.glob("*/vis_data/**/events.out.tfevents.*")
    events = EventAccumulator(str(event_file)).Reload()
    tags = events.Tags()["scalars"]
    assert {"loss", "lr", "num_valid", "view_similarity", "long_tail/few"} <= set(tags)
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5]
