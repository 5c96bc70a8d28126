"""paco-classify sees an image as the toolbox's test pipeline does, to the pixel."""

import random
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
import torch
from helpers.classify import all_logits, needs_the_tool, pixel_model, write_noise
from helpers.digits_runs import CONFIGS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image
from torch import nn

from paco import deploy
from paco.mmpretrain import image_metadata

pytestmark = needs_the_tool

PIPELINES = {
    "as they are": [],
    "short edge": [dict(type="ResizeEdge", scale=31), dict(type="CenterCrop", crop_size=24)],
    "whole": [dict(type="Resize", scale=(21, 18), interpolation="area")],
    "square": [dict(type="mmpretrain.Resize", scale=20, backend="cv2", interpolation="lanczos")],
    "nearest": [dict(type="Resize", scale=19, interpolation="nearest")],
    "pillow": [
        dict(type="ResizeEdge", scale=27, edge="short", backend="pillow", interpolation="bicubic"),
        dict(type="CenterCrop", crop_size=(24, 22)),
    ],
    "long edge": [
        dict(type="ResizeEdge", scale=80, edge="long"),
        dict(type="CenterCrop", crop_size=18),
    ],
    "width": [
        dict(type="ResizeEdge", scale=33, edge="width"),
        dict(type="CenterCrop", crop_size=8),
    ],
    "within": [
        dict(type="Resize", scale=(30, 60), keep_ratio=True, interpolation="bicubic"),
        dict(type="CenterCrop", crop_size=15),
    ],
    "efficientnet": [dict(type="EfficientNetCenterCrop", crop_size=21)],
    "efficientnet pillow": [
        dict(type="EfficientNetCenterCrop", crop_size=16, crop_padding=5, backend="pillow")
    ],
    **{
        f"pillow {interpolation}": [
            dict(type="Resize", scale=(23, 19), backend="pillow", interpolation=interpolation)
        ]
        for interpolation in ("nearest", "box")
    },
    "pillow bilinear": [
        dict(type="ResizeEdge", scale=40, backend="pillow", interpolation="bilinear"),
        dict(type="CenterCrop", crop_size=27),
    ],
}


@pytest.mark.parametrize("steps", PIPELINES.values(), ids=PIPELINES)
@pytest.mark.parametrize("color", ["rgb", "bgr", "grayscale"])
def test_pixels_are_those_of_the_test_pipeline(steps, color, tmp_path, rng):
    """The model hands its input out, so that logits are pixels; JPEG and PNG of any size."""
    init_default_scope("mmpretrain")
    load = dict(type="LoadImageFromFile")
    if color == "grayscale":
        load["color_type"] = "grayscale"
    pipeline = [load, *steps, dict(type="PackInputs")]
    channels = 1 if color == "grayscale" else 3
    preprocessor = dict(
        type="ClsDataPreprocessor",
        mean=[rng.uniform(90, 130) for _ in range(channels)],
        std=[rng.uniform(40, 70) for _ in range(channels)],
        to_rgb=color == "rgb",
    )
    paths = [
        write_image(tmp_path / f"{i}{rng.choice(['.jpg', '.JPEG', '.png'])}", rng, fixed=not steps)
        for i in range(8)
    ]
    model = toolbox_model(preprocessor)
    transform = Compose(pipeline)
    with torch.no_grad():
        expected = [
            model.data_preprocessor({"inputs": [transform({"img_path": str(p)})["inputs"]]})[
                "inputs"
            ]
            for p in paths
        ]
    shape, classes = expected[0].shape[1:], expected[0].numel()
    model._dataset_meta = {"classes": [f"pixel {i}" for i in range(classes)]}
    deploy.export_classifier(
        nn.Flatten(), torch.randn(2, *shape), tmp_path / "model.pt", image_metadata(pipeline, model)
    )
    result = all_logits(tmp_path / "model.pt", *paths, classes=classes)
    # Versions of OpenCV round a bicubic pixel up or down, so there one step of 256 is allowed.
    step = 1.01 / min(preprocessor["std"]) if "bicubic of cv2" in str(steps_in_words(steps)) else 0
    for path, x in zip(paths, expected, strict=True):
        assert (result[str(path)] - x.flatten()).abs().max() <= step, path


@pytest.mark.parametrize("color_type", ["color", "color_ignore_orientation", "grayscale"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_as_they_do_in_the_test_pipeline(tmp_path, color_type, orientation):
    """A camera notes in a JPEG how it was held."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "image.jpg"
    Image.fromarray(pixels).save(path, exif=exif)
    load = dict(type="LoadImageFromFile", color_type=color_type)
    gray = color_type == "grayscale"
    model = toolbox_model(dict(type="ClsDataPreprocessor", mean=[0.0], std=[1.0], to_rgb=False))
    if not gray:
        settings = dict(mean=[0.0] * 3, std=[1.0] * 3, to_rgb=True)
        model = toolbox_model(dict(type="ClsDataPreprocessor", **settings))
    expected = Compose([load, dict(type="PackInputs")])({"img_path": str(path)})["inputs"].float()
    if not gray:
        expected = expected.flip(0)  # to RGB
    model._dataset_meta = {"classes": list(map(str, range(expected.numel())))}
    texts = image_metadata([load, dict(type="PackInputs")], model)
    example = torch.randn(2, *expected.shape)
    deploy.export_classifier(nn.Flatten(), example, tmp_path / "model.pt", texts)
    (logits,) = all_logits(tmp_path / "model.pt", path, classes=expected.numel()).values()
    assert torch.equal(logits, expected.flatten())


def write_image(path: Path, rng: random.Random, fixed: bool) -> Path:
    """A photograph-like image, of a random size unless it is fixed."""
    height, width = (16, 20) if fixed else (rng.randint(42, 160), rng.randint(42, 160))
    noise = np.random.default_rng(rng.getrandbits(32)).normal(size=(height, width, 3))
    image = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.8, 3))
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    settings = []
    if path.suffix != ".png":
        settings = [cv2.IMWRITE_JPEG_QUALITY, rng.randint(50, 100)]
    assert cv2.imwrite(str(path), image, settings)
    return path


def steps_in_words(steps: list[dict]) -> list[str]:
    """How each step interpolates; EfficientNet's crop is bicubic by default."""
    default = {"EfficientNetCenterCrop": "bicubic"}
    return [
        f"{step.get('interpolation', default.get(step['type'], 'bilinear'))} of "
        f"{step.get('backend', 'cv2')}"
        for step in steps
    ]


def toolbox_model(preprocessor: dict) -> nn.Module:
    """All that image_metadata looks at."""
    from mmpretrain.registry import MODELS

    model = nn.Module()
    model.data_preprocessor = MODELS.build(preprocessor)
    return model


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ([dict(type="LoadImageFromFile"), dict(type="RandomFlip")], "the step RandomFlip"),
        ([dict(type="ResizeEdge", scale=9, edge="thick")], "resize_edge must be of .* got 'thick'"),
        ([dict(type="Resize", scale=(9, -1), keep_ratio=True)], r"Resize with scale=\(9, -1\)"),
        (
            [dict(type="EfficientNetCenterCrop", crop_size=9), dict(type="Resize", scale=9)],
            "in this order",
        ),
        ([dict(type="CenterCrop", crop_size=9, auto_pad=True)], "CenterCrop with auto_pad=True"),
        ([dict(type="LoadImageFromFile", color_type="unchanged")], "color_type='unchanged'"),
        ([dict(type="Resize", scale=9), dict(type="ResizeEdge", scale=9)], "in this order"),
        ([dict(type="CenterCrop", crop_size=9), dict(type="Resize", scale=9)], "in this order"),
        ([dict(type="ResizeEdge", scale=9), dict(type="Resize", scale=9)], "two steps that resize"),
        ([dict(type="Resize", scale=9)] * 2, "in this order"),
    ],
)
def test_a_pipeline_that_does_more_is_refused(pipeline, message):
    model = toolbox_model(dict(type="ClsDataPreprocessor", mean=[0.0] * 3, std=[1.0] * 3))
    model._dataset_meta = {"classes": ["a"]}
    with pytest.raises(ValueError, match=message):
        image_metadata([*pipeline, dict(type="PackInputs")], model)


def test_every_config_can_say_what_it_does():
    for path in sorted(CONFIGS.glob("*_lt/*.py")):
        cfg = Config.fromfile(path)
        views = cfg.model.type == "PaCoClassifier"
        kind = "ViewsDataPreprocessor" if views else "ClsDataPreprocessor"
        model = toolbox_model(dict(type=kind, **cfg.data_preprocessor))
        model._dataset_meta = {"classes": ["a"]}
        texts = image_metadata(cfg.test_dataloader.dataset.pipeline, model)
        assert texts["channels"] in ("RGB", "GRAY"), path


@pytest.mark.parametrize("channels", ["RGB", "GRAY"])
@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"])
def test_every_format_has_the_pixels_of_python(tmp_path, suffix, channels):
    model = pixel_model(tmp_path / "model.pt", channels)
    path = write_noise(tmp_path / f"image{suffix}")
    if channels == "RGB":
        pixels = mmcv.imread(path, channel_order="rgb")
    else:
        pixels = mmcv.imread(path, "grayscale")[..., None]
    logits = all_logits(model, path, classes=pixels.size)[str(path)]
    expected = torch.from_numpy(pixels).permute(2, 0, 1).flatten() / 50
    torch.testing.assert_close(logits, expected)
