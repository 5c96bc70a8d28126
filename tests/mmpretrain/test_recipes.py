"""Every recipe for real images has its published settings and trains."""

import copy
import functools
import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from digits_runs import CONFIGS
from image_files import write_image
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS


class Recipe(NamedTuple):
    """A row of the tables of the papers and their code."""

    backbone: str
    classes: int
    epochs: int
    lr: float
    weight_decay: float
    alpha: float
    temperature: float
    views: str  # anchor / key; n and m are RandAugment's
    smoothing: float = 0.0
    prior: bool = True
    fp16: bool = False


RANDCLS, RANDCLSSTACK = "randcls n2 m10", "randclsstack n2 m10"

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
    "imagenet/paco_r50": Recipe(
        "ResNet-50", 1000, 400, 0.04, 1e-4, 0.05, 0.2, f"{RANDCLS} / sim", prior=False
    ),
    "imagenet/paco_r101": Recipe(
        "ResNet-101", 1000, 400, 0.04, 1e-4, 0.05, 0.2, f"{RANDCLS} / sim", prior=False
    ),
    "imagenet/paco_r200": Recipe(
        "DeepResNet-200",
        1000,
        400,
        0.04,
        1e-4,
        0.05,
        0.2,
        "randclsstack n3 m12 / sim",
        prior=False,
        fp16=True,
    ),
    "imagenet/gpaco_r50": Recipe(
        "ResNet-50",
        1000,
        400,
        0.08,
        1e-4,
        0.05,
        0.2,
        f"{RANDCLS} / {RANDCLSSTACK}",
        smoothing=0.1,
        prior=False,
    ),
}


@functools.cache
def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f"{name}.py")


def test_there_is_a_row_for_every_config():
    folders = {name.split("/")[0] for name in RECIPES}
    paths = [path for folder in folders for path in (CONFIGS / folder).glob("*.py")]
    assert {f"{path.parent.name}/{path.stem}" for path in paths} == RECIPES.keys()


@pytest.mark.parametrize("name", RECIPES)
def test_it_has_the_published_settings(name):
    config = load(name)
    head = config.model.head
    loss = head.loss
    optimizer = config.optim_wrapper.optimizer
    assert (
        Recipe(
            backbone=backbone_of(config),
            classes=head.num_classes,
            epochs=config.train_cfg.max_epochs,
            lr=optimizer.lr,
            weight_decay=optimizer.weight_decay,
            alpha=loss.alpha,
            temperature=loss.temperature,
            views=views_of(config),
            smoothing=loss.get("label_smoothing", 0.0),
            prior=head.get("prior", True),
            fp16=config.optim_wrapper.get("type") == "AmpOptimWrapper",
        )
        == RECIPES[name]
    )


@pytest.mark.parametrize("name", RECIPES)
def test_it_has_what_all_recipes_share(name):
    config = load(name)
    gpaco = "/gpaco" in name
    head = config.model.head
    assert config.train_dataloader.batch_size * 4 == config.auto_scale_lr.base_batch_size == 128
    assert config.optim_wrapper.optimizer.type == "SGD"
    assert config.optim_wrapper.optimizer.momentum == 0.9
    assert config.model.momentum == (None if gpaco else 0.999)
    assert (head.feat_channels, head.queue_size) == (128, 8192)
    assert head.projector == dict(type="Projector", num_layers=3 if gpaco else 2, norm=not gpaco)
    assert head.loss.get("beta", 1.0) == head.loss.get("gamma", 1.0) == 1.0

    epochs = config.train_cfg.max_epochs
    warmup = 5 if epochs == 30 else 10
    assert config.param_scheduler == [
        dict(type="LinearLR", start_factor=1 / warmup, by_epoch=True, begin=0, end=warmup),
        dict(type="CosineAnnealingLR", by_epoch=True, begin=warmup, end=epochs),
    ]

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
        assert loader.dataset.type == config.train_dataloader.dataset.type


@pytest.mark.parametrize("name", ["places_lt/paco_r152", "places_lt/gpaco_r152"])
def test_places_start_from_image_net_s_weights(name):
    init = load(name).model.backbone.init_cfg
    assert init == dict(type="Pretrained", checkpoint="torchvision://resnet152")


def backbone_of(config: Config) -> str:
    backbone = config.model.backbone
    width = ""
    if backbone.type == "ResNeXt":
        width = f" {backbone.groups}x{backbone.width_per_group}d"
    return f"{backbone.type}-{backbone.depth}{width}"


def views_of(config: Config) -> str:
    read, views, pack = config.train_dataloader.dataset.pipeline
    assert (read.type, views.type, pack.type) == ("LoadImageFromFile", "MultiView", "PackInputs")
    repeated = [
        view for view, n in zip(views.transforms, views.num_views, strict=True) for _ in range(n)
    ]
    return " / ".join(map(view_of, repeated))


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
    assert (augment["type"], augment["magnitude_std"]) == ("RandAugment", 0.5)
    name = "randclsstack" if grey else "randcls"
    return f"{name} n{augment['num_policies']} m{augment['magnitude_level']}"


def test_rand_augment_has_the_published_operations():
    """At level 10 and at level 0, by the definitions of EfficientNet's TPU code."""
    augment = TRANSFORMS.build(load("imagenet_lt/paco_r50").rand_augment)
    ranges, signed = {}, set()
    for step in augment:
        assert step.prob == 0.5
        name = f"{type(step).__name__}{getattr(step, 'direction', '')}"
        ranges[name] = step.magnitude_range
        if step.magnitude_range is not None and step.random_negative_prob:
            assert step.random_negative_prob == 0.5
            signed.add(name)
    enhance = (-0.9, 0.9)  # a factor of .1 to 1.9, less one
    assert ranges == {
        "AutoContrast": None,
        "Equalize": None,
        "Invert": None,
        "Rotate": (0, 30),
        "Posterize": (0, 4),
        "Solarize": (0, 256),
        "SolarizeAdd": (0, 110),
        "ColorTransform": enhance,
        "Contrast": enhance,
        "Brightness": enhance,
        "Sharpness": enhance,
        "Shearhorizontal": (0, 0.3),
        "Shearvertical": (0, 0.3),
        "Translatehorizontal": (0, 0.45),
        "Translatevertical": (0, 0.45),
    }
    assert signed == {name for name in ranges if name.startswith(("Rotate", "Shear", "Transl"))}


# ---- Data ----------------------------------------------------------------------------------------


def lay_out(folder: str) -> None:
    """What a folder's recipes expect below ``data``: one image, in every class of every split."""
    lists = {
        "imagenet_lt": ("imagenet_lt/ImageNet_LT_{}.txt", ("train", "val", "test"), 1000),
        "places_lt": ("places_lt/Places_LT_{}.txt", ("train", "val"), 365),
        "imagenet": ("imagenet/meta/{}.txt", ("train", "val"), 1000),
    }
    if folder == "inat2018":
        write_image(Path("data/inat2018/train_val2018/Aves/1.jpg"))
        content = dict(
            images=[dict(id=i, file_name="train_val2018/Aves/1.jpg") for i in range(8142)],
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
        image = "a/1.jpg" if folder == "imagenet" else f"{split}/a/1.jpg"
        path.write_text("".join(f"{image} {c}\n" for c in range(num_classes)))
        root = "places365" if folder == "places_lt" else "imagenet"
        write_image(Path("data", root, split, "a/1.jpg"))


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
    backbone.update(stem_channels=CHANNELS, base_channels=CHANNELS)
    if backbone.type == "ResNeXt":
        backbone.groups = 2
    config.model.head.in_channels = 32 * CHANNELS
    for view in config.train_dataloader.dataset.pipeline[1].transforms:
        view[1].size = IMAGE_SIZE
    return config


@pytest.mark.parametrize("name", RECIPES)
def test_it_takes_two_steps(name, tmp_path):
    config = shrunk(load(name))
    images = [tmp_path / "a.jpg", tmp_path / "b.png"]
    for image in images:
        write_image(image)
    transform = TRANSFORMS.build(
        dict(type="Compose", transforms=config.train_dataloader.dataset.pipeline)
    )
    model = MODELS.build(dict(config.model, data_preprocessor=config.data_preprocessor))
    model.train()
    model.head.set_class_counts(torch.arange(config.model.head.num_classes, 0, -1))
    settings = {k: v for k, v in config.optim_wrapper.optimizer.items() if k != "type"}
    optimizer = torch.optim.SGD(model.parameters(), **settings)
    for step in range(2):
        samples = [
            transform(dict(img_path=str(image), gt_label=label))
            for label, image in enumerate(images)
        ]
        data = torch.utils.data.default_collate([{"inputs": s["inputs"]} for s in samples])
        data["data_samples"] = [s["data_samples"] for s in samples]
        data = model.data_preprocessor(data, training=True)
        assert data["inputs"].shape == (4, 3, IMAGE_SIZE, IMAGE_SIZE)
        losses = model(**data, mode="loss")
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        assert losses["loss"].isfinite()
        assert losses["queue_size"] == 2 * step


# Whatever its depth, a family's features have one width.
@pytest.mark.parametrize(
    "name",
    ["imagenet_lt/paco_r50", "imagenet_lt/paco_x50", "places_lt/paco_r152", "imagenet/paco_r200"],
)
def test_the_head_takes_the_features_of_the_backbone(name):
    config = load(name)
    backbone = MODELS.build(dict(config.model.backbone, depth=50)).to("meta")
    (features,) = backbone(torch.empty(2, 3, 224, 224, device="meta"))
    assert features.shape == (2, config.model.head.in_channels, 7, 7)
