"""Every recipe of the papers has its published settings and trains."""

import copy
import functools
import json
import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from helpers.digits_runs import CONFIGS
from helpers.image_files import write_image
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS


class Recipe(NamedTuple):
    """A row of the tables of the papers and their code."""

    backbone: str
    classes: int
    epochs: int
    lr: float
    weight_decay: float
    alpha: float | None  # None: no pairs, but class centers alone
    temperature: float | None
    views: str  # anchor / key; n and m are RandAugment's, p is the blur's probability
    smoothing: float = 0.0
    prior: bool = True
    fp16: bool = False
    queue: tuple[int, int] = (8192, 128)  # keys, and their width
    images: int = 128  # of all processes, in one step of the optimizer
    processes: int = 4  # that it was trained with
    imbalance: int | None = None  # where the data set is cut to one
    layer_decay: float | None = None  # AdamW instead of SGD with momentum 0.9


RANDCLS, RANDCLSSTACK = "randcls n2 m10", "randclsstack n2 m10"

# The balanced one.
IMAGENET = Recipe(
    "ResNet-50",
    1000,
    400,
    0.04,
    1e-4,
    0.05,
    0.2,
    f"{RANDCLS} / sim",
    prior=False,
    images=256,
    processes=8,
)
RECIPES = {
    "imagenet_lt/paco_r50": Recipe(
        "ResNet-50", 1000, 400, 0.02, 5e-4, 0.05, 0.2, f"{RANDCLS} / sim"
    ),
    "imagenet_lt/paco_x50": Recipe(
        "ResNeXt-50 32x4d", 1000, 400, 0.02, 5e-4, 0.05, 0.07, f"{RANDCLSSTACK} / sim"
    ),
    "imagenet_lt/paco_x101": Recipe(
        "ResNeXt-101 32x4d", 1000, 400, 0.03, 5e-4, 0.05, 0.2, "randclsstack n3 m10 / sim"
    ),
    "imagenet_lt/gpaco_r50": Recipe(
        "ResNet-50", 1000, 400, 0.04, 5e-4, 0.045, 0.2, f"{RANDCLS} / {RANDCLSSTACK}"
    ),
    "imagenet_lt/gpaco_x50": Recipe(
        "ResNeXt-50 32x4d",
        1000,
        400,
        0.06,
        5e-4,
        0.05,
        0.2,
        "randcls n3 m10 / randclsstack n3 m10",
    ),
    "imagenet_lt/gpaco_x101": Recipe(
        "ResNeXt-101 32x4d",
        1000,
        400,
        0.06,
        5e-4,
        0.05,
        0.2,
        "randcls n5 m10 / randclsstack n5 m10",
    ),
    "inat2018/paco_r50": Recipe("ResNet-50", 8142, 400, 0.02, 1e-4, 0.05, 0.2, f"{RANDCLS} / sim"),
    "inat2018/paco_r152": Recipe(
        "ResNet-152", 8142, 400, 0.02, 1e-4, 0.05, 0.2, f"{RANDCLS} / sim"
    ),
    "inat2018/gpaco_r50": Recipe("ResNet-50", 8142, 400, 0.04, 1e-4, 0.05, 0.2, f"{RANDCLS} / sim"),
    "inat2018/gpaco_r152": Recipe(
        "ResNet-152", 8142, 400, 0.04, 1e-4, 0.05, 0.2, f"{RANDCLS} / sim"
    ),
    "places_lt/paco_r152": Recipe(
        "LastBlockResNet-152", 365, 30, 0.02, 5e-4, 0.05, 0.2, "sim / sim", fp16=True
    ),
    "places_lt/gpaco_r152": Recipe(
        "LastBlockResNet-152", 365, 30, 0.02, 5e-4, 0.02, 0.2, "sim / sim", fp16=True
    ),
    "imagenet/paco_r50": IMAGENET,
    "imagenet/paco_r101": IMAGENET._replace(backbone="ResNet-101"),
    "imagenet/paco_r200": IMAGENET._replace(
        backbone="ResNet200", views="randclsstack n3 m12 / sim", fp16=True
    ),
    "imagenet/gpaco_r50": IMAGENET._replace(
        lr=0.08, views=f"{RANDCLS} / {RANDCLSSTACK}", smoothing=0.1, images=512, processes=16
    ),
    "imagenet/gpaco_vit_b": Recipe(
        "VisionTransformer-base",
        1000,
        100,
        5e-4 * 1024 / 256,
        0.05,
        0.2,
        0.2,
        "randclsstack n12 m10 / sim",
        smoothing=0.1,
        prior=False,
        fp16=True,
        images=1024,
        processes=8,
        layer_decay=0.65,
    ),
    "imagenet/gpaco_vit_l": Recipe(
        "VisionTransformer-large",
        1000,
        50,
        1e-3 * 1024 / 256,
        0.05,
        0.2,
        0.2,
        "randclsstack n12 m10 / sim",
        smoothing=0.1,
        prior=False,
        fp16=True,
        images=1024,
        processes=8,
        layer_decay=0.75,
    ),
}

# CIFAR-10-LT has the settings of CIFAR-100-LT, as no others are published.
CIFAR = Recipe(
    "SmallImageResNet-32",
    100,
    400,
    0.05,
    5e-4,
    0.01,
    0.05,
    "autoaug+cutout / sim32 p0.5",
    queue=(1024, 32),
    processes=1,
)
ONE_VIEW = CIFAR._replace(alpha=None, temperature=None, views="autoaug+cutout", queue=None)
CIFAR_METHODS = {
    "paco": CIFAR,
    "gpaco": CIFAR._replace(views="autoaug+cutout / sim32 p0.2"),
    "multi_task": CIFAR._replace(alpha=0.5, prior=False),
    "supcon": CIFAR._replace(alpha=1.0, prior=False),
    "balanced_softmax": ONE_VIEW,
    "ce": ONE_VIEW._replace(prior=False),
}
RECIPES |= {
    f"cifar{classes}_lt/{method}_if{imbalance}": recipe._replace(
        classes=classes, imbalance=imbalance
    )
    for classes in (10, 100)
    for method, recipe in CIFAR_METHODS.items()
    for imbalance in (100, 50, 10)
}
# The multi-task form of GPaCo.
RECIPES |= {
    f"{folder}/multi_task_{network}": RECIPES[f"{folder}/gpaco_{network}"]._replace(alpha=0.5)
    for folder, network in (("imagenet_lt", "x50"), ("imagenet_lt", "x101"), ("imagenet", "vit_b"))
}
CIFAR_R50 = CIFAR._replace(
    backbone="ResNet_CIFAR-50",
    temperature=0.07,
    views="sim32 p0.5 / sim32 p0.5",
    queue=(1024, 128),
    imbalance=1,
)
RECIPES |= {
    "cifar100/gpaco_r50": CIFAR_R50,
    "cifar100/multi_task_r50": CIFAR_R50._replace(
        alpha=0.5, prior=False, views="autoaug+cutout / autoaug+cutout"
    ),
}
LOGIT_ADJUSTMENT = ONE_VIEW._replace(lr=0.1, weight_decay=2e-4, views="crop+flip", imbalance=100)
RECIPES |= {
    "cifar10_lt/logit_adjustment_if100": LOGIT_ADJUSTMENT._replace(classes=10, epochs=1241),
    "cifar100_lt/logit_adjustment_if100": LOGIT_ADJUSTMENT._replace(classes=100, epochs=1419),
}
LARGE_IMAGES = [name for name in RECIPES if not name.startswith("cifar")]
SMALL_IMAGES = [name for name in RECIPES if name.startswith("cifar")]
RESNETS = [name for name in LARGE_IMAGES if RECIPES[name].layer_decay is None]
VITS = [name for name in LARGE_IMAGES if RECIPES[name].layer_decay is not None]


@functools.cache
def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f"{name}.py")


def test_there_is_a_row_for_every_config():
    folders = {name.split("/")[0] for name in RECIPES}
    paths = [path for folder in folders for path in (CONFIGS / folder).glob("*.py")]
    # No figure is published for 20 epochs, nor for BCL without its contrast. BCL's, ConCutMix's and
    # ProCo's have tables of their own.
    names = {f"{path.parent.name}/{path.stem}" for path in paths if path.stem[-4:] != "_20e"}
    other = ("bcl", "concutmix", "proco")
    names = {name for name in names if not name.split("/")[1].startswith(other)}
    names -= {f"imagenet_lt/logit_adjustment_{network}" for network in ("r50", "x50")}
    assert names == RECIPES.keys()


@pytest.mark.parametrize("name", RECIPES)
def test_it_has_the_published_settings(name):
    config = load(name)
    head = config.model.head
    loss = head.get("loss", {})
    wrapper = config.optim_wrapper
    loader = config.train_dataloader
    recipe = RECIPES[name]
    assert (
        Recipe(
            backbone=backbone_of(config),
            classes=head.num_classes,
            epochs=config.train_cfg.max_epochs,
            lr=wrapper.optimizer.lr,
            weight_decay=wrapper.optimizer.weight_decay,
            alpha=loss.get("alpha"),
            temperature=loss.get("temperature"),
            views=views_of(config),
            smoothing=loss.get("label_smoothing", 0.0),
            prior=head.get("prior", True),
            fp16=wrapper.get("type") == "AmpOptimWrapper",
            queue=(head.queue_size, head.feat_channels) if "queue_size" in head else None,
            images=recipe.processes * loader.batch_size * wrapper.get("accumulative_counts", 1),
            processes=config.auto_scale_lr.base_batch_size // loader.batch_size,
            imbalance=loader.dataset.get("imbalance_factor"),
            layer_decay=wrapper.get("paramwise_cfg", {}).get("layer_decay_rate"),
        )
        == recipe
    )


@pytest.mark.parametrize("name", RECIPES)
def test_it_has_the_loss_and_the_encoders_of_its_method(name):
    method = next((m for m in CIFAR_METHODS if name.split("/")[1].startswith(m)), None)
    model = load(name).model
    head = model.head
    if RECIPES[name].alpha is None:
        assert (model.type, head.type) == ("ImageClassifier", "ClassCentersHead")
        return
    assert (model.type, head.type) == ("PaCoClassifier", "PaCoHead")
    # GPaCo's encoder is multi-task's too, but for the small images' that compare with PaCo.
    gpaco = method == "gpaco" or (method == "multi_task" and "_if" not in name)
    assert model.momentum == (None if gpaco else 0.999)
    assert model.get("shuffle_bn", True)
    assert head.get("detach_centers", False) == (method == "supcon")
    multi_task = method in ("multi_task", "supcon")
    assert head.loss.type == ("MultiTaskLoss" if multi_task else "PaCoLoss")
    assert head.loss.get("beta", 1.0) == head.loss.get("gamma", 1.0) == 1.0
    projector = head.projector
    assert projector.type == "Projector"
    assert projector.num_layers == (3 if gpaco else 2)
    assert projector.norm == (not gpaco)
    activation = "GELU" if name in VITS else "ReLU"
    assert projector.get("act_cfg", dict(type="ReLU"))["type"] == activation


@pytest.mark.parametrize("name", RESNETS)
def test_its_residual_blocks_start_as_torchvision_s(name):
    assert load(name).model.backbone.zero_init_residual is False


@pytest.mark.parametrize("name", [*RESNETS, *SMALL_IMAGES])
def test_its_optimizer_is_sgd_with_the_published_schedule(name):
    config = load(name)
    assert config.optim_wrapper.optimizer.type == "SGD"
    assert config.optim_wrapper.optimizer.momentum == 0.9
    published = step_schedule if name in SMALL_IMAGES else cosine_schedule
    assert config.optim_wrapper.optimizer.get("nesterov", False) == ("logit" in name)
    if "logit" in name:
        published = logit_adjustment_schedule
        assert config.optim_wrapper.paramwise_cfg == dict(norm_decay_mult=0.0)
    epochs = config.train_cfg.max_epochs
    expected = [published(epoch, epochs) for epoch in range(epochs)]
    rates = learning_rates(json.dumps(config.param_scheduler), epochs)
    assert rates == pytest.approx(expected, rel=1e-9)


def step_schedule(epoch: int, epochs: int) -> float:
    """An epoch's learning rate over the base rate in CIFAR's script; epochs count from 0."""
    if epoch <= 10:
        return (epoch + 1) / 10
    return 0.01 if epoch > 360 else 0.1 if epoch > 320 else 1.0


def logit_adjustment_schedule(epoch: int, epochs: int) -> float:
    """The same in logit adjustment's script, whose warm-up rises within the epochs too."""
    warmup, *milestones = (22, 691, 1059, 1290) if epochs == 1419 else (20, 604, 926, 1128)
    if epoch < warmup:
        return (epoch + 1) / warmup
    return 0.1 ** sum(epoch >= milestone for milestone in milestones)


def cosine_schedule(epoch: int, epochs: int) -> float:
    """An epoch's learning rate over the base rate in every other script."""
    warmup = 5 if epochs == 30 else 10
    if epoch < warmup:
        return (epoch + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (epoch - warmup + 1) / (epochs - warmup + 1)))


@functools.cache
def learning_rates(schedule: str, epochs: int) -> list[float]:
    """Each epoch's learning rate over the config's own, as the toolbox's schedulers set it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(scheduler, optimizer=optimizer))
        for scheduler in json.loads(schedule)
    ]
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        for scheduler in schedulers:
            scheduler.step()
    return rates


@pytest.mark.parametrize("name", LARGE_IMAGES)
def test_its_images_are_prepared_as_published(name):
    config = load(name)
    pixels = config.data_preprocessor
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    if name.startswith("inat2018"):
        mean, std = (0.466, 0.471, 0.380), (0.195, 0.194, 0.192)
    assert pixels.to_rgb
    assert pixels.mean == pytest.approx([255 * x for x in mean])
    assert pixels.std == pytest.approx([255 * x for x in std])
    for loader in (config.val_dataloader, config.test_dataloader):
        read, resize, crop, _ = loader.dataset.pipeline
        assert read.type == "LoadImageFromFile"
        assert (resize.type, resize.scale, crop.type, crop.crop_size) == (
            "ResizeEdge",
            256,
            "CenterCrop",
            224,
        )
        assert resize.get("interpolation", "bilinear") == (
            "bicubic" if name in VITS else "bilinear"
        )
        assert loader.dataset.type == config.train_dataloader.dataset.type


@pytest.mark.parametrize("name", SMALL_IMAGES)
def test_its_small_images_are_whole_and_rgb(name):
    config = load(name)
    pixels = config.data_preprocessor
    assert not pixels.to_rgb  # they are RGB already
    assert pixels.mean == pytest.approx([255 * x for x in (0.4914, 0.4822, 0.4465)])
    assert pixels.std == pytest.approx([255 * x for x in (0.2023, 0.1994, 0.2010)])
    data_set = f"CIFAR{RECIPES[name].classes}LT"
    assert config.train_dataloader.dataset.type == data_set
    for loader in (config.val_dataloader, config.test_dataloader):
        assert (loader.dataset.type, loader.dataset.split) == (data_set, "test")
        assert [step.type for step in loader.dataset.pipeline] == ["PackInputs"]
        assert loader.dataset.data_root == config.train_dataloader.dataset.data_root


@pytest.mark.parametrize("name", ["places_lt/paco_r152", "places_lt/gpaco_r152"])
def test_places_start_from_image_net_s_weights(name):
    init = load(name).model.backbone.init_cfg
    assert init == dict(type="Pretrained", checkpoint="torchvision://resnet152")


def backbone_of(config: Config) -> str:
    backbone = config.model.backbone
    width = ""
    if backbone.type == "ResNeXt":
        width = f" {backbone.groups}x{backbone.width_per_group}d"
    if backbone.type == "ResNet200":
        return backbone.type
    size = backbone.arch if backbone.type == "VisionTransformer" else backbone.depth
    return f"{backbone.type}-{size}{width}"


def views_of(config: Config) -> str:
    steps = list(config.train_dataloader.dataset.pipeline)
    if steps[0].type != "ContrastViews":
        assert steps.pop().type == "PackInputs"
        return small_view_of(steps)
    (views,) = steps
    name = small_view_of if config.train_dataloader.dataset.type.startswith("CIFAR") else view_of
    return " / ".join(name(view) for view in views.views)


def small_view_of(steps: list) -> str:
    """The name of a view of 32 x 32 pixels whose every setting is the published one."""
    steps = [step.to_dict() for step in steps]
    if steps[-1]["type"] == "SquareCutout":
        assert steps == [
            dict(type="NumpyToPIL"),
            dict(type="torchvision/RandomCrop", size=32, padding=4),
            dict(type="torchvision/RandomHorizontalFlip"),
            dict(type="CIFAR10Policy"),
            dict(type="PILToNumpy"),
            dict(type="SquareCutout", size=16),
        ]
        return "autoaug+cutout"
    if len(steps) == 4:
        assert steps == [
            dict(type="NumpyToPIL"),
            dict(type="torchvision/RandomCrop", size=32, padding=2),
            dict(type="torchvision/RandomHorizontalFlip"),
            dict(type="PILToNumpy"),
        ]
        return "crop+flip"
    jitter = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    *steps, blur = steps
    assert steps == [
        dict(type="NumpyToPIL"),
        dict(type="torchvision/RandomResizedCrop", size=32, scale=(0.2, 1.0)),
        dict(type="torchvision/RandomHorizontalFlip"),
        dict(
            type="RandomApply",
            prob=0.8,
            transforms=[dict(type="torchvision/ColorJitter", **jitter)],
        ),
        dict(type="torchvision/RandomGrayscale", p=0.2),
        dict(type="PILToNumpy"),
    ]
    probability = blur.pop("prob")
    assert blur == dict(type="GaussianBlur", magnitude_range=(0.1, 2.0), magnitude_std="inf")
    return f"sim32 p{probability}"


def view_of(steps: list) -> str:
    """The name of a view whose every setting is the published one."""
    steps = [dict(step) for step in steps]
    assert steps.pop(0) == dict(type="NumpyToPIL", to_rgb=True)
    assert steps.pop(0) == dict(type="torchvision/RandomResizedCrop", size=224)
    assert steps.pop(0) == dict(type="torchvision/RandomHorizontalFlip")
    jitter = dict(brightness=0.4, contrast=0.4, saturation=0.4)
    assert steps.pop(0) == dict(type="torchvision/ColorJitter", **jitter)
    grey = steps[0] == dict(type="torchvision/RandomGrayscale", p=0.2)
    if grey:
        del steps[0]
    assert steps.pop(0) == dict(type="PILToNumpy", to_bgr=True)
    if grey:
        # The kernel's width is uniform over .1 to 2.
        blur = TRANSFORMS.build(steps.pop(0))
        assert type(blur).__name__ == "GaussianBlur"
        assert (blur.magnitude_range, blur.magnitude_std, blur.prob) == ((0.1, 2.0), "inf", 0.5)
        assert blur.magnitude_level == blur.total_level
    if not steps:
        assert grey
        return "sim"
    (augment,) = steps
    assert augment["type"] == "EfficientNetRandAugment"
    assert augment.get("magnitude_std", 0.5) == 0.5
    name = "randclsstack" if grey else "randcls"
    return f"{name} n{augment['num_policies']} m{augment['magnitude_level']}"


# ---- Data ----------------------------------------------------------------------------------------


def write_images(folder: Path, number: int) -> None:
    """One image under many names, 0.jpg and on."""
    write_image(folder / "0.jpg")
    for i in range(1, number):
        (folder / f"{i}.jpg").hardlink_to(folder / "0.jpg")


def lay_out(folder: str) -> None:
    """Lays out ``data`` for a folder's recipes: an image in every class of every split."""
    lists = {
        "imagenet_lt": ("imagenet_lt/ImageNet_LT_{}.txt", ("train", "val", "test"), 1000),
        "places_lt": ("places_lt/Places_LT_{}.txt", ("train", "val"), 365),
        "imagenet": ("imagenet/meta/{}.txt", ("train", "val"), 1000),
    }
    if folder == "inat2018":
        write_images(Path("data/inat2018/train_val2018/Aves"), 8142)
        content = dict(
            images=[dict(id=i, file_name=f"train_val2018/Aves/{i}.jpg") for i in range(8142)],
            annotations=[dict(image_id=i, category_id=i) for i in range(8142)],
            categories=[dict(id=i, name=f"species {i}") for i in range(8142)],
        )
        for split in ("train", "val"):
            Path(f"data/inat2018/{split}2018.json").write_text(json.dumps(content))
        return
    pattern, splits, num_classes = lists[folder]
    for split in splits:
        path = Path("data", pattern.format(split))
        path.parent.mkdir(parents=True, exist_ok=True)
        images = "a" if folder == "imagenet" else f"{split}/a"
        path.write_text("".join(f"{images}/{c}.jpg {c}\n" for c in range(num_classes)))
        root = "places365" if folder == "places_lt" else "imagenet"
        write_images(Path("data", root, split, "a"), num_classes)


@pytest.mark.parametrize(
    "name",
    ["imagenet_lt/paco_r50", "inat2018/paco_r50", "places_lt/paco_r152", "imagenet/paco_r50"],
)
def test_its_data_sets_read_the_documented_layout(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lay_out(name.split("/")[0])
    config = load(name)
    for loader, views in [("train", 2), ("val", 1), ("test", 1)]:
        dataset = DATASETS.build(config[f"{loader}_dataloader"].dataset)
        assert len(dataset) == len(dataset.metainfo["classes"]) == config.model.head.num_classes
        inputs = dataset[0]["inputs"]
        images = inputs if isinstance(inputs, list) else [inputs]
        assert [image.shape for image in images] == [(3, 224, 224)] * views


# ---- Training ------------------------------------------------------------------------------------

IMAGE_SIZE = 32  # instead of 224
CHANNELS = 4  # of the first stage, instead of 64: features have 128 channels instead of 2048


def shrunk(config: Config) -> Config:
    """The recipe for small images and narrow layers; as many of them as ever."""
    config = copy.deepcopy(config)
    backbone = config.model.backbone
    head = config.model.head
    if backbone.type == "SmallImageResNet":
        return config
    if backbone.type == "VisionTransformer":
        layers = 24 if backbone.arch == "large" else 12
        backbone.arch = dict(embed_dims=16, num_layers=layers, num_heads=2, feedforward_channels=16)
        backbone.update(img_size=IMAGE_SIZE)
        head.in_channels = 16
    else:
        backbone.update(stem_channels=CHANNELS, base_channels=CHANNELS)
        head.in_channels = 32 * CHANNELS
    if backbone.type == "ResNeXt":
        backbone.groups = 2
    first, *others = config.train_dataloader.dataset.pipeline
    views = [*first.views, first.get("classification")] if "views" in first else [others]
    for view in views:
        if view is not None:
            view[1].size = IMAGE_SIZE
    return config


def build(config: Config):
    model = MODELS.build(dict(config.model, data_preprocessor=config.data_preprocessor))
    model.head.set_class_counts(torch.arange(config.model.head.num_classes, 0, -1))
    return model.train()


def optimizer_of(config: Config, model) -> OptimWrapper:
    # Mixed precision needs a GPU, and gradients that add up no step.
    settings = {
        key: value
        for key, value in config.optim_wrapper.items()
        if key not in ("type", "accumulative_counts")
    }
    return build_optim_wrapper(model, settings)


def batch_of(config: Config, folder: Path) -> dict:
    """Two images through the training pipeline."""
    transform = TRANSFORMS.build(
        dict(type="Compose", transforms=config.train_dataloader.dataset.pipeline)
    )
    samples = []
    for label, name in enumerate(["a.jpg", "b.png"]):
        write_image(folder / name)
        info = dict(img_path=str(folder / name), gt_label=label)
        if config.model.backbone.type == "SmallImageResNet":
            pixels = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8)
            info = dict(img=pixels.numpy(), gt_label=label)
        samples.append(transform(info))
    data = torch.utils.data.default_collate([{"inputs": s["inputs"]} for s in samples])
    return data | {"data_samples": [s["data_samples"] for s in samples]}


# The other recipes are one of these with another depth, imbalance factor or RandAugment.
VARIANTS = ("_r101", "inat2018/gpaco_r152", "inat2018/paco_r152", "_x101", "_l", "_if50", "_if10")


@pytest.mark.parametrize("name", [name for name in RECIPES if not name.endswith(VARIANTS)])
def test_it_takes_two_steps(name, tmp_path):
    config = shrunk(load(name))
    model = build(config)
    optimizer = optimizer_of(config, model)
    for step in range(2):
        data = model.data_preprocessor(batch_of(config, tmp_path), training=True)
        views = 1 if RECIPES[name].alpha is None else 2
        assert data["inputs"].shape == (2 * views, 3, IMAGE_SIZE, IMAGE_SIZE)
        losses = model(**data, mode="loss")
        assert losses["loss"].isfinite()
        optimizer.update_params(losses["loss"])
        if views == 2:
            assert losses["num_valid"] == 2 * step


# ---- Vision transformers -------------------------------------------------------------------------


@pytest.mark.parametrize("name", VITS)
def test_a_vision_transformer_s_schedule_is_the_published_one(name):
    config = load(name)
    optimizer = config.optim_wrapper.optimizer
    assert optimizer.type == "AdamW" and "betas" not in optimizer  # torch's .9 and .999
    warmup, cosine = map(dict, config.param_scheduler)
    per_iteration = dict(by_epoch=True, convert_to_iter_based=True)
    assert warmup == dict(type="LinearLR", start_factor=1e-4, begin=0, end=5, **per_iteration)
    ratio = cosine.pop("eta_min_ratio")
    assert ratio * optimizer.lr == pytest.approx(1e-6)
    epochs = RECIPES[name].epochs
    assert cosine == dict(type="CosineAnnealingLR", begin=5, end=epochs, **per_iteration)
    assert config.model.backbone.drop_path_rate == (0.1 if name.endswith("_b") else 0.2)


@pytest.mark.parametrize("name", VITS)
def test_its_learning_rate_falls_from_layer_to_layer(name):
    config = shrunk(load(name))
    model = build(config)
    groups = optimizer_of(config, model).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    settings = {names[id(g["params"][0])]: (g["lr"], g["weight_decay"]) for g in groups}
    assert settings.keys() == set(names.values())
    recipe = RECIPES[name]
    layers = model.backbone.num_layers
    for parameter, (lr, decay) in settings.items():
        depth = layers + 1
        if parameter.startswith("backbone.layers."):
            depth = int(parameter.split(".")[2]) + 1
        elif parameter.startswith("backbone.") and "ln2" not in parameter:
            depth = 0
        assert lr == pytest.approx(recipe.lr * recipe.layer_decay ** (layers + 1 - depth)), (
            parameter
        )
        vector = model.get_parameter(parameter).dim() == 1
        exempt = vector or parameter in ("backbone.cls_token", "backbone.pos_embed")
        assert decay == (0 if exempt else recipe.weight_decay), parameter


@pytest.mark.parametrize("name", VITS)
def test_it_starts_from_mae_s_weights(name, tmp_path):
    config = shrunk(load(name))
    arch = config.model.backbone.arch
    mae = MODELS.build(
        dict(type="MAEViT", arch=arch, img_size=IMAGE_SIZE, patch_size=16, mask_ratio=0.75)
    )
    state = {f"backbone.{key}": torch.randn_like(value) for key, value in mae.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "mae.pth")
    init = config.model.backbone.init_cfg
    size = {"b": "base", "l": "large"}[name[-1]]
    assert f"/mae_vit-{size}-p16_8xb512-fp16-coslr-1600e_in1k/" in init.checkpoint
    init.checkpoint = str(tmp_path / "mae.pth")
    model = build(config)
    model.init_weights()
    loaded = {key: value for key, value in model.state_dict().items() if key in state}
    for key, value in loaded.items():
        assert torch.equal(value, state[key]), key
    missing = {key for key in model.state_dict() if key.startswith("backbone.")} - loaded.keys()
    assert missing == {"backbone.ln2.weight", "backbone.ln2.bias"}  # of the pooled features
    assert 0 < model.head.centers.weight.abs().max() < 1e-3
    assert model.head.centers.bias.abs().max() == 0


# Whatever its depth, a family's features have one width.
@pytest.mark.parametrize(
    "name",
    ["imagenet_lt/paco_r50", "imagenet_lt/paco_x50", "places_lt/paco_r152", "imagenet/paco_r200"],
)
def test_the_head_takes_the_features_of_the_backbone(name):
    config = load(name)
    backbone = config.model.backbone
    if "depth" in backbone:
        backbone = dict(backbone, depth=50)
    backbone = MODELS.build(backbone).to("meta")
    (features,) = backbone(torch.empty(2, 3, 224, 224, device="meta"))
    assert features.shape == (2, config.model.head.in_channels, 7, 7)
