"""paco-classify gives what Python gives, from the pixels on, and no file makes it crash."""

import json
import os
import pty
import random
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from torch import nn

import paco
from paco import deploy
from paco.mmpretrain import DigitsLT, image_metadata

TOOL = Path(paco.__file__).parent / "bin" / "paco-classify"
pytestmark = pytest.mark.skipif(
    # .ci/run installs OpenCV, so there the tool has to be built.
    not TOOL.exists() and "CI" not in os.environ,
    reason="paco-classify was not built: OpenCV's imgcodecs (libopencv-dev) was not found",
)
# One thread, which does not wait for others on a machine that is shared.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def classify(*arguments, status=0) -> subprocess.CompletedProcess:
    result = subprocess.run(
        [TOOL, *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert result.returncode == status, result.stdout + result.stderr
    return result


def all_logits(*arguments, classes: int, status: int = 0) -> dict[str, torch.Tensor]:
    """The logits of every image, by its path."""
    output = classify("--json", "--top-k", classes, *arguments, status=status).stdout
    logits = {}
    for line in map(json.loads, output.splitlines()):
        row = torch.full((classes,), torch.nan)
        for entry in line["top"]:
            row[entry["index"]] = entry["logit"]
        best = [entry["logit"] for entry in line["top"]]
        assert best == sorted(best, reverse=True)
        assert sum(entry["probability"] for entry in line["top"]) == pytest.approx(1, abs=1e-5)
        logits[line["image"]] = row
    return logits


# ---- A trained model on the digits ---------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Test images as PNG files, and what a model says of them in Python."""
    folder = tmp_path_factory.mktemp("digits")
    init_default_scope("mmpretrain")
    data = DigitsLT(split="test", pipeline=[])
    images = [data[i]["img"] for i in range(len(data))]
    for i, image in enumerate(images):
        path = folder / "images" / data.metainfo["classes"][data[i]["gt_label"]] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    labels = torch.tensor([data[i]["gt_label"] for i in range(len(data))])
    x = torch.from_numpy(np.stack(images)).float()[:, None]
    mean, std = 77.8, 95.9
    x = (x - torch.tensor(mean)) / torch.tensor(std)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(15):  # on the test images: this is about agreement
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    metadata = deploy.image_metadata(
        data.metainfo["classes"], mean=[mean], std=[std], channels="GRAY"
    )
    for suffix in ("pt", "pt2"):
        deploy.export_classifier(model, x[:2], folder / f"model.{suffix}", metadata)
    with torch.no_grad():
        logits = model.eval()(x)
    assert (logits.argmax(1) == labels).float().mean() > 0.8
    return folder, logits


@pytest.mark.parametrize("suffix", ["pt", "pt2"])
@pytest.mark.parametrize("batch_size", [1, 64, 1000])
def test_every_image_gets_pythons_logits(digits, suffix, batch_size):
    folder, expected = digits
    result = all_logits(
        "--batch-size", batch_size, folder / f"model.{suffix}", folder / "images", classes=10
    )
    assert len(result) == 600
    order = [int(Path(path).stem) for path in result]
    logits, expected = torch.stack(list(result.values())), expected[order]
    largest = expected.abs().max().item()
    same_file = run_in_python(folder / f"model.{suffix}", list(result), batch_size)
    torch.testing.assert_close(logits, same_file, rtol=0, atol=1e-6 * largest)
    # The model itself may order sums differently: usually 1e-6 as well.
    limit = 5e-6 * largest
    torch.testing.assert_close(logits, expected, rtol=0, atol=limit)
    best = expected.topk(2).values
    decided = best[:, 0] - best[:, 1] > 2 * limit  # all but ties
    assert torch.equal(logits.argmax(1)[decided], expected.argmax(1)[decided])


def run_in_python(model: Path, images: list[str], batch_size: int) -> torch.Tensor:
    """Logits of gray images by an exported file."""
    program, metadata = deploy.load(model)
    if model.suffix == ".pt":
        program = torch.jit.optimize_for_inference(program.eval())
    pixels = np.stack([cv2.imread(image, cv2.IMREAD_GRAYSCALE) for image in images])
    x = (torch.from_numpy(pixels).float()[:, None] - float(metadata["mean"])) / float(
        metadata["std"]
    )
    with torch.no_grad():
        return torch.cat([program(batch) for batch in x.split(batch_size)])


def test_table_names_the_best_classes(digits):
    folder, logits = digits
    paths = sorted((folder / "images" / "3").iterdir())[:4]
    lines = classify("--top-k", 2, folder / "model.pt", *paths).stdout.splitlines()
    assert lines[0].split() == ["image", "top-1", "top-2"]
    assert len({len(line.rstrip()) for line in lines[1:]}) == 1  # columns
    for path, line in zip(paths, lines[1:], strict=True):
        values, classes = logits[int(path.stem)].softmax(0).topk(2)
        image, first, percent, sign, second, other_percent, other_sign = line.split()
        assert (image, sign, other_sign) == (str(path), "%", "%")
        assert [int(first), int(second)] == classes.tolist()
        assert [float(percent), float(other_percent)] == pytest.approx(
            (100 * values).tolist(), abs=0.06
        )


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_and_throughput(digits, threads):
    folder, _ = digits
    result = classify("--threads", threads, folder / "model.pt", folder / "images")
    assert len(result.stdout.splitlines()) == 601
    assert result.stderr.startswith("600 images in ")
    assert "a second (reading " in result.stderr
    assert len(result.stderr.splitlines()) == 1  # no progress bar in a file


def test_progress_bar_on_a_terminal(digits):
    folder, _ = digits
    here, there = pty.openpty()
    command = [TOOL, "--batch-size", "50", folder / "model.pt", folder / "images"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=there, env=ENVIRONMENT
    ) as process:
        os.close(there)
        table = process.stdout.read()
    terminal = b""
    while chunk := read_terminal(here):
        terminal += chunk
    assert len(table.splitlines()) == 601
    bars = [line for line in terminal.split(b"\r\x1b[K") if line.startswith(b"[")]
    assert [bar.split()[1] for bar in bars] == [b"%d/600" % n for n in range(50, 601, 50)]
    assert bars[5].startswith(b"[" + b"#" * 20 + b"." * 20 + b"]")


def read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other side is closed
        return b""


# ---- The pixels ----------------------------------------------------------------------------------

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
    for path, x in zip(paths, expected, strict=True):
        assert torch.equal(result[str(path)], x.flatten()), path


def write_image(path: Path, rng: random.Random, fixed: bool) -> Path:
    """A photograph-like image, of a random size unless it is fixed."""
    # Never twice as tall as wide, where Pillow 13 rounds in another order: see pillow.h.
    height, width = (16, 20) if fixed else (rng.randint(42, 80), rng.randint(42, 160))
    noise = np.random.default_rng(rng.getrandbits(32)).normal(size=(height, width, 3))
    image = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.8, 3))
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    settings = []
    if path.suffix != ".png":
        settings = [cv2.IMWRITE_JPEG_QUALITY, rng.randint(50, 100)]
    assert cv2.imwrite(str(path), image, settings)
    return path


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
        ([dict(type="ResizeEdge", scale=9, edge="long")], "ResizeEdge with edge='long'"),
        ([dict(type="Resize", scale=9, keep_ratio=True)], "Resize with keep_ratio=True"),
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
    for path in sorted((Path(__file__).parents[2] / "configs").glob("*_lt/*.py")):
        cfg = Config.fromfile(path)
        model = toolbox_model(dict(type="ClsDataPreprocessor", **cfg.data_preprocessor))
        model._dataset_meta = {"classes": ["a"]}
        texts = image_metadata(cfg.test_dataloader.dataset.pipeline, model)
        assert texts["channels"] in ("RGB", "GRAY"), path


# ---- Files that are not what they should be ------------------------------------------------------


def test_unreadable_images_are_reported_and_skipped(digits, tmp_path):
    folder, logits = digits
    good = sorted((folder / "images" / "0").iterdir())[:2]
    text = tmp_path / "text.png"
    text.write_text("no image")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    large = tmp_path / "large.png"
    cv2.imwrite(str(large), np.zeros((9, 8), np.uint8))
    missing = tmp_path / "missing.png"
    bad = [text, empty, large, missing]
    for batch_size in (1, 3, 10):
        images = [text, good[0], empty, large, good[1], missing]
        command = ("--batch-size", batch_size, folder / "model.pt", *images)
        result = all_logits(*command, classes=10, status=1)
        assert list(result) == list(map(str, good))
        for path in good:
            assert result[str(path)].argmax() == logits[int(path.stem)].argmax()
        errors = classify(*command, status=1).stderr
        for path in bad:
            assert f"skipped: {path} " in errors
        assert "comes to 8 x 9 pixels, and the model takes 8 x 8 pixels" in errors
        assert "2 images in" in errors
    assert "no image could be classified" in classify(folder / "model.pt", *bad, status=2).stderr


def test_a_damaged_model_is_a_sentence(digits, tmp_path, rng):
    folder, _ = digits
    whole = (folder / "model.pt").read_bytes()
    image = next((folder / "images" / "0").iterdir())
    path = tmp_path / "model.pt"
    for _ in range(12):
        damaged = bytearray(whole)
        if rng.random() < 0.3:
            del damaged[rng.randrange(len(whole)) :]
        else:
            for _ in range(rng.choice([1, 10, 1000])):
                damaged[rng.randrange(len(whole))] = rng.randrange(256)
        path.write_bytes(damaged)
        result = subprocess.run([TOOL, path, image], capture_output=True, env=ENVIRONMENT)
        # Bits of a weight may change without a trace.
        assert result.returncode in (0, 2), result
        if result.returncode == 2:
            assert b"is no classifier that tools/export.py wrote, or it is damaged" in result.stderr
            assert [c for c in result.stderr if c < 0x20] == [ord("\n")]


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_a_foreign_model_is_a_sentence(digits, tmp_path, suffix):
    folder, _ = digits
    image = next((folder / "images" / "0").iterdir())
    path = tmp_path / f"model{suffix}"
    assert "there is no model file" in classify(path, image, status=2).stderr
    path.write_text("no model")
    message = f"{path} is no classifier that tools/export.py wrote, or it is damaged: "
    assert message in classify(path, image, status=2).stderr
    if suffix == ".pt2":
        return

    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    x = torch.randn(2, 1, 8, 8)
    deploy.export_classifier(module, x, path)
    assert message + "it does not say how to preprocess" in classify(path, image, status=2).stderr
    metadata = deploy.image_metadata(list("abc"), mean=[0.0], std=[1.0], channels="GRAY")
    deploy.export_classifier(module, x, path, metadata)
    errors = classify(path, image, status=2).stderr
    assert message + "two images give [2, 10] numbers, and it names 3 classes" in errors
    deploy.export_classifier(module, x, path, metadata | {"mean": "12,x"})
    errors = classify(path, image, status=2).stderr
    assert message + "its mean should be numbers and is '12,x'" in errors
    deploy.export_classifier(module, x, path, metadata | {"mean": "1\x1b[2J\r\x7fλ"})
    errors = classify(path, image, status=2).stderr
    assert message + "its mean should be numbers and is '1?[2J??λ'" in errors

    step = deploy.TrainingStep(
        paco.nn.PaCoLoss(alpha=0.1, temperature=0.1),
        paco.nn.FeatureQueue(4, 3),
        paco.nn.ClassCenters(5, 2),
    )
    deploy.export_training_step(step, path)
    assert "operators of libpaco" in classify(path, image, status=2).stderr


def test_an_image_too_narrow_to_be_resized_is_skipped(tmp_path):
    metadata = deploy.image_metadata(
        ["a", "b"], mean=[0.0], std=[1.0], channels="GRAY", resize=256, crop=(8, 8)
    )
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    deploy.export_classifier(model, torch.randn(2, 1, 8, 8), tmp_path / "model.pt", metadata)
    image = tmp_path / "line.png"
    cv2.imwrite(str(image), np.zeros((1, 65500), np.uint8))  # 256 by 16,768,000
    errors = classify(tmp_path / "model.pt", image, status=2).stderr
    assert f"skipped: {image} of 65500 x 1 pixels cannot be resized" in errors


def test_names_with_quotes_and_other_alphabets(tmp_path):
    classes = ['say "a"', "back\\slash", "tab\there", "λ ß", "日本"]
    metadata = deploy.image_metadata(classes, mean=[0.0], std=[1.0], channels="GRAY")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    deploy.export_classifier(model, torch.randn(2, 1, 8, 8), tmp_path / "model.pt", metadata)
    image = tmp_path / 'an "image".png'
    cv2.imwrite(str(image), np.zeros((8, 8), np.uint8))
    line = json.loads(classify("--json", tmp_path / "model.pt", image).stdout)
    assert line["image"] == str(image)
    assert {entry["class"] for entry in line["top"]} == set(classes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a model and at least one image are needed"),
        (["model.pt"], "a model and at least one image are needed"),
        (
            ["--threads", "0", "model.pt", "a.png"],
            "--threads takes a number of at least 1",
        ),
        (["model.pt", "a.png", "--top-k"], "--top-k takes a number"),
        (["--batch-size", "2x", "model.pt", "a.png"], "got '2x'"),
        (["--verbose", "model.pt", "a.png"], "there is no option --verbose"),
        (["model.pt", "."], "has no .jpg, .jpeg or .png file"),
    ],
)
def test_a_wrong_command_line_is_a_sentence(arguments, message, tmp_path):
    result = subprocess.run(
        [TOOL, *arguments], cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_help_names_every_option():
    text = classify("--help").stdout
    for option in ("--top-k", "--json", "--batch-size", "--threads", "MODEL", "Exit status"):
        assert option in text
