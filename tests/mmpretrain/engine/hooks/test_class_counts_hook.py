from pathlib import Path

import pytest
import torch
from helpers.digits_runs import CONFIGS, runner
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from mmpretrain.datasets import cifar
from mmpretrain.registry import DATASETS

import paco
from paco.mmpretrain import count_classes

COUNTS = [int(110 * (1 / 50) ** (i / 9)) for i in range(10)]


class Watch(Hook):
    """Notes the prior that the first step sees."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 0:
            model = getattr(runner.model, "module", runner.model)
            self.prior = model.head.centers.log_prior.clone()


def test_heads_and_metrics_know_the_counts_in_time(tmp_path):
    run = runner(tmp_path)
    watch = Watch()
    run.register_hook(watch)
    run.train()
    assert torch.equal(watch.prior, paco.log_prior(torch.tensor(COUNTS)))
    assert run.val_loop.evaluator.metrics[0].class_counts == COUNTS


def test_a_head_without_a_prior_gets_none(tmp_path):
    run = runner(tmp_path, "ce")
    run.train()
    assert not run.model.head.centers.log_prior.any()


def test_testing_alone_knows_the_counts(tmp_path):
    run = runner(tmp_path)
    metrics = run.test()
    assert run.test_loop.evaluator.metrics[0].class_counts == COUNTS
    assert 0 <= metrics["long_tail/few"] <= 100


def runner_without_training_set(work_dir: Path, checkpoint: Path) -> Runner:
    config = Config.fromfile(CONFIGS / "digits_lt" / "paco.py")
    for name in ("train_cfg", "train_dataloader", "optim_wrapper", "param_scheduler"):
        config.pop(name)
    config.merge_from_dict(dict(work_dir=str(work_dir), load_from=str(checkpoint)))
    return Runner.from_cfg(config)


def test_a_checkpoint_is_tested_without_its_training_set(tmp_path):
    run = runner(tmp_path / "train", **{"train_dataloader.dataset.imbalance_factor": 20})
    run.train()
    expected = run.test()
    counts = run.test_loop.evaluator.metrics[0].class_counts
    assert counts[9] == 110 // 20

    alone = runner_without_training_set(tmp_path / "test", tmp_path / "train" / "epoch_1.pth")
    assert alone.test() == expected
    assert alone.test_loop.evaluator.metrics[0].class_counts == counts


def test_class_counts_that_nobody_knows_are_an_error(tmp_path):
    checkpoint = tmp_path / "converted.pth"
    torch.save(dict(state_dict=runner(tmp_path).model.state_dict()), checkpoint)
    with pytest.raises(RuntimeError, match=r"LongTailMetric\(class_counts="):
        runner_without_training_set(tmp_path, checkpoint).test()


def test_a_test_downloads_no_training_set(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(cifar, "download_and_extract_archive", lambda *_, **__: fetched.append(1))
    checkpoint = tmp_path / "converted.pth"
    torch.save(dict(state_dict=runner(tmp_path).model.state_dict()), checkpoint)
    missing = dict(type="CIFAR10LT", data_root=str(tmp_path / "none"))
    training_set = dict(type="RepeatDataset", times=2, dataset=missing, _delete_=True)
    run = runner(tmp_path, load_from=str(checkpoint), **{"train_dataloader.dataset": training_set})
    with pytest.raises(
        RuntimeError, match=r"Cannot find CIFAR10LT .*; pass LongTailMetric\(class_"
    ):
        run.test()
    assert not fetched


def test_a_run_that_starts_from_another_has_counts_of_its_own(tmp_path):
    runner(tmp_path / "first").train()
    options = {"train_dataloader.dataset.imbalance_factor": 1, "train_cfg.val_interval": 1}
    run = runner(tmp_path, load_from=str(tmp_path / "first" / "epoch_1.pth"), **options)
    run.train()
    assert run.val_loop.evaluator.metrics[0].class_counts == [110] * 10


DIGITS = dict(type="DigitsLT")


@pytest.mark.parametrize(
    ("wrapper", "copies"),
    [
        (dict(type="RepeatDataset", dataset=DIGITS, times=3), 1),
        (dict(type="ClassBalancedDataset", dataset=DIGITS, oversample_thr=0.2), 1),
        (dict(type="ConcatDataset", datasets=[DIGITS, DIGITS]), 2),
        (
            dict(
                type="RepeatDataset",
                times=2,
                dataset=dict(
                    type="ConcatDataset",
                    datasets=[dict(type="RepeatDataset", dataset=DIGITS, times=2), DIGITS],
                ),
            ),
            2,
        ),
    ],
    ids=["repeated", "balanced", "concatenated", "nested"],
)
def test_a_wrapper_draws_its_images_again(wrapper, copies):
    dataset = DATASETS.build(wrapper)
    counts = count_classes(dataset)
    labels = torch.tensor([dataset.get_data_info(i)["gt_label"] for i in range(len(dataset))])
    assert torch.equal(counts.drawn, labels.bincount())
    assert counts.images.tolist() == [copies * count for count in COUNTS]


def test_the_prior_is_of_what_is_drawn_and_the_groups_are_of_images(tmp_path):
    inner = Config.fromfile(CONFIGS / "digits_lt" / "paco.py").train_dataloader.dataset
    balanced = dict(type="ClassBalancedDataset", oversample_thr=0.2, dataset=inner, _delete_=True)
    options = {"train_dataloader.dataset": balanced, "train_cfg.val_interval": 1}
    run = runner(tmp_path, **options)
    run.train()
    drawn = count_classes(run.train_dataloader.dataset).drawn
    assert drawn.tolist() != COUNTS
    assert torch.equal(run.model.head.centers.log_prior, paco.log_prior(drawn))
    assert run.val_loop.evaluator.metrics[0].class_counts == COUNTS


def test_a_metric_keeps_the_counts_it_was_given(tmp_path):
    run = runner(tmp_path, **{"test_evaluator.class_counts": [7] * 10})
    run.test()
    assert run.test_loop.evaluator.metrics[0].class_counts == [7] * 10


@pytest.fixture
def process_group(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_it_reaches_the_head_inside_a_distributed_wrapper(tmp_path, process_group):
    run = runner(tmp_path)
    run.model = MMDistributedDataParallel(run.model)
    watch = Watch()
    run.register_hook(watch)
    run.train()
    assert torch.equal(watch.prior, paco.log_prior(torch.tensor(COUNTS)))
