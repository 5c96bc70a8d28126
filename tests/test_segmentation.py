"""Segmentors in files: TorchScript and .pt2, of any size, and the example that colours an image."""

import math
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import paco.segmentation
from paco import deploy
from paco.segmentation import export_segmentor, image_metadata

EXAMPLES = Path(__file__).parents[1] / "examples" / "cpp"
CLASSES = ["sky", "road", "tree"]
PALETTE = [[70, 130, 180], [128, 64, 128], [107, 142, 35]]


class Segmentor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1)
        )
        self.classify = nn.Conv2d(8, len(CLASSES), 1, bias=False)
        nn.init.orthogonal_(self.classify.weight)  # so that every class has pixels
        with torch.no_grad():  # of logits around 0
            self.down[-1].bias.zero_()
            self.down[-1].weight -= self.down[-1].weight.mean((1, 2, 3), keepdim=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.down(images)
        pooled = nn.functional.adaptive_avg_pool2d(x, 3)
        x = x + nn.functional.interpolate(pooled, size=x.shape[2:], mode="bilinear")
        logits = self.classify(x)
        return nn.functional.interpolate(logits, size=images.shape[2:], mode="bilinear")


class OfOneSize(Segmentor):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        h, w = int(images.size(2)), int(images.size(3))
        return super().forward(images) + torch.arange(h * w).view(h, w)


def texts() -> dict[str, str]:
    return image_metadata(CLASSES, PALETTE, mean=[90, 100, 110], std=[50, 60, 70])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A segmentor, and the folder of its two files."""
    model = Segmentor().train()
    folder = tmp_path_factory.mktemp("exported")
    for suffix in ("pt", "pt2"):
        path = folder / f"segmentor.{suffix}"
        assert export_segmentor(model, torch.randn(1, 3, 64, 96), path, texts()) < 1e-5
        assert model.training
    return model.eval(), folder


@pytest.mark.parametrize("suffix", ["pt", "pt2"])
def test_a_file_takes_images_of_any_number_and_size(exported, suffix):
    model, folder = exported
    path = folder / f"segmentor.{suffix}"
    written, kept = deploy.load(path)
    assert kept["classes"].split("\n") == CLASSES
    assert kept["palette"].split("\n") == ["70,130,180", "128,64,128", "107,142,35"]
    assert kept["input_size"] == "any"
    assert kept["size_divisor"] == {"pt": "1", "pt2": "32"}[suffix]
    for shape in ((1, 3, 64, 64), (3, 3, 160, 96), (2, 3, 96, 224)):
        images = torch.randn(shape)
        torch.testing.assert_close(written(images), model(images), rtol=1e-4, atol=1e-5)
    if suffix == "pt":
        images = torch.randn(1, 3, 37, 61)
        assert torch.equal(written(images), model(images))


@pytest.mark.parametrize("suffix", ["pt", "pt2"])
def test_a_file_refuses_images_that_it_was_not_made_for(exported, suffix):
    written, _ = deploy.load(exported[1] / f"segmentor.{suffix}")
    for images in (
        torch.randn(1, 4, 64, 96),
        torch.randn(3, 64, 96),
        torch.ones(1, 3, 64, 96).long(),
    ):
        with pytest.raises(ValueError, match=r"takes float32 images \[N, 3, H, W\] with H "):
            written(images)
    if suffix == "pt2":
        for shape in ((1, 3, 64, 95), (1, 3, 32, 96)):
            with pytest.raises(ValueError, match=r"W a multiple of 32, at least 64, got \[1, 3, "):
                written(torch.randn(shape))
    else:
        with pytest.raises(ValueError, match="with H at least 2 and W at least 2, got"):
            written(torch.randn(1, 3, 1, 96))


def test_a_network_of_one_size_says_so(tmp_path):
    path = tmp_path / "segmentor.pt"
    example = torch.randn(1, 3, 64, 96)
    with pytest.raises(RuntimeError, match="any_size=False exports it for the example's size"):
        export_segmentor(OfOneSize(), example, path)
    assert list(tmp_path.iterdir()) == []
    export_segmentor(OfOneSize(), example, path, any_size=False)
    written, texts = deploy.load(path)
    assert texts["input_size"] == "64,96"
    assert written(example).shape == (1, 3, 64, 96)
    with pytest.raises(ValueError, match=r"with H 64 and W 96, got \[1, 3, 96, 64\]"):
        written(torch.randn(1, 3, 96, 64))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("a.onnx", (1, 3, 64, 96), "path must end in .pt or .pt2, got .*a.onnx"),
        ("a.pt", (1, 3, 64, 64), r"and different for any_size.*\[1, 3, 64, 64\]"),
        ("a.pt", (1, 3, 64, 90), r"multiples of 32, at least 64.*got float32 \[1, 3, 64, 90\]"),
        ("a.pt", (0, 3, 64, 96), r"got float32 \[0, 3, 64, 96\]"),
    ],
)
def test_a_bad_export_is_an_error(tmp_path, name, shape, message):
    with pytest.raises(ValueError, match=f"export_segmentor: .*{message}"):
        export_segmentor(Segmentor(), torch.randn(shape), tmp_path / name)


def test_a_divisor_of_none_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="size_divisor must be at least 1, got 0"):
        export_segmentor(Segmentor(), torch.randn(1, 3, 64, 96), tmp_path / "a.pt", size_divisor=0)


def test_logits_that_label_no_pixels_are_an_error(tmp_path):
    example, path = torch.randn(1, 3, 64, 96), tmp_path / "a.pt"
    with pytest.raises(
        ValueError, match=r"logits of the images' size \[64, 96\].*\[2, 8, 16, 24\]"
    ):
        export_segmentor(Segmentor().down, example, path)
    two_classes = image_metadata(CLASSES[:2], PALETTE[:2], mean=[0, 0, 0], std=[1, 1, 1])
    with pytest.raises(ValueError, match=r"must name the 3 classes of .* logits, got 2 names"):
        export_segmentor(Segmentor(), example, path, two_classes)
    diverged = Segmentor()
    diverged.down[1].weight.data[0] = torch.nan
    with pytest.raises(ValueError, match="must give finite logits, got NaN"):
        export_segmentor(diverged, example, path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(palette=PALETTE[:2]), "palette must have three numbers in 0..255 for each of 3"),
        (dict(palette=[*PALETTE[:2], [0, 256, 0]]), r"in 0..255 for each .* \[0, 256, 0\]"),
        (dict(mean=[1.0]), r"mean and std must have three finite numbers, std > 0, got \[1.0\]"),
        (dict(mean=[0, math.inf, 0]), r"three finite numbers, .* \[0, inf, 0\]"),
        (dict(std=[1, 0, 1]), "std > 0"),
        (dict(channels="GRAY"), "channels must be RGB or BGR, got GRAY"),
        (dict(classes=["a", "b\n", "c"]), "no line break"),
    ],
)
def test_bad_metadata_is_an_error(change, message):
    good = dict(classes=CLASSES, palette=PALETTE, mean=[1, 2, 3], std=[1, 2, 3])
    with pytest.raises(ValueError, match=f"image_metadata: .*{message}"):
        image_metadata(**{**good, **change})


# ---- The example in C++ --------------------------------------------------------------------------


def run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


@pytest.fixture(scope="module")
def segment(tmp_path_factory):
    if not Path("/usr/include/opencv4").exists():
        assert "CI" not in os.environ
        pytest.skip("examples/cpp/segment.cpp needs libopencv-dev")
    build = tmp_path_factory.mktemp("build")
    scripts = sysconfig.get_path("scripts")
    cmake = shutil.which("cmake", path=os.pathsep.join([scripts, os.environ["PATH"]]))
    prefixes = f"{Path(paco.__file__).parent};{torch.utils.cmake_prefix_path}"
    for command in (
        [cmake, "-S", EXAMPLES, "-B", build, f"-DCMAKE_PREFIX_PATH={prefixes}"],
        [cmake, "--build", build, "--target", "segment"],
    ):
        result = run(*command)
        assert result.returncode == 0, result.stdout + result.stderr
    return build / "segment"


@pytest.mark.parametrize(("suffix", "size"), [("pt", (61, 83)), ("pt2", (96, 64))])
def test_labels_of_cpp_are_python_s_on_every_pixel(exported, tmp_path, segment, suffix, size):
    model, folder = exported
    pixels = np.random.randint(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    result = run(
        segment, folder / f"segmentor.{suffix}", tmp_path / "image.png", tmp_path / "mask.png",
        tmp_path / "labels.png",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    rgb = torch.from_numpy(pixels).float()
    images = ((rgb - torch.tensor([90.0, 100, 110])) / torch.tensor([50.0, 60, 70])).permute(
        2, 0, 1
    )
    with torch.no_grad():
        expected = model(images[None]).argmax(1)[0].numpy()
    assert len(np.unique(expected)) > 1
    assert np.array_equal(np.asarray(Image.open(tmp_path / "labels.png")), expected)
    mask = np.asarray(Image.open(tmp_path / "mask.png"))
    assert np.array_equal(mask, np.array(PALETTE, np.uint8)[expected])


def test_the_example_says_what_is_wrong(tmp_path, segment):
    export_segmentor(
        OfOneSize(), torch.randn(1, 3, 64, 96), tmp_path / "s.pt", texts(), any_size=False
    )
    Image.new("RGB", (64, 96)).save(tmp_path / "image.png")
    result = run(segment, tmp_path / "s.pt", tmp_path / "image.png", tmp_path / "mask.png")
    assert result.returncode == 1
    assert "takes images of 64,96, got 96,64" in result.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paco.segmentation, "_takes_odd_sizes", lambda *_: False)
        export_segmentor(Segmentor(), torch.randn(1, 3, 64, 96), tmp_path / "32.pt", texts())
    Image.new("RGB", (65, 96)).save(tmp_path / "odd.png")
    result = run(segment, tmp_path / "32.pt", tmp_path / "odd.png", tmp_path / "mask.png")
    assert "multiples of 32, two of it at least, got 96,65" in result.stderr
    gray = nn.Conv2d(1, len(CLASSES), 1)
    export_segmentor(gray, torch.randn(1, 1, 64, 96), tmp_path / "gray.pt", texts())
    result = run(segment, tmp_path / "gray.pt", tmp_path / "image.png", tmp_path / "mask.png")
    assert f"takes images of 1 channels, got 3: {tmp_path / 'image.png'}" in result.stderr
    result = run(segment, tmp_path / "s.pt", tmp_path / "none.png", tmp_path / "mask.png")
    assert result.stderr.endswith(f"segment: cannot read {tmp_path / 'none.png'}\n")
    assert run(segment).returncode == 2


def test_adaptive_pools_as_products_are_pytorch_s():
    for height, width, *output_size in ((2, 3, 6, 6), (7, 5, 3, 3), (13, 20, 2, 5), (4, 4, 1, 1)):
        images = torch.randn(2, 3, height, width, dtype=torch.float64)
        torch.testing.assert_close(
            paco.segmentation._adaptive_avg_pool2d(images, output_size),
            nn.functional.adaptive_avg_pool2d(images, output_size),
        )
