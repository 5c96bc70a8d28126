"""paco-classify gives what Python gives, and no file makes it crash."""

import csv
import importlib.util
import json
import os
import pty
import re
import resource
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import mmcv
import numpy as np
import PIL
import pytest
import torch
from helpers.classify import (
    ENVIRONMENT,
    TOOL,
    all_logits,
    classify,
    needs_the_tool,
    pixel_model,
    write_noise,
)
from mmengine.registry import init_default_scope
from PIL import Image
from torch import nn

import paco
from paco import deploy
from paco.image_metadata import image_metadata as texts_of
from paco.mmpretrain import DigitsLT

pytestmark = [needs_the_tool, pytest.mark.once]


def test_the_weights_that_ship_classify_as_recorded():
    name = "paco_resnet32_cifar100-lt-if100"
    images = Path(__file__).parents[1] / "data" / "cifar100"
    run = "from paco._classify_command import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", run, "--json", "--top-k", "1", f"paco://{name}.pt", str(images)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    best = {Path(row["image"]).stem: row["top"][0] for row in rows if "image" in row}
    with (images / f"{name}.csv").open() as file:
        recorded = list(csv.DictReader(file))
    assert len(recorded) == len(best) == 100
    for row in recorded:
        found = best[row["image"]]
        assert found["class"] == row["predicted"], row["image"]
        assert found["probability"] == pytest.approx(float(row["probability"]), abs=2e-3)


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
    metadata = texts_of(data.metainfo["classes"], mean=[mean], std=[std], channels="GRAY")
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
    images = folder / "images" / "3" if batch_size == 1 else folder / "images"
    result = all_logits("--batch-size", batch_size, folder / f"model.{suffix}", images, classes=10)
    assert len(result) == (60 if batch_size == 1 else 600)
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
        program = torch.jit.optimize_for_inference(program.model.eval())
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
    lines = result.stderr.splitlines()
    assert re.fullmatch(r"600 images in [\d.]+ s, \d+ a second", lines[0])  # no progress bar before
    assert lines[1].startswith("top-1 of 600 images in folders of classes: ")


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


@pytest.mark.parametrize("version", ["12", "13", None])
@pytest.mark.parametrize(("height", "width"), [(118, 67), (75, 20), (40, 90), (19, 50)])
def test_pillows_passes_have_the_order_of_the_version_in_the_file(tmp_path, version, height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "image.png")
    orders = {
        "rows first": image.resize((23, height), Image.BICUBIC).resize((23, 19), Image.BICUBIC),
        "columns first": image.resize((width, 19), Image.BICUBIC).resize((23, 19), Image.BICUBIC),
    }
    texts = texts_of(
        list(map(str, range(23 * 19))),
        mean=[0.0],
        std=[1.0],
        channels="GRAY",
        resize=(19, 23),
        resize_backend="pillow",
        interpolation="bicubic",
    )
    assert texts.pop("pillow") == PIL.__version__.split(".")[0]
    if version is not None:
        texts["pillow"] = version
    example = torch.randn(2, 1, 19, 23)
    deploy.export_classifier(nn.Flatten(), example, tmp_path / "model.pt", texts)
    (got,) = all_logits(tmp_path / "model.pt", tmp_path / "image.png", classes=23 * 19).values()
    columns_first = version == "13" and height - 19 > max(0, 2 * (width - 23))
    expected = orders["columns first" if columns_first else "rows first"]
    assert torch.equal(got, torch.from_numpy(np.asarray(expected).flatten()).float())


# ---- Beside the rows -----------------------------------------------------------------------------


def test_names_come_from_the_standard_input(digits):
    folder, _ = digits
    paths = sorted((folder / "images" / "4").iterdir())[:3]
    command = [TOOL, "--json", folder / "model.pt", "-"]
    result = subprocess.run(
        command, input="\n".join(map(str, paths)), capture_output=True, text=True, env=ENVIRONMENT
    )
    assert result.returncode == 0, result.stderr
    images = [json.loads(line)["image"] for line in result.stdout.splitlines()]
    assert images == list(map(str, paths))


def test_the_target_prior_is_added_to_the_logits(digits, tmp_path):
    folder, _ = digits
    prior = torch.arange(10) ** 2.0  # of the first class nothing occurs
    path = sorted((folder / "images" / "7").iterdir())[0]
    plain = all_logits(folder / "model.pt", path, classes=10)[str(path)]
    names = deploy.load(folder / "model.pt")[1]["classes"].split("\n")
    for content in (prior.tolist(), dict(zip(names, prior.tolist(), strict=True))):
        (tmp_path / "prior.json").write_text(json.dumps(content))
        arguments = ("--target-prior", tmp_path / "prior.json", folder / "model.pt", path)
        logits = all_logits(*arguments, classes=10)[str(path)]
        torch.testing.assert_close(logits, plain + (prior / prior.sum()).log())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "is no JSON: "),
        ("3", "should be an object or an array of a number for each of 10 classes"),
        ("[1, 2]", "should be an object or an array of a number for each of 10 classes"),
        ("[1, 1, 1, 1, 1, 1, 1, 1, 1, -1]", "should have a number >= 0 for the class 9, got -1"),
        ("[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]", "has 0 for every class"),
        ('{"0": 1, "0": 2}', "has the class 0 more than once"),
        (f"[{', '.join(['1e999'] * 10)}]", "is no JSON: "),
        ('[1, 1, 1, 1, 1, 1, 1, 1, 1, "x"]', 'for the class 9, got "x"'),
        (json.dumps({c: 1 for c in "012345678x"}), "has no class 9"),
    ],
)
def test_a_bad_target_prior_is_a_sentence(digits, tmp_path, content, message):
    folder, _ = digits
    path = tmp_path / "prior.json"
    if content is not None:
        path.write_text(content)
    image = next((folder / "images" / "0").iterdir())
    errors = classify("--target-prior", path, folder / "model.pt", image, status=2).stderr
    assert f"paco-classify: the target prior {path} " in errors
    assert message in errors


class WithFeatures(nn.Module):
    def __init__(self, width: int = 5, classes: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Tanh())
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.logits_and_features(x)[0]

    def logits_and_features(self, x):
        features = self.body(x)
        return self.head(features), features


@pytest.fixture(scope="module")
def with_features(tmp_path_factory) -> Path:
    """A folder of model.pt and model.pt2."""
    folder = tmp_path_factory.mktemp("features")
    texts = texts_of(list("abc"), mean=[100.0], std=[50.0], channels="GRAY")
    for suffix in ("pt", "pt2"):
        path = folder / f"model.{suffix}"
        deploy.export_classifier(WithFeatures(), torch.randn(2, 1, 8, 8), path, texts)
    return folder


@pytest.mark.parametrize("suffix", ["pt", "pt2"])
def test_features_are_a_numpy_file_with_a_row_for_each_result(with_features, tmp_path, suffix):
    path = with_features / f"model.{suffix}"
    images = [write_noise(tmp_path / f"{i}.png", i) for i in range(70)]
    (tmp_path / "3.png").write_text("no image")
    out = tmp_path / "features.npy"
    result = classify("--json", "--features", out, path, *images, status=1)
    rows = [json.loads(line)["image"] for line in result.stdout.splitlines()]
    assert rows == [str(image) for image in images if image.name != "3.png"]
    pixels = np.stack([cv2.imread(row, cv2.IMREAD_GRAYSCALE) for row in rows])
    model, _ = deploy.load(path)
    _, expected = model.logits_and_features((torch.from_numpy(pixels)[:, None].float() - 100) / 50)
    features = np.load(out)
    assert features.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(features), expected.detach())
    assert [p.name for p in tmp_path.glob("*unfinished*")] == []


def test_features_need_a_file_that_has_them(digits, with_features, tmp_path):
    folder, _ = digits
    image = next((folder / "images" / "0").iterdir())
    out = tmp_path / "features.npy"
    for suffix in ("pt", "pt2"):
        model = folder / f"model.{suffix}"
        errors = classify("--features", out, model, image, status=2).stderr
        assert f"{model} has no pooled features" in errors
        assert "export it again" in errors
    path = with_features / "model.pt"
    nowhere = tmp_path / "nowhere" / "features.npy"
    errors = classify("--features", nowhere, path, image, status=2).stderr
    assert f"the file {nowhere} cannot be written" in errors


def test_a_labelled_folder_gets_a_summary(tmp_path):
    """The model takes an image for the class of its gray value, a tenth of it."""

    class Value(nn.Module):
        def forward(self, x):
            value = x.mean((1, 2, 3)) / 10
            return -((value[:, None] - torch.arange(3.0)) ** 2)

    counts = [500, 50, 5]
    texts = texts_of(
        ["ant", "bee", "cat"], mean=[0.0], std=[1.0], channels="GRAY", class_counts=counts
    )
    deploy.export_classifier(Value(), torch.rand(2, 1, 8, 8) * 20, tmp_path / "model.pt", texts)
    taken_for = {"ant": [0, 0, 0, 1], "bee": [1, 0, 0, 0], "cat": [2, 1]}
    for name, classes in taken_for.items():
        for i, c in enumerate(classes):
            (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
            image = np.full((8, 8), 10 * c, np.uint8)
            cv2.imwrite(str(tmp_path / "images" / name / f"{i}.png"), image)
    errors = classify(tmp_path / "model.pt", tmp_path / "images").stderr.splitlines()
    assert errors[1:] == [
        "top-1 of 10 images in folders of classes: 50.0 %",
        "mean accuracy of the classes:  all 50.0 %  many 75.0 %  medium 25.0 %  few 50.0 %",
        "bee taken for ant: 3 of 4",
        "ant taken for bee: 1 of 4",
        "cat taken for bee: 1 of 2",
    ]
    write_noise(tmp_path / "images" / "dog" / "0.png")
    assert len(classify(tmp_path / "model.pt", tmp_path / "images").stderr.splitlines()) == 1


@pytest.mark.parametrize("suffix", ["pt", "pt2"])
def test_bfloat16_is_for_files_that_can(with_features, tmp_path, suffix):
    path = with_features / f"model.{suffix}"
    image = write_noise(tmp_path / "image.png")
    exact = all_logits(path, image, classes=3)[str(image)]
    arguments = ("--dtype", "bfloat16", path, image)
    if suffix == "pt2":
        errors = classify(*arguments, status=2).stderr
        assert f"{path} was compiled to compute in float32, and is to compute in bfloat16" in errors
        return
    logits = all_logits(*arguments, classes=3)[str(image)]
    assert not torch.equal(logits, exact)
    torch.testing.assert_close(logits, exact, rtol=0.05, atol=0.05)


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
        # Between the records of the archive nothing is read.
        assert result.returncode in (0, 2), result
        if result.returncode == 2:
            assert b"is no classifier that tools/export.py wrote, or it is damaged" in result.stderr
            assert [c for c in result.stderr if c < 0x20] == [ord("\n")]


@pytest.mark.parametrize(("suffix", "record"), [("pt", "/data/"), ("pt2", ".so")])
def test_a_bit_that_changed_is_noticed(digits, tmp_path, suffix, record):
    """PyTorch does not look at the checksums: a bit of a weight changes every logit."""
    folder, _ = digits
    path = tmp_path / f"model.{suffix}"
    shutil.copy(folder / path.name, path)
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if record in entry.filename]
        largest = max(entries, key=lambda entry: entry.file_size)
        content = bytearray(path.read_bytes())
        content[content.index(archive.read(largest)) + largest.file_size // 2] ^= 64
    path.write_bytes(content)
    image = next((folder / "images" / "0").iterdir())
    errors = classify(path, image, status=2).stderr
    assert f"{path} is no classifier" in errors
    assert f"{largest.filename} in it is not what was written" in errors


@pytest.mark.parametrize("length", [28, 30, 32])
def test_a_list_of_records_that_ends_within_one_is_damaged(tmp_path, length):
    """The place in the last entry where the length of its name, its extra field, its comment is."""
    path = pixel_model(tmp_path / "model.pt")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + length + 1] += 1
    path.write_bytes(content)
    errors = classify(path, write_noise(tmp_path / "image.png"), status=2).stderr
    assert f"{path} is no classifier" in errors
    assert "its zip archive is damaged" in errors


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
    metadata = texts_of(list("abc"), mean=[0.0], std=[1.0], channels="GRAY")
    deploy.export_classifier(module, x, path, metadata)
    errors = classify(path, image, status=2).stderr
    assert message + "a batch of 1 gives [1, 10] numbers, and it names 3 classes" in errors
    deploy.export_classifier(module, x, path, metadata | {"mean": "12,x"})
    errors = classify(path, image, status=2).stderr
    assert message + "its mean should be numbers and is '12,x'" in errors
    deploy.export_classifier(module, x, path, metadata | {"mean": "1\x1b[2J\r\x7fλ"})
    errors = classify(path, image, status=2).stderr
    assert message + "its mean should be numbers and is '1?[2J??λ'" in errors

    step = paco.nn.TrainingStep(
        paco.nn.PaCoLoss(alpha=0.1, temperature=0.1),
        paco.nn.FeatureQueue(4, 3),
        paco.nn.ClassCenters(5, 2),
    )
    deploy.export_training_step(step, path)
    assert "operators of libpaco" in classify(path, image, status=2).stderr


def test_an_image_too_narrow_to_be_resized_is_skipped(tmp_path):
    metadata = texts_of(["a", "b"], mean=[0.0], std=[1.0], channels="GRAY", resize=256, crop=(8, 8))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    deploy.export_classifier(model, torch.randn(2, 1, 8, 8), tmp_path / "model.pt", metadata)
    image = tmp_path / "line.png"
    cv2.imwrite(str(image), np.zeros((1, 65500), np.uint8))  # 256 by 16,768,000
    errors = classify(tmp_path / "model.pt", image, status=2).stderr
    assert f"skipped: {image} of 65500 x 1 pixels cannot be resized" in errors


def test_names_with_quotes_and_other_alphabets(tmp_path):
    classes = ['say "a"', "back\\slash", "tab\there", "λ ß", "日本"]
    metadata = texts_of(classes, mean=[0.0], std=[1.0], channels="GRAY")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    deploy.export_classifier(model, torch.randn(2, 1, 8, 8), tmp_path / "model.pt", metadata)
    image = tmp_path / 'an "image".png'
    cv2.imwrite(str(image), np.zeros((8, 8), np.uint8))
    line = json.loads(classify("--json", tmp_path / "model.pt", image).stdout)
    assert line["image"] == str(image)
    assert {entry["class"] for entry in line["top"]} == set(classes)


def load_list_tool():
    """tools/dataset_converters/long_tailed_list.py, which is a script and no module."""
    path = Path(__file__).parents[2] / "tools" / "dataset_converters" / "long_tailed_list.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


# ---- Images that are not what they should be -----------------------------------------------------


def test_a_folders_images_are_those_that_are_listed_for_training(tmp_path, capsys):
    tool = load_list_tool()
    model = pixel_model(tmp_path / "model.pt")
    root = tmp_path / "images"
    seen = [
        write_noise(root / "ant" / f"{i}{suffix}")
        for i, suffix in enumerate(sorted(tool.EXTENSIONS))
    ]
    seen += [write_noise(root / name) for name in ("ant/UPPER.PNG", "ant/x.jpg/y/1.TIFF")]
    for name in (
        *(".ipynb_checkpoints/1.jpg", "__MACOSX/ant/._1.jpg", ".DS_Store"),
        *("ant/.hidden/2.jpg", "ant/._3.jpg", "ant/@eaDir/5.jpg/thumbnail.jpg"),
        *("$RECYCLE.BIN/1.jpg", "System Volume Information/1.jpg", "lost+found/1.jpg"),
        *("ant/notes.txt", "ant/anim.gif"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "ant" / "7.jpg").symlink_to("nowhere.jpg")
    (root / "ant" / "8.jpg").symlink_to("8.jpg")
    (root / "ant" / "again").symlink_to("..", target_is_directory=True)
    (root / "bee").symlink_to(write_noise(tmp_path / "elsewhere" / "9.webp").parent)
    seen.append(root / "bee" / "9.webp")
    os.mkfifo(root / "ant" / "10.jpg")

    result = classify("--json", "--top-k", 1, model, root)
    names = [json.loads(line)["image"] for line in result.stdout.splitlines()]
    assert names == sorted(map(str, seen))
    tool.main([str(root), str(tmp_path / "lists")])
    listed = (tmp_path / "lists" / "train.txt").read_text().splitlines()
    assert sorted(str(root / line.rsplit(" ", 1)[0]) for line in listed) == names

    reasons = result.stderr.splitlines()[1].removeprefix("left out of the folders: ")
    assert reasons == (
        "2 broken links, 9 hidden, 1 links to a folder above, 2 not named like images, 1 pipes, "
        "sockets or devices"
    )
    assert capsys.readouterr().out.splitlines()[1] == f"left out of {root}: {reasons}"


def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    model = pixel_model(tmp_path / "model.pt")
    image = write_noise(tmp_path / "images" / "1.png")
    # Root may read every folder, but no path is longer than 4096 bytes.
    below = os.open(image.parent, os.O_RDONLY)
    for _ in range(17):
        os.mkdir("x" * 250, dir_fd=below)
        folder = below
        below = os.open("x" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
    os.close(below)
    result = classify("--json", "--top-k", 1, model, image.parent, status=1)
    assert json.loads(result.stdout)["image"] == str(image)
    assert re.search(r"skipped: the folder .*/x+ cannot be read: File name too long", result.stderr)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".webp"])
def test_an_image_that_is_cut_off_is_skipped(tmp_path, suffix):
    model = pixel_model(tmp_path / "model.pt")
    whole = write_noise(tmp_path / f"whole{suffix}")
    data = whole.read_bytes()
    cut = []
    for i, size in enumerate([len(data) - 2, len(data) * 9 // 10, len(data) // 2, 30]):
        cut.append(tmp_path / f"cut{i}{suffix}")
        cut[-1].write_bytes(data[:size])
    result = classify("--json", model, whole, *cut, status=1)
    assert [json.loads(line)["image"] for line in result.stdout.splitlines()] == [str(whole)]
    for path in cut:
        assert f"paco-classify: skipped: {path} is " in result.stderr
    assert "OpenCV" not in result.stderr
    if suffix == ".jpg":
        assert f"skipped: {cut[0]} is cut off: the JPEG has no end" in result.stderr
        assert_cut_although_a_thumbnail_is_whole(model, data, tmp_path)


def assert_cut_although_a_thumbnail_is_whole(model: Path, jpeg: bytes, folder: Path) -> None:
    segment = b"Exif\0\0" + jpeg
    with_thumbnail = (
        jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]
    )
    path = folder / "thumbnail.jpg"
    path.write_bytes(with_thumbnail + b"what some cameras append")
    classify(model, path)
    path.write_bytes(with_thumbnail[:-20])
    assert f"{path} is cut off" in classify(model, path, status=2).stderr


@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_a_whole_jpeg_of_every_kind_is_read(tmp_path, settings):
    path = tmp_path / "image.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(pixels).save(path, **settings)
    path.write_bytes(path.read_bytes().replace(b"\xff\xd9", b"\xff\xff\xff\xd9"))  # padding
    classify(pixel_model(tmp_path / "model.pt"), path)


@pytest.mark.parametrize(
    ("name", "frames", "message"),
    [
        ("a.gif", 3, "is a GIF"),
        ("still.gif", 1, "is a GIF"),
        ("a.webp", 3, "is animated"),
        ("a.png", 3, "is animated"),
        ("named.jpg", 3, "is a GIF"),
    ],
)
def test_what_has_frames_to_choose_from_is_refused(tmp_path, name, frames, message):
    path = tmp_path / name
    images = [Image.fromarray(np.full((8, 8), 80 * i, np.uint8)) for i in range(frames)]
    form = "gif" if message == "is a GIF" else None
    images[0].save(path, form, save_all=frames > 1, append_images=images[1:])
    errors = classify(pixel_model(tmp_path / "model.pt"), path, status=2).stderr
    assert f"skipped: {path} {message}" in errors


def test_nothing_is_waited_for(tmp_path):
    model = pixel_model(tmp_path / "model.pt")
    good = write_noise(tmp_path / "good.png")
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    strange = [tmp_path / "pipe.png", tmp_path / "socket", "/dev/zero", "/dev/tty"]
    result = classify("--json", "--top-k", 1, model, good, *strange, status=1)
    assert len(result.stdout.splitlines()) == 1
    for path in strange:
        assert f"skipped: {path} is a pipe, a socket or a device" in result.stderr
    os.mkfifo(tmp_path / "pipe.pt")
    assert "there is no model file" in classify(tmp_path / "pipe.pt", good, status=2).stderr


def test_an_image_with_logits_that_are_not_numbers_is_skipped(tmp_path):
    class Root(nn.Module):  # NaN for dark pixels
        def forward(self, x):
            return (x.flatten(1)[:, :2] + 1.5).sqrt()

    texts = texts_of(["a", "b"], mean=[100.0], std=[50.0], channels="GRAY")
    deploy.export_classifier(Root(), torch.rand(2, 1, 8, 8), tmp_path / "model.pt", texts)
    for name, value in [("dark", 0), ("light", 200)]:
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((8, 8), value, np.uint8))
    result = classify(
        tmp_path / "model.pt", tmp_path / "dark.png", tmp_path / "light.png", status=1
    )
    assert "nan" not in result.stdout
    assert len(result.stdout.splitlines()) == 2
    assert f"skipped: {tmp_path / 'dark.png'} has logits that are NaN" in result.stderr
    assert "1 images in" in result.stderr


# ---- Names ---------------------------------------------------------------------------------------


def test_a_name_that_is_not_utf_8_is_valid_json(tmp_path):
    model = pixel_model(tmp_path / "model.pt", classes=[f"c{i}" for i in range(64)])
    good = write_noise(tmp_path / "names" / "日本é😀.png")
    for name in (b"caf\xe9", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf\xf5", b"\xf4\x90\x80\x80"):
        shutil.copy(good, os.path.join(os.fsencode(good.parent), name + b".png"))
    output = subprocess.run(
        [TOOL, "--json", model, tmp_path / "names"],
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
        check=True,
    ).stdout
    names = [json.loads(line)["image"] for line in output.decode("utf-8").splitlines()]
    assert str(good) in names
    expected = [entry.path for entry in os.scandir(os.fsencode(tmp_path / "names"))]
    assert sorted(map(os.fsencode, names)) == sorted(expected)


def test_control_characters_do_not_reach_the_terminal(tmp_path):
    classes = ["\x1b[31mred", "bell\x07", "\x9b2Jcsi", "del\x7f", "日本"]
    texts = texts_of(classes, mean=[0.0], std=[1.0], channels="GRAY")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    deploy.export_classifier(model, torch.randn(2, 1, 8, 8), tmp_path / "model.pt", texts)
    image = write_noise(tmp_path / "\x1b]0;title\x07.png")
    (tmp_path / "\x1b[2J.png").touch()
    images = (image, tmp_path / "\x1b[2J.png")
    table = classify(tmp_path / "model.pt", *images, status=1)
    lines = classify("--json", tmp_path / "model.pt", *images, status=1)
    missing = classify(tmp_path / "\x1b[2J.pt", image, status=2)
    for text in (table.stdout, table.stderr, lines.stdout, lines.stderr, missing.stderr):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    for name in ("?[31mred", "bell?", "?2Jcsi", "del?", "日本", "?]0;title?.png"):
        assert name in table.stdout
    assert f"skipped: {tmp_path}/?[2J.png is empty" in table.stderr
    line = json.loads(lines.stdout)
    assert {entry["class"] for entry in line["top"]} == set(classes)
    assert line["image"] == str(image)


# ---- Model files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["pt", "pt2"])
def test_color_images_lie_in_memory_as_a_compiled_model_reads_them(tmp_path, suffix):
    """A .pt2 file takes another layout or dtype for other pixels, without a word."""
    model = pixel_model(tmp_path / f"model.{suffix}", "RGB")
    paths = [write_noise(tmp_path / f"{i}.png", seed=i) for i in range(3)]
    for batch_size in (1, 2, 3):
        logits = all_logits("--batch-size", batch_size, model, *paths, classes=192)
        for path in paths:
            pixels = mmcv.imread(path, channel_order="rgb").transpose(2, 0, 1)
            expected = torch.from_numpy(pixels.copy()).flatten() / 50
            torch.testing.assert_close(logits[str(path)], expected)


class Classifier(nn.Module):
    """A convolution, BatchNorm and a function, with weights of a seed."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 3)
        self.function = function

    def forward(self, x):
        return self.head(self.function(self.layers(x)).mean((2, 3)))


def test_a_model_that_pytorch_cannot_optimize_runs_as_exported(tmp_path):
    """MobileNetV3's clamp, which has integer bounds after BatchNorm."""
    x = torch.rand(2, 1, 8, 8)
    model = Classifier(lambda x: x * (x + 3).clamp(0, 6) / 6 + x.clamp(0, 6)).eval()
    texts = texts_of(list("abc"), mean=[0.0], std=[50.0], channels="GRAY")
    with pytest.warns(UserWarning, match="optimize_for_inference fails"):  # or it has been mended
        deploy.export_classifier(model, x, tmp_path / "model.pt", texts)
    path = write_noise(tmp_path / "image.png")
    result = classify("--json", tmp_path / "model.pt", path)
    assert "the model runs as it was exported, which is slower" in result.stderr
    logits = {entry["index"]: entry["logit"] for entry in json.loads(result.stdout)["top"]}
    pixels = torch.from_numpy(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))[None, None] / 50
    with torch.no_grad():
        expected = model(pixels)[0]
    torch.testing.assert_close(torch.tensor([logits[i] for i in range(3)]), expected)


def test_a_model_that_pytorch_optimizes_to_other_logits_runs_as_exported(tmp_path):
    model = Classifier(torch.relu).eval()
    convolution, norm = model.layers
    # BatchNorm takes off what the convolution adds; folded into it, neither rounds.
    nn.init.constant_(convolution.bias, 1e6)
    nn.init.constant_(norm.running_mean, 1e6)
    texts = texts_of(list("abc"), mean=[0.0], std=[50.0], channels="GRAY")
    deploy.export_classifier(model, torch.rand(2, 1, 8, 8), tmp_path / "model.pt", texts)
    errors = classify(tmp_path / "model.pt", write_noise(tmp_path / "image.png")).stderr
    assert "PyTorch cannot optimize it: its logits would change" in errors


@pytest.mark.parametrize("seen", ["the mean", "the first image"])
def test_a_model_that_only_knows_its_batch_is_refused(tmp_path, seen):
    """Tracing bakes a batch's size in; here it makes images depend on others."""

    class Mixed(nn.Module):
        def forward(self, x):
            other = x.mean(0) if seen == "the mean" else x[0]
            return (x - other).flatten(1)[:, :2] * 3 + x.flatten(1)[:, :2]

    texts = texts_of(["a", "b"], mean=[0.0], std=[50.0], channels="GRAY")
    image = write_noise(tmp_path / "image.png")
    path = tmp_path / "model.pt"
    deploy.export_classifier(Mixed(), torch.randn(2, 1, 8, 8), path, texts)
    errors = classify(path, image, status=2).stderr
    assert "gives an image other logits beside a second image than alone" in errors


def test_a_model_of_nan_is_refused(tmp_path):
    path = pixel_model(tmp_path / "model.pt")
    _, texts = deploy.load(path)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64))
    nn.init.constant_(model[1].weight, torch.nan)
    traced = torch.jit.trace(model, torch.randn(2, 1, 8, 8), check_trace=False)
    torch.jit.save(traced, path, _extra_files=texts)
    errors = classify(path, write_noise(tmp_path / "image.png"), status=2).stderr
    assert "its logits are not numbers, but NaN" in errors


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("suffix", ["pt", "pt2"])
@pytest.mark.parametrize(
    ("record", "megabytes", "message"),
    [
        ("extra/classes", 17, "/extra/classes unpacks to 17 MB, and 16 MB is the limit"),
        ("data/aotinductor/model/x_metadata.json", 17, "x_metadata.json unpacks to 17 MB"),
        ("extra/notes", 6000, "/extra/notes unpacks to 6000 MB"),
        ("data/junk", 6000, "unpack to 6"),
        ("version", 300, "unpack to 300 MB and more, which no export does"),
    ],
)
def test_a_file_that_unpacks_to_too_much_is_refused_unpacked(
    tmp_path, suffix, record, megabytes, message
):
    path = tmp_path / f"model.{suffix}"
    pixel_model(tmp_path / "model.pt").rename(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"model/{record}", bytes(17 << 20))
        archive.infolist()[-1].file_size = megabytes << 20  # without the minutes that it takes
    result = subprocess.run(
        [TOOL, path, write_noise(tmp_path / "image.png")],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        # Nor is it unpacked into a file.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
    )
    assert result.returncode == 2
    assert f"{path} is no classifier" in result.stderr
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "MODEL is required"),
        (["model.pt"], "IMAGE|FOLDER is required"),
        (["--threads", "0", "model.pt", "a.png"], "--threads: Value 0 not in range"),
        (["model.pt", "a.png", "--top-k"], "--top-k: 1 required"),
        (["--batch-size", "2x", "model.pt", "a.png"], "--batch-size: Value 2x not in range"),
        (["--verbose", "model.pt", "a.png"], "not expected: --verbose"),
        (["--device", "abacus", "model.pt", "a.png"], "abacus"),
        (["--dtype", "int8", "model.pt", "a.png"], "dtype must be float32 or bfloat16, got int8"),
        (["model.pt", "-"], "the standard input names no image"),
        (["model.pt", "."], "the folder . has no image: .bmp .jpeg .jpg .pgm .png .ppm .tif"),
    ],
)
def test_a_wrong_command_line_is_a_sentence(arguments, message, tmp_path):
    result = subprocess.run(
        [TOOL, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_help_names_every_option():
    text = classify("--help").stdout
    for option in (
        *("--top-k", "--json", "--batch-size", "--threads", "--device", "--dtype"),
        *("--features", "--target-prior", "MODEL", "Exit status"),
    ):
        assert option in text
    assert "Both kinds of file\nhold code" in text
    for suffix in load_list_tool().EXTENSIONS:
        assert suffix in text
