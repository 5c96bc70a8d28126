"""Every recipe of ConCutMix is BCL's but for its published settings, and trains."""

import copy
import json
import math
from typing import NamedTuple

import pytest
import torch
from helpers.digits_runs import CONFIGS
from mmengine.config import Config
from test_bcl_recipes import JITTER, contrast_of
from test_recipes import (
    IMAGE_SIZE,
    backbone_of,
    batch_of,
    build,
    learning_rates,
    load,
    optimizer_of,
    shrunk,
    view_of,
)


class Recipe(NamedTuple):
    """A row of the published scripts."""

    bcl: str  # the recipe of BCL that it starts from
    backbone: str
    epochs: int
    tau: float
    rectification: float
    rectify_after: int
    views: str
    warmup: int = 0
    milestones: tuple[int, int] | None = None  # None: a cosine
    imbalance: int | None = None


CIFAR = Recipe(
    "cifar100_lt/bcl_if100",
    "SmallImageResNet-32",
    200,
    0.9,
    20 / 255,
    100,
    "autoaug / sim32 p0.5 / sim32 p0.5",
    5,
    (160, 180),
    100,
)
IMAGENET_LT = Recipe(
    "imagenet_lt/bcl_r50",
    "ResNet-50",
    100,
    0.99,
    200 / 255,
    70,
    "randcls n2 m10 / sim / sim",
)
RECIPES = {
    "cifar100_lt/concutmix_if100": CIFAR,
    "cifar100_lt/concutmix_if50": CIFAR._replace(tau=0.75, imbalance=50),
    "cifar100_lt/concutmix_if10": CIFAR._replace(tau=1.0, imbalance=10),
    "cifar100_lt/concutmix_if100_400e": CIFAR._replace(
        epochs=400, tau=0.79, rectify_after=160, warmup=10, milestones=(360, 380)
    ),
    "imagenet_lt/concutmix_r50": IMAGENET_LT,
    "imagenet_lt/concutmix_x50": IMAGENET_LT._replace(
        backbone="ResNeXt-50 32x4d", epochs=180, rectify_after=120
    ),
}


def test_there_is_a_row_for_every_config():
    paths = CONFIGS.glob("*/concutmix*.py")
    names = {f"{path.parent.name}/{path.stem}" for path in paths}
    assert names == RECIPES.keys() | {"cifar100_lt/concutmix_if100_20e"}


@pytest.mark.parametrize("name", RECIPES)
def test_it_has_the_published_settings(name):
    config = load(name)
    head = config.model.head
    recipe = RECIPES[name]
    assert (
        recipe._replace(
            backbone=backbone_of(config),
            epochs=config.train_cfg.max_epochs,
            tau=head.tau,
            rectification=head.rectification,
            rectify_after=head.rectify_after,
            views=views_of(config),
            imbalance=config.train_dataloader.dataset.dataset.get("imbalance_factor"),
        )
        == recipe
    )
    assert head.type == "ConCutMixHead" and head.get("num_neighbors", 30) == 30
    assert config.data_preprocessor.partner_cutmix_prob == 0.5
    assert config.train_dataloader.dataset.type == "WithBalancedPartner"
    # All else is BCL's.
    bcl = load(recipe.bcl)
    for key, value in bcl.model.head.items():
        assert key == "type" or head[key] == value, key
    assert config.optim_wrapper == bcl.optim_wrapper
    assert config.data_preprocessor.mean == bcl.data_preprocessor.mean
    assert config.train_dataloader.batch_size == bcl.train_dataloader.batch_size
    assert config.model.momentum is None


@pytest.mark.parametrize("name", RECIPES)
def test_its_learning_rates_are_the_published_ones(name):
    config, recipe = load(name), RECIPES[name]
    rates = learning_rates(json.dumps(config.param_scheduler), recipe.epochs)
    for epoch, rate in enumerate(rates):
        if recipe.milestones is None:
            published = 0.5 * (1 + math.cos(math.pi * (epoch + 1) / (recipe.epochs + 1)))
        else:
            published = min((epoch + 1) / recipe.warmup, 1)
            published *= 0.1 ** sum(epoch >= milestone for milestone in recipe.milestones)
        assert rate == pytest.approx(published, rel=1e-9)


def views_of(config: Config) -> str:
    (views,) = config.train_dataloader.dataset.dataset.pipeline
    assert views.type == "ContrastViews"
    if not config.train_dataloader.dataset.dataset.type.startswith("CIFAR"):
        return " / ".join([view_of(views.classification), *map(contrast_of, views.views)])
    assert [step.to_dict() for step in views.classification] == [
        dict(type="NumpyToPIL"),
        dict(type="torchvision/RandomCrop", size=32, padding=4),
        dict(type="torchvision/RandomHorizontalFlip"),
        dict(type="CIFAR10Policy"),
        dict(type="PILToNumpy"),
    ]
    for steps in views.views:
        assert [step.to_dict() for step in steps] == [
            dict(type="NumpyToPIL"),
            dict(type="torchvision/RandomResizedCrop", size=32, scale=(0.2, 1.0)),
            dict(type="torchvision/RandomHorizontalFlip"),
            JITTER,
            dict(type="torchvision/RandomGrayscale", p=0.2),
            dict(type="PILToNumpy"),
            dict(type="GaussianBlur", magnitude_range=(0.1, 2.0), magnitude_std="inf", prob=0.5),
        ]
    return "autoaug / sim32 p0.5 / sim32 p0.5"


def without_partners(config: Config) -> Config:
    """The config on its inner data set, and so for images alone."""
    config = copy.deepcopy(config)
    config.train_dataloader.dataset = config.train_dataloader.dataset.dataset
    return config


@pytest.mark.parametrize(
    "name",
    ["cifar100_lt/concutmix_if100", "cifar100_lt/concutmix_if100_20e", "imagenet_lt/concutmix_r50"],
)
def test_it_takes_two_steps(name, tmp_path, monkeypatch):
    config = shrunk(without_partners(load(name)))
    config.model.head.rectify_after = -1
    config.data_preprocessor.partner_cutmix_prob = 1.0
    model = build(config)
    optimizer = optimizer_of(config, model)
    before = model.head.centers.weight.detach().clone()
    for _ in range(2):
        data = batch_of(config, tmp_path)
        data["inputs"]["partner"] = data["inputs"]["classification"].flip(0)
        for sample in data["data_samples"]:
            sample.set_field(1 - sample.gt_label, "partner_label")
        data = model.data_preprocessor(data, training=True)
        assert data["inputs"]["classification"].shape == (2, 3, IMAGE_SIZE, IMAGE_SIZE)
        assert "gt_score" in data["data_samples"][0]
        losses = model(**data, mode="loss")
        assert losses["loss"].isfinite()
        optimizer.update_params(losses["loss"])
    assert not torch.equal(model.head.centers.weight, before)
