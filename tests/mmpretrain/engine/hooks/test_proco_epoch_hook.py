import pytest
import torch
from helpers.digits_runs import runner
from mmengine.hooks import Hook


class Watch(Hook):
    """Keeps what the estimates are when an epoch begins and ends."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.begins, self.ends = [], []

    @staticmethod
    def state_of(run) -> dict:
        state = run.model.head.contrast_loss.state_dict()
        return {name: value.clone() for name, value in state.items()}

    def before_train_epoch(self, run) -> None:
        self.begins.append(self.state_of(run))

    def after_train_epoch(self, run) -> None:
        self.ends.append(self.state_of(run))


def test_each_epoch_starts_with_the_estimate_of_the_one_before(tmp_path):
    run = runner(tmp_path, "proco", **{"train_cfg.max_epochs": 2})
    watch = Watch()
    run.register_hook(watch)
    run.train()
    images = len(run.train_dataloader.dataset)
    for begin in watch.begins:
        assert not begin["younger_count"].any()
        lengths = begin["younger_mean"].norm(dim=1)
        torch.testing.assert_close(lengths, torch.full_like(lengths, 0.9))
    assert torch.equal(watch.begins[1]["older_mean"], watch.ends[0]["younger_mean"])
    assert torch.equal(watch.begins[1]["older_count"], watch.ends[0]["younger_count"])
    # Both contrast views of every image, of one epoch and of two.
    assert watch.ends[1]["younger_count"].sum() == 2 * images
    assert watch.ends[1]["older_count"].sum() == 4 * images


def test_a_resumed_run_repeats_an_uninterrupted_one_bit_for_bit(tmp_path):
    whole = runner(tmp_path / "whole", "proco", **{"train_cfg.max_epochs": 3})
    whole.train()
    runner(tmp_path / "parts", "proco", **{"train_cfg.max_epochs": 1}).train()
    rest = runner(tmp_path / "parts", "proco", resume=True, **{"train_cfg.max_epochs": 3})
    rest.train()
    expected = whole.model.state_dict()
    for name, value in rest.model.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_training_without_the_hook_is_refused(tmp_path):
    hooks = [dict(type="ClassCountsHook")]
    with pytest.raises(ValueError, match=r"add dict\(type='ProCoEpochHook'\) to custom_hooks"):
        runner(tmp_path, "proco", custom_hooks=hooks).train()


def test_a_model_without_the_loss_is_refused(tmp_path):
    hooks = [dict(type="ClassCountsHook"), dict(type="ProCoEpochHook")]
    with pytest.raises(ValueError, match="the model has no ProCoLoss"):
        runner(tmp_path, "paco", custom_hooks=hooks).train()


def test_training_by_iterations_is_refused(tmp_path):
    train_cfg = dict(_delete_=True, by_epoch=False, max_iters=3)
    run = runner(tmp_path, "proco")
    config = run.cfg.copy()
    config.train_cfg = {k: v for k, v in train_cfg.items() if k != "_delete_"}
    config.work_dir = str(tmp_path / "iterations")
    config.experiment_name += "-iterations"
    with pytest.raises(ValueError, match="train_cfg must count epochs"):
        type(run).from_cfg(config).train()
