"""Every config for small images builds and trains; the recipes have their published settings."""

from pathlib import Path

import pytest
import torch
from digits_runs import CONFIGS
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS
from mmpretrain.structures import DataSample

RECIPES = sorted(p for d in ("digits_lt", "cifar100_lt") for p in (CONFIGS / d).glob("*.py"))
METHODS = ("paco", "gpaco", "balanced_softmax", "ce")


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_there_is_a_config_for_each_method_and_imbalance():
    names = {name_of(path) for path in RECIPES}
    assert names >= {f"digits_lt/{method}" for method in METHODS}
    assert names >= {f"cifar100_lt/{m}_if{f}" for m in METHODS for f in (100, 50, 10)}


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_it_takes_two_steps(path):
    config = Config.fromfile(path)
    model = MODELS.build(dict(config.model, data_preprocessor=config.data_preprocessor))
    model.init_weights()
    num_classes = config.model.head.num_classes
    model.head.set_class_counts(torch.arange(num_classes, 0, -1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    shape = (1, 8, 8) if path.parent.name == "digits_lt" else (3, 32, 32)
    pipeline = TRANSFORMS.build(
        dict(type="Compose", transforms=config.train_dataloader.dataset.pipeline)
    )
    for _ in range(2):
        samples = []
        for _ in range(4):
            image = torch.randint(0, 256, shape, dtype=torch.uint8).permute(1, 2, 0).numpy()
            image = image[..., 0] if shape[0] == 1 else image
            label = torch.randint(num_classes, ()).item()
            samples.append(pipeline(dict(img=image, gt_label=label)))
        data = torch.utils.data.default_collate([{"inputs": s["inputs"]} for s in samples])
        data["data_samples"] = [s["data_samples"] for s in samples]
        assert all(isinstance(s, DataSample) for s in data["data_samples"])
        losses = model(**model.data_preprocessor(data, training=True), mode="loss")
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        assert losses["loss"].isfinite()


@pytest.mark.parametrize("factor", [100, 50, 10])
@pytest.mark.parametrize("method", METHODS)
def test_cifar_100_lt_has_the_published_settings(method, factor):
    config = Config.fromfile(CONFIGS / "cifar100_lt" / f"{method}_if{factor}.py")
    assert config.train_dataloader.dataset.imbalance_factor == factor
    assert config.train_dataloader.batch_size == 128
    assert config.optim_wrapper.optimizer == dict(
        type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4
    )
    assert config.train_cfg.max_epochs == 400
    warmup, decay = config.param_scheduler
    assert (warmup.type, warmup.begin, warmup.end) == ("LinearLR", 0, 10)
    assert (decay.type, decay.milestones, decay.gamma) == ("MultiStepLR", [320, 360], 0.1)
    assert config.model.backbone == dict(type="ResNetCIFAR", depth=32)
    head = config.model.head
    assert (head.num_classes, head.in_channels) == (100, 64)
    if method in ("paco", "gpaco"):
        assert head.loss == dict(type="PaCoLoss", alpha=0.01, temperature=0.05)
        assert (head.queue_size, head.feat_channels) == (1024, 32)
        assert config.model.momentum == (0.999 if method == "paco" else None)
        layers = (2, True) if method == "paco" else (3, False)
        assert (head.projector.num_layers, head.projector.norm) == layers
        blur = config.train_dataloader.dataset.pipeline[0].transforms[1][-1]
        assert (blur.type, blur.prob) == ("GaussianBlur", 0.5 if method == "paco" else 0.2)
    else:
        assert head.type == "ClassCentersHead"
        assert head.get("prior", True) == (method == "balanced_softmax")


def test_the_twins_see_the_anchor_view_of_paco():
    paco = Config.fromfile(CONFIGS / "cifar100_lt" / "paco_if100.py")
    twin = Config.fromfile(CONFIGS / "cifar100_lt" / "ce_if100.py")
    anchor_view = paco.train_dataloader.dataset.pipeline[0].transforms[0]
    assert twin.train_dataloader.dataset.pipeline[:-1] == anchor_view
    assert twin.data_preprocessor == paco.data_preprocessor


def test_digits_train_on_digits():
    config = Config.fromfile(CONFIGS / "digits_lt" / "paco.py")
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert [view.shape for view in dataset[0]["inputs"]] == [(1, 8, 8)] * 2
