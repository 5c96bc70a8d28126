"""The toolbox trains, saves, resumes and tests a model that is shared out among processes."""

import os
from pathlib import Path
from unittest import mock

# First, because the processes import this file without conftest.py.
import paco.mmpretrain  # noqa: F401

# isort: split
import mmengine.optim.optimizer.amp_optimizer_wrapper as amp
import pytest
import torch
from helpers.digits_runs import runner
from mmengine.runner import Runner

from paco.distributed.shares import shared_out

QUEUE = 90
POOLED = torch.linspace(-1, 1, 3 * 128).view(3, 128)
SHARES = {"contrast": "global", "shard_queue": True, "shard_centers": True}
HOOKS = [dict(type="ClassCountsHook"), dict(type="SharesHook")]


def new_run(folder: Path, distributed: bool, shares: dict = SHARES, **options) -> Runner:
    options = {
        "custom_hooks": HOOKS,
        "randomness.seed": 0,
        "optim_wrapper.clip_grad": dict(max_norm=0.5),
        "optim_wrapper.accumulative_counts": 2,
        "train_cfg.val_interval": 1,
        "model.head.queue_size": QUEUE,
        **{f"model.head.{name}": value for name, value in shares.items()},
        **options,
    }
    if distributed:
        options["launcher"] = "pytorch"
        options["model_wrapper_cfg"] = dict(
            type="MMDistributedDataParallel", broadcast_buffers=False, device_ids=None
        )
    return runner(folder, **options)


def module_of(run: Runner) -> torch.nn.Module:
    return getattr(run.model, "module", run.model)


def train(rank: int, folder: Path, **options) -> dict:
    os.environ.setdefault("LOCAL_RANK", str(rank))
    run = new_run(folder, distributed=True, **options)
    run.train()
    model = module_of(run)
    parts = {name: part.state_dict() for name, part in shared_out(model)}
    momenta = [
        run.optim_wrapper.optimizer.state[p]["momentum_buffer"]
        for p in model.head.centers.parameters()
    ]
    common = model.backbone.state_dict()
    norm = run.message_hub.get_scalar("train/grad_norm").current()
    with torch.no_grad():
        logits = model.head((POOLED,))
    return dict(parts=parts, common=common, momenta=momenta, norm=norm, logits=logits)


@pytest.fixture(scope="module")
def run_of_two(tmp_path_factory, on_two_processes) -> tuple[Path, list[dict]]:
    folder = tmp_path_factory.mktemp("shares")
    return folder, on_two_processes(train, folder)


def test_a_checkpoint_is_that_of_one_process(run_of_two, tmp_path):
    folder, (first, second) = run_of_two
    checkpoint = torch.load(folder / "epoch_1.pth", weights_only=False)
    state = checkpoint["state_dict"]
    centers, queue = "head.step.centers", "head.step.queue"
    for key in ("weight", "bias", "log_prior"):
        joined = torch.cat([r["parts"][centers][key] for r in (first, second)])
        assert torch.equal(state[f"{centers}.{key}"], joined), key
    assert state[f"{queue}.features"].shape[0] == QUEUE
    valid = [r["parts"][queue]["labels"][: r["parts"][queue]["state"][1]] for r in (first, second)]
    assert sorted(state[f"{queue}.labels"].tolist()) == sorted(torch.cat(valid).tolist())
    # Trained together: the same everywhere but in the shares.
    assert first["norm"] == second["norm"] > 0
    for name, value in first["common"].items():
        assert "running" in name or "batches" in name or torch.equal(value, second["common"][name])
    # Optimizer's state, too.
    momenta = [x["momentum_buffer"] for x in checkpoint["optimizer"]["state"].values()]
    for a, b in zip(first["momenta"], second["momenta"], strict=True):
        assert any(torch.equal(torch.cat([a, b]), m) for m in momenta if m.shape[0] == len(a) * 2)
    # One process takes it, shared out or not, and predicts what two did.
    plain = new_run(tmp_path, False, shares={}, load_from=str(folder / "epoch_1.pth"))
    plain.val()
    with torch.no_grad():
        logits = plain.model.head((POOLED,))
    for result in (first, second):
        torch.testing.assert_close(result["logits"], logits)


# The toolbox cannot go on accumulating over epochs of another length.
GO_ON = {"resume": True, "optim_wrapper.accumulative_counts": 1}


def continued(rank: int, folder: Path) -> dict:
    return train(rank, folder, **GO_ON, **{"train_cfg.max_epochs": 2})


def test_another_number_of_processes_goes_on(run_of_two, on_three_processes, tmp_path):
    folder, _ = run_of_two
    content = (folder / "epoch_1.pth").read_bytes()
    (tmp_path / "epoch_1.pth").write_bytes(content)
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_1.pth"))
    results = on_three_processes(continued, tmp_path)
    sizes = [len(r["parts"]["head.step.centers"]["weight"]) for r in results]
    assert sum(sizes) == 10
    assert max(sizes) - min(sizes) <= 1
    state = torch.load(tmp_path / "epoch_2.pth", weights_only=False)["state_dict"]
    weights = torch.cat([r["parts"]["head.step.centers"]["weight"] for r in results])
    assert torch.equal(state["head.step.centers.weight"], weights)
    # Back on one process, without shares.
    alone = new_run(tmp_path, False, shares={}, **GO_ON, **{"train_cfg.max_epochs": 3})
    alone.train()
    assert alone.epoch == 3


REFUSED = {
    "add dict(type='SharesHook') to custom_hooks": dict(custom_hooks=HOOKS[:1]),
    "EMAHook would save the first process's share": dict(
        custom_hooks=[*HOOKS, dict(type="EMAHook")]
    ),
    "set optim_wrapper.use_fsdp=True": {
        "optim_wrapper.type": "AmpOptimWrapper",
        "optim_wrapper.dtype": "bfloat16",
    },
}


def refusals(rank: int, folder: Path) -> list[str]:
    os.environ.setdefault("LOCAL_RANK", str(rank))
    messages = []
    for options in REFUSED.values():
        # The wrapper would not start on a CPU.
        with mock.patch.object(amp, "is_cuda_available", lambda: True):
            run = new_run(folder, distributed=True, **options)
            try:
                run.train()
            except ValueError as error:
                messages.append(str(error))
    return messages


def test_what_would_save_or_step_by_itself_is_refused(tmp_path, on_two_processes):
    for messages in on_two_processes(refusals, tmp_path):
        for expected, message in zip(REFUSED, messages, strict=True):
            assert expected in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(shard_queue=True), "need contrast='global'"),
        (dict(shard_centers=True), "need contrast='global'"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        new_run(tmp_path, False, shares=options)
