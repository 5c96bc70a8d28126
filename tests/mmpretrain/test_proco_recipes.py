"""Every recipe of ProCo has its published settings and trains, as those in test_recipes.py do."""

import json
import math
from typing import NamedTuple

import pytest
import torch
from helpers.digits_runs import CONFIGS
from test_bcl_recipes import views_of
from test_recipes import (
    IMAGE_SIZE,
    backbone_of,
    batch_of,
    build,
    learning_rates,
    load,
    optimizer_of,
    shrunk,
)


class Recipe(NamedTuple):
    """A row of the tables of the paper and its code."""

    backbone: str
    classes: int
    epochs: int
    lr: float
    weight_decay: float
    contrast_weight: float
    temperature: float
    dims: tuple[int, int]  # of the projector's hidden layer and of its output
    scale: float | None  # of the cosine classifier
    views: str  # the classifier's / contrast / contrast
    processes: int  # with the images below in all
    images: int = 256
    imbalance: int | None = None


IMAGENET_LT = Recipe(
    "ResNet-50",
    1000,
    90,
    0.1,
    5e-4,
    1.0,
    0.07,
    (2048, 1024),
    30.0,
    "randcls n2 m10 / sim / sim",
    8,
)
CIFAR = Recipe(
    "SmallImageResNet-32",
    100,
    200,
    0.3,
    2e-4,
    1.0,
    0.1,
    (512, 128),
    None,
    "autoaug+cutout / sim32 / sim32",
    1,
)
RECIPES = {
    "imagenet_lt/proco_r50": IMAGENET_LT,
    "imagenet_lt/proco_x50": IMAGENET_LT._replace(backbone="ResNeXt-50 32x4d"),
    "inat2018/proco_r50": IMAGENET_LT._replace(classes=8142, lr=0.2, weight_decay=1e-4),
    **{f"cifar100_lt/proco_if{n}": CIFAR._replace(imbalance=n) for n in (100, 50, 10)},
}


def test_there_is_a_row_for_every_config():
    # The digits' recipe is nobody's but ours.
    paths = [path for path in CONFIGS.glob("*/proco*.py") if path.parent.name != "digits_lt"]
    names = {f"{path.parent.name}/{path.stem}" for path in paths if path.stem[-4:] != "_20e"}
    assert names == RECIPES.keys()


@pytest.mark.parametrize("name", RECIPES)
def test_it_has_the_published_settings(name):
    config = load(name)
    head = config.model.head
    optimizer = config.optim_wrapper.optimizer
    loader = config.train_dataloader
    hidden = head.projector.get("hidden_channels", head.in_channels)
    images = config.auto_scale_lr.base_batch_size
    assert (
        Recipe(
            backbone=backbone_of(config),
            classes=head.num_classes,
            epochs=config.train_cfg.max_epochs,
            lr=optimizer.lr,
            weight_decay=optimizer.weight_decay,
            contrast_weight=head.get("contrast_weight", 1.0),
            temperature=head.contrast_loss.temperature,
            dims=(hidden, head.feat_channels),
            scale=head.get("scale"),
            views=views_of(config),
            processes=images // loader.batch_size,
            images=images,
            imbalance=loader.dataset.get("imbalance_factor"),
        )
        == RECIPES[name]
    )


@pytest.mark.parametrize("name", RECIPES)
def test_it_has_the_loss_and_the_encoder_of_proco_and_starts_its_epochs(name):
    config = load(name)
    model, head = config.model, config.model.head
    assert (model.type, head.type) == ("PaCoClassifier", "ProCoHead")
    assert model.momentum is None
    assert head.contrast_loss.type == "ProCoLoss"
    assert head.get("prior", True) and head.get("tau", 1.0) == 1.0
    assert (head.projector.type, head.projector.num_layers) == ("Projector", 2)
    assert head.projector.norm
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.momentum) == ("SGD", 0.9)
    hooks = [hook.type for hook in config.custom_hooks]
    assert hooks == ["ClassCountsHook", "EpochSeedHook", "ProCoEpochHook"]
    if not name.startswith("cifar"):
        assert model.backbone.zero_init_residual is False


@pytest.mark.parametrize("name", RECIPES)
def test_its_learning_rates_are_the_published_ones(name):
    config = load(name)
    epochs = config.train_cfg.max_epochs
    rates = learning_rates(json.dumps(config.param_scheduler), epochs)
    if name.startswith("cifar"):
        expected = [min((epoch + 1) / 5, 1) for epoch in range(160)] + 20 * [0.1] + 20 * [0.01]
    else:
        turns = [(epoch + 1) / (epochs + 1) for epoch in range(epochs)]
        expected = [0.5 * (1 + math.cos(math.pi * turn)) for turn in turns]
    assert rates == pytest.approx(expected, rel=1e-9)


def test_twenty_epochs_are_the_recipe_but_for_its_length():
    short, whole = load("cifar100_lt/proco_if100_20e"), load("cifar100_lt/proco_if100")
    assert short.train_cfg.max_epochs == 20
    for name in ("model", "train_dataloader", "optim_wrapper", "auto_scale_lr", "custom_hooks"):
        assert short[name] == whole[name]
    rates = learning_rates(json.dumps(short.param_scheduler[1:]), 20)
    assert rates == pytest.approx([1.0] * 16 + [0.1] * 2 + [0.01] * 2)


@pytest.mark.parametrize(
    "name",
    [*(n for n in RECIPES if not n.endswith(("_if50", "_if10"))), "cifar100_lt/proco_if100_20e"],
)
def test_it_takes_two_steps(name, tmp_path):
    config = shrunk(load(name))
    model = build(config)
    optimizer = optimizer_of(config, model)
    before = model.head.centers.weight.detach().clone()
    for step in range(2):
        data = model.data_preprocessor(batch_of(config, tmp_path), training=True)
        shape = (3, IMAGE_SIZE, IMAGE_SIZE)
        assert data["inputs"]["contrast"].shape == (4, *shape)
        assert data["inputs"]["classification"].shape == (2, *shape)
        losses = model(**data, mode="loss")
        assert losses["loss"].isfinite()
        optimizer.update_params(losses["loss"])
        assert model.head.contrast_loss.older_count.sum() == 4 * (step + 1)
    assert not torch.equal(model.head.centers.weight, before)
