import pytest
import torch
from digits_runs import runner
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel

import paco

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
