"""Every recipe of BCL has its published settings and trains, as those in test_recipes.py do."""

import json
import math
from typing import NamedTuple

import pytest
import torch
from helpers.digits_runs import CONFIGS
from mmengine.config import Config
from mmpretrain.registry import MODELS
from test_recipes import (
    IMAGE_SIZE,
    backbone_of,
    batch_of,
    build,
    learning_rates,
    load,
    optimizer_of,
    shrunk,
    small_view_of,
    view_of,
)


class Recipe(NamedTuple):
    """A row of the tables of the paper and its code."""

    backbone: str
    classes: int
    epochs: int
    lr: float
    weight_decay: float
    weights: tuple[float, float]  # of cross entropy and of the contrast
    temperature: float
    dims: tuple[int, int]  # of the projector's hidden layer and of its output
    scale: float | None  # of the cosine classifier
    views: str  # the classifier's / contrast / contrast
    images: int = 256
    imbalance: int | None = None


IMAGENET_LT = Recipe(
    "ResNet-50",
    1000,
    90,
    0.1,
    5e-4,
    (1.0, 0.35),
    0.07,
    (2048, 1024),
    30.0,
    "randcls n2 m10 / sim / sim",
)
CIFAR = Recipe(
    "SmallImageResNet-32",
    100,
    200,
    0.15,
    5e-4,
    (2.0, 0.6),
    0.1,
    (512, 128),
    None,
    "autoaug+cutout / sim32 / sim32",
)
RECIPES = {
    "imagenet_lt/bcl_r50": IMAGENET_LT,
    "imagenet_lt/bcl_x50": IMAGENET_LT._replace(
        backbone="ResNeXt-50 32x4d", views="randcls n2 m10 / rand n2 m10 / rand n2 m10"
    ),
    "inat2018/bcl_r50": IMAGENET_LT._replace(classes=8142, epochs=100, lr=0.2, weight_decay=1e-4),
    **{f"cifar100_lt/bcl_if{n}": CIFAR._replace(imbalance=n) for n in (100, 50, 10)},
}


def test_there_is_a_row_for_every_config():
    paths = CONFIGS.glob("*/bcl*.py")
    names = {f"{path.parent.name}/{path.stem}" for path in paths if path.stem[-4:] != "_20e"}
    assert names == RECIPES.keys()


@pytest.mark.parametrize("name", RECIPES)
def test_it_has_the_published_settings(name):
    config = load(name)
    head = config.model.head
    optimizer = config.optim_wrapper.optimizer
    loader = config.train_dataloader
    hidden = head.projector.get("hidden_channels", head.in_channels)
    assert (
        Recipe(
            backbone=backbone_of(config),
            classes=head.num_classes,
            epochs=config.train_cfg.max_epochs,
            lr=optimizer.lr,
            weight_decay=optimizer.weight_decay,
            weights=(head.classification_weight, head.contrast_weight),
            temperature=head.contrast_loss.temperature,
            dims=(hidden, head.feat_channels),
            scale=head.get("scale"),
            views=views_of(config),
            images=config.auto_scale_lr.base_batch_size,
            imbalance=loader.dataset.get("imbalance_factor"),
        )
        == RECIPES[name]
    )


@pytest.mark.parametrize("name", RECIPES)
def test_it_has_the_losses_and_the_encoder_of_bcl(name):
    config = load(name)
    model, head = config.model, config.model.head
    assert (model.type, head.type) == ("PaCoClassifier", "BCLHead")
    assert model.momentum is None
    assert head.contrast_loss.type == "BCLLoss"
    assert head.get("prior", True) and head.get("tau", 1.0) == 1.0
    assert head.projector == head.prototype_projector
    assert (head.projector.type, head.projector.num_layers) == ("Projector", 2)
    assert head.projector.norm
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.momentum) == ("SGD", 0.9)
    # A process has all images of a step where the published code has: the contrast is of them.
    images = config.train_dataloader.batch_size
    assert RECIPES[name].images == images * (1 if name.startswith("cifar") else 4)
    if not name.startswith("cifar"):
        assert model.backbone.zero_init_residual is False


@pytest.mark.parametrize("name", RECIPES)
def test_its_learning_rates_are_the_published_ones(name):
    config = load(name)
    epochs = config.train_cfg.max_epochs
    rates = learning_rates(json.dumps(config.param_scheduler), epochs)
    if name.startswith("cifar"):
        expected = [min((epoch + 1) / 5, 1) for epoch in range(160)] + 20 * [0.1] + 20 * [0.01]
        assert rates == pytest.approx(expected, rel=1e-9)
        return
    # Its cosine ends after the last epoch, and begins before the first.
    for epoch, rate in enumerate(rates):
        published = 0.5 * (1 + math.cos(math.pi * (epoch + 1) / (epochs + 1)))
        assert rate == pytest.approx(published, abs=0.02)


def test_twenty_epochs_are_the_recipe_but_for_its_length():
    short, whole = load("cifar100_lt/bcl_if100_20e"), load("cifar100_lt/bcl_if100")
    assert short.train_cfg.max_epochs == 20
    for name in ("model", "train_dataloader", "optim_wrapper", "auto_scale_lr"):
        assert short[name] == whole[name]
    rates = learning_rates(json.dumps(short.param_scheduler[1:]), 20)
    assert rates == pytest.approx([1.0] * 16 + [0.1] * 2 + [0.01] * 2)


def views_of(config: Config) -> str:
    (views,) = config.train_dataloader.dataset.pipeline
    assert views.type == "ContrastViews"
    if config.train_dataloader.dataset.type.startswith("CIFAR"):
        names = [small_view_of(views.classification), *map(small_contrast_of, views.views)]
    else:
        names = [view_of(views.classification), *map(contrast_of, views.views)]
    return " / ".join(names)


JITTER = dict(
    type="RandomApply",
    prob=0.8,
    transforms=[
        dict(type="torchvision/ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    ],
)


def small_contrast_of(steps: list) -> str:
    assert [step.to_dict() for step in steps] == [
        dict(type="NumpyToPIL"),
        dict(type="torchvision/RandomResizedCrop", size=32),
        dict(type="torchvision/RandomHorizontalFlip"),
        JITTER,
        dict(type="torchvision/RandomGrayscale", p=0.2),
        dict(type="PILToNumpy"),
    ]
    return "sim32"


def contrast_of(steps: list) -> str:
    steps = [step.to_dict() for step in steps]
    assert steps[:6] == [
        dict(type="NumpyToPIL", to_rgb=True),
        dict(type="torchvision/RandomResizedCrop", size=224),
        dict(type="torchvision/RandomHorizontalFlip"),
        JITTER,
        dict(type="torchvision/RandomGrayscale", p=0.2),
        dict(type="PILToNumpy", to_bgr=True),
    ]
    if not steps[6:]:
        return "sim"
    (augment,) = steps[6:]
    assert augment.pop("type") == "EfficientNetRandAugment"
    return f"rand n{augment.pop('num_policies')} m{augment.pop('magnitude_level')}"


@pytest.mark.parametrize(
    "name",
    [*(n for n in RECIPES if not n.endswith(("_if50", "_if10"))), "cifar100_lt/bcl_if100_20e"],
)
def test_it_takes_two_steps(name, tmp_path):
    config = shrunk(load(name))
    model = build(config)
    optimizer = optimizer_of(config, model)
    before = model.head.centers.weight.detach().clone()
    for _ in range(2):
        data = model.data_preprocessor(batch_of(config, tmp_path), training=True)
        shape = (3, IMAGE_SIZE, IMAGE_SIZE)
        assert data["inputs"]["contrast"].shape == (4, *shape)
        assert data["inputs"]["classification"].shape == (2, *shape)
        losses = model(**data, mode="loss")
        assert losses["loss"].isfinite()
        optimizer.update_params(losses["loss"])
    assert not torch.equal(model.head.centers.weight, before)


def test_cosine_classifiers_start_from_rows_of_unit_length():
    head = MODELS.build(load("imagenet_lt/bcl_r50").model).head
    torch.testing.assert_close(head.centers.weight.norm(dim=1), torch.ones(1000))


@pytest.mark.parametrize("network", ["r50", "x50"])
def test_logit_adjustment_is_bcl_without_its_contrast(network, tmp_path):
    bcl, config = (
        load(f"imagenet_lt/{method}_{network}") for method in ("bcl", "logit_adjustment")
    )
    head = config.model.head
    assert (config.model.type, head.type) == ("ImageClassifier", "ClassCentersHead")
    assert head.get("prior", True) and head.get("tau", 1.0) == 1.0
    assert (head.num_classes, head.scale) == (bcl.model.head.num_classes, bcl.model.head.scale)
    assert config.model.backbone == bcl.model.backbone
    (views,) = bcl.train_dataloader.dataset.pipeline
    assert config.train_dataloader.dataset.pipeline[1:-1] == views.classification
    for name in ("optim_wrapper", "param_scheduler", "train_cfg", "data_preprocessor"):
        assert config[name] == bcl[name]
    assert config.train_dataloader.batch_size == bcl.train_dataloader.batch_size

    config = shrunk(config)
    model = build(config)
    data = model.data_preprocessor(batch_of(config, tmp_path), training=True)
    assert model(**data, mode="loss")["loss"].isfinite()
