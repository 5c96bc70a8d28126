"""The loops whose images stay on the device, here the CPU: they train as the toolbox's own do.

Capture and replay in a CUDA graph are tested in tests/cuda.
"""

import json
import uuid
from functools import partialmethod
from pathlib import Path

import mmengine.optim.optimizer.amp_optimizer_wrapper as amp
import pytest
import torch
from helpers.digits_runs import CONFIGS
from helpers.small_cifar import options, write_cifar100
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import LOOPS
from mmengine.runner import Runner, ValLoop
from mmpretrain.structures import DataSample
from torch import Tensor, nn

import paco.mmpretrain
from paco.mmpretrain import CIFAR100LT
from paco.mmpretrain.engine.loops.device_loops import DeviceTrainLoop, DeviceValLoop, Step
from paco.tools import train_fast


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    return write_cifar100(tmp_path_factory.mktemp("cifar100"), CIFAR100LT.METAINFO["classes"])


def settings_of(recipe: str, data_root: Path) -> dict:
    settings = options(data_root)
    if recipe == "ce":
        del settings["model.head.queue_size"]
    return settings


def config_of(recipe: str, data_root: Path, work_dir: Path) -> Config:
    config = Config.fromfile(CONFIGS / "cifar100_lt" / f"{recipe}_if100.py")
    config.merge_from_dict(settings_of(recipe, data_root))
    config.work_dir = str(work_dir)
    config.log_level = "ERROR"
    return config


def train(recipe: str, data_root: Path, work_dir: Path, *arguments: str) -> None:
    settings = {**settings_of(recipe, data_root), "experiment_name": uuid.uuid4().hex}
    config = CONFIGS / "cifar100_lt" / f"{recipe}_if100.py"
    options = ["--cfg-options", *(f"{name}={value}" for name, value in settings.items())]
    train_fast.main([str(config), "--work-dir", str(work_dir), *options, *arguments])


@pytest.mark.parametrize("recipe", ["paco", "ce"])
def test_a_resumed_run_is_the_uninterrupted_one(recipe, data_root, tmp_path):
    train(recipe, data_root, tmp_path)
    log = next(tmp_path.glob("*/*.log")).read_text()
    for name in ("top1", "mean", "many", "medium", "few"):
        assert f"long_tail/{name}:" in log
    expected = torch.load(tmp_path / "epoch_2.pth", weights_only=False)
    (tmp_path / "epoch_2.pth").unlink()
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_1.pth"))
    first = tmp_path / "epoch_1.pth"
    if recipe == "ce":  # a checkpoint that is named, where no search would find it
        first = first.rename(tmp_path / "mine.pth")
        train(recipe, data_root, tmp_path, "--resume", str(first))
    else:
        train(recipe, data_root, tmp_path, "--resume")
    actual = torch.load(tmp_path / "epoch_2.pth", weights_only=False)

    before = torch.load(first, weights_only=False)["state_dict"]
    assert actual["state_dict"].keys() == expected["state_dict"].keys()
    for name, value in expected["state_dict"].items():
        assert torch.equal(actual["state_dict"][name], value), name
        if name.startswith("backbone.conv1"):
            assert not torch.equal(before[name], value)
    # 204 images in batches of 32: 6 steps an epoch.
    assert actual["meta"]["iter"] == 12
    if recipe != "ce":
        assert actual["state_dict"]["head.step.queue.state"].tolist() == [6 * 32 * 2 % 100, 100]
    lr = actual["optimizer"]["param_groups"][0]["lr"]
    assert lr == expected["optimizer"]["param_groups"][0]["lr"]


def test_backbones_are_compiled_for_training_alone(data_root, tmp_path, monkeypatch):
    # Graphs alone are ours to test; Inductor would take half a minute to compile them.
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    losses = []
    for number, arguments in enumerate([[], ["compile=True"]]):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        work_dir = tmp_path / str(number)
        train("ce", data_root, work_dir, *arguments)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == number
        log = next(work_dir.glob("*/vis_data/scalars.json")).read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in log if "loss" in line])
    assert losses[0] and losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.parametrize(
    ("recipe", "num_views", "own"),
    [("paco", 2, False), ("paco", 3, False), ("gpaco", 2, False), ("gpaco", 2, True), ("ce", 1, 0)],
)
def test_a_step_has_the_gradients_of_the_model(recipe, num_views, own, data_root, tmp_path):
    config = config_of(recipe, data_root, tmp_path)
    if recipe != "ce":
        (views,) = config.train_dataloader.dataset.pipeline
        views.views = [*views.views, *views.views][:num_views]
        views.classification = views.views[0] if own else None
    runner = Runner.from_cfg(config)
    loop = DeviceTrainLoop(runner, config.train_dataloader, max_epochs=1)
    model = runner.model
    model.init_weights()
    model.head.set_class_counts(torch.arange(1, 101))
    model.train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    # The batch is large: in bfloat16 BatchNorm of a few would be noise.
    views = torch.randint(0, 256, (len(loop.pipelines), 128, 3, 32, 32), dtype=torch.uint8)
    assert len(views) == num_views + own
    labels = torch.randint(0, 100, (128,))

    def gradient() -> Tensor:
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    step = Step(model, views.shape, loop.arrange)
    log_vars = step(views, labels)
    fast = gradient()
    if recipe != "ce":
        assert not torch.equal(model.head.queue.labels, state["head.step.queue.labels"])

    model.load_state_dict(state)
    model.zero_grad()
    samples = [DataSample().set_gt_label(label) for label in labels.tolist()]
    inputs = list(views) if num_views > 1 else views[0]
    if own:  # the last of them
        inputs = dict(contrast=inputs[:-1], classification=inputs[-1])
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), training=True)
    loss, _ = model.parse_losses(model(**data, mode="loss"))
    loss.backward()
    assert torch.cosine_similarity(fast, gradient(), dim=0) > 0.98
    assert log_vars["loss"].item() == pytest.approx(loss.item(), rel=0.02)
    assert not any(value.requires_grad for value in log_vars.values())


def test_views_are_of_the_batch_s_images_in_its_order(data_root, tmp_path):
    config = config_of("paco", data_root, tmp_path)
    runner = Runner.from_cfg(config)
    loop = DeviceTrainLoop(runner, config.train_dataloader, max_epochs=1)
    # Columns tell an image from its mirror image.
    images = torch.arange(50)[:, None, None, None] + 50 * torch.arange(4)
    loop.images = images.to(torch.uint8).expand(-1, 3, 4, 4)
    loop.labels = torch.arange(50) * 2
    flip = dict(type="torchvision/RandomHorizontalFlip", p=1.0)
    loop.pipelines = [Compose([]), Compose([flip])]
    batches = torch.randperm(50)[:48].view(6, 8)
    for batch, (views, labels) in zip(batches, loop._epoch_of(batches), strict=True):
        assert torch.equal(labels, 2 * batch)
        assert torch.equal(views[0, :, 0, 0, 0], batch.to(torch.uint8))
        assert torch.equal(views[1, :, 2, 3, 0], 150 + batch.to(torch.uint8))


def test_validation_gives_the_toolbox_s_figures(data_root, tmp_path):
    config = config_of("paco", data_root, tmp_path)
    figures = []
    for loop in (ValLoop, DeviceValLoop):
        runner = Runner.from_cfg(config.copy())
        torch.manual_seed(7)
        runner.model.init_weights()
        evaluator = dict(type="LongTailMetric", class_counts=list(range(5, 205, 2)))
        figures.append(loop(runner, config.val_dataloader, evaluator).run())
    assert figures[0]["long_tail/top5"] > 0
    assert figures[1] == pytest.approx(figures[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_dataloader.drop_last": False}, "drop_last=True"),
        (
            {"train_dataloader.dataset.pipeline": []},
            "one ContrastViews, or transforms and then PackInputs",
        ),
        (
            {
                "train_dataloader.dataset.pipeline": [
                    dict(type="MultiView", num_views=[1], transforms=[[]]),
                    dict(type="PackInputs"),
                ]
            },
            "one ContrastViews, or transforms and then PackInputs",
        ),
    ],
)
def test_what_the_loop_cannot_train_on_is_refused(change, message, data_root, tmp_path):
    config = config_of("paco", data_root, tmp_path)
    for name, value in change.items():
        *path, last = name.split(".")
        part = config
        for key in path:
            part = part[key]
        part[last] = value
    with pytest.raises(ValueError, match=message):
        DeviceTrainLoop(Runner.from_cfg(config), config.train_dataloader, max_epochs=1)


def test_one_view_is_the_transforms_before_packing(data_root, tmp_path):
    config = config_of("ce", data_root, tmp_path)
    loop = DeviceTrainLoop(Runner.from_cfg(config), config.train_dataloader, max_epochs=1)
    (pipeline,) = loop.pipelines
    names = [type(transform).__name__ for transform in pipeline]
    assert names == [
        "NumpyToPIL",
        "TorchVisonTransformWrapper",
        "TorchVisonTransformWrapper",
        "CIFAR10Policy",
        "PILToNumpy",
        "SquareCutout",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optim_wrapper.accumulative_counts": 2}, "accumulative_counts must be 1, got 2"),
        (
            {"optim_wrapper.type": "AmpOptimWrapper", "optim_wrapper.dtype": "bfloat16"},
            r"optim_wrapper\.type must be OptimWrapper .*, got AmpOptimWrapper",
        ),
        (
            {"model.train_cfg": dict(augments=dict(type="CutMix", alpha=1.0))},
            r"images cannot be mixed \(batch_augments\)",
        ),
    ],
)
def test_a_step_that_the_loop_would_not_take_is_refused(
    change, message, data_root, tmp_path, monkeypatch
):
    monkeypatch.setattr(amp, "is_cuda_available", lambda: True)
    config = config_of("ce", data_root, tmp_path)
    config.merge_from_dict(change)
    config.train_cfg.pop("by_epoch", None)
    config.train_cfg.type = "DeviceTrainLoop"
    with pytest.raises((TypeError, ValueError), match=message):
        Runner.from_cfg(config).train()


def test_options_and_the_config_s_work_dir_have_the_last_word(tmp_path, monkeypatch):
    path = tmp_path / "mine.py"
    recipe = CONFIGS / "cifar100_lt" / "paco_if100.py"
    path.write_text(f"_base_ = {str(recipe)!r}\nwork_dir = 'theirs'\n")
    started = []

    class Run:
        def train(self) -> None:
            pass

    def from_cfg(cfg: Config) -> Run:
        started.append(cfg)
        return Run()

    monkeypatch.setattr(Runner, "from_cfg", from_cfg)
    options = ["--cfg-options", "default_hooks.checkpoint.interval=7", "train_cfg.val_interval=5"]
    for arguments in ([path], [path, *options]):
        train_fast.main([*map(str, arguments)])
    plain, changed = started
    assert plain.work_dir == changed.work_dir == "theirs"
    assert plain.default_hooks.checkpoint.interval == plain.train_cfg.val_interval != 5
    assert changed.default_hooks.checkpoint.interval == 7
    assert changed.train_cfg.val_interval == 5
    for cfg in started:
        assert (cfg.train_cfg.type, cfg.val_cfg.type) == ("DeviceTrainLoop", "DeviceValLoop")
        assert not cfg.resume


def test_the_config_that_a_run_leaves_needs_paco_mmpretrain_only():
    for loop in (DeviceTrainLoop, DeviceValLoop):
        assert getattr(paco.mmpretrain, loop.__name__) is LOOPS.get(loop.__name__) is loop


def test_a_head_that_takes_no_tensor_of_labels_is_refused(data_root, tmp_path):
    config = config_of("ce", data_root, tmp_path)
    config.model.head = dict(type="LinearClsHead", num_classes=100, in_channels=64)
    config.custom_hooks = []
    config.train_cfg.pop("by_epoch", None)
    config.train_cfg.type = "DeviceTrainLoop"
    with pytest.raises(TypeError, match=r"ClassCentersHead .* or a PaCoHead, got LinearClsHead"):
        Runner.from_cfg(config).train()
