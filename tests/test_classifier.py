"""paco.Classifier: the C++ class in Python, whatever form an image has."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.classify import TOOL, needs_the_tool
from torch import nn

import paco
from paco import deploy
from paco.image_metadata import image_metadata

SHAPE = (3, 12, 10)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head = nn.Linear(8, 4)

    def forward(self, images):
        return self.logits_and_features(images)[0]

    def logits_and_features(self, images):
        features = self.body(images)
        return self.head(features), features


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    texts = image_metadata(
        ["ant", "bee", "cat", "dög"],
        mean=[120.0, 110.0, 100.0],
        std=[60.0, 50.0, 40.0],
        channels="RGB",
        class_counts=[50, 20, 7, 2],
    )
    for suffix in ("pt", "pt2"):
        example = torch.randn(2, *SHAPE)
        deploy.export_classifier(Model(), example, folder / f"model.{suffix}", texts)
    for i in range(20):
        write(folder / f"{i:02}.png", i)
    return folder


def write(path: Path, seed: int) -> None:
    shape = (*SHAPE[1:], 3)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def images(files: Path) -> list[Path]:
    return sorted(files.glob("*.png"))


@pytest.mark.parametrize("suffix", ["pt", "pt2"])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_numbers_are_those_of_the_exported_file(files, suffix, threads):
    path = files / f"model.{suffix}"
    classifier = paco.Classifier(path, threads=threads, batch_size=6, features=True)
    logits, features = classifier.run(images(files))
    pixels = np.stack([cv2.imread(str(image))[..., ::-1] for image in images(files)])
    x = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).float()
    x = (x - torch.tensor([120.0, 110, 100])[:, None, None]) / torch.tensor([60.0, 50, 40])[
        :, None, None
    ]
    with torch.no_grad():
        expected = deploy.load(path)[0].logits_and_features(x)
    assert logits.dtype == features.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(logits), expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.from_numpy(features), expected[1], rtol=1e-5, atol=1e-5)
    assert classifier.classes == ["ant", "bee", "cat", "dög"]
    assert classifier.class_counts == [50, 20, 7, 2]
    assert classifier.input_shape == list(SHAPE)
    assert classifier.feature_size == 8
    assert classifier.texts["input_shape"] == "3,12,10"


@needs_the_tool
def test_the_program_gives_the_same_bits(files):
    options = ["--batch-size", "8", "--threads", "2", "--top-k", "4", "--json"]
    command = [TOOL, *options, files / "model.pt", *images(files)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    logits, _ = paco.Classifier(files / "model.pt", batch_size=8, threads=2).run(images(files))
    for line, row in zip(output.splitlines(), logits, strict=True):
        for entry in json.loads(line)["top"]:
            assert np.float32(entry["logit"]) == row[entry["index"]]


def test_every_form_of_an_image_gives_the_same_bits(files):
    classifier = paco.Classifier(files / "model.pt", threads=1)
    path = images(files)[0]
    bgr = cv2.imread(str(path))
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    wide = np.zeros((12, 20, 4), np.uint8)
    wide[:, ::2, :3] = rgb
    (expected,), _ = classifier.run([path])
    forms = {
        "str": str(path),
        "bytes": path.read_bytes(),
        "bytearray": bytearray(path.read_bytes()),
        "memoryview": memoryview(path.read_bytes()),
        "file in an array": np.fromfile(path, np.uint8),
        "rgb": rgb,
        "reversed view": bgr[..., ::-1],
        "upside down twice": np.ascontiguousarray(rgb[::-1])[::-1],
        "planes": planes.transpose(1, 2, 0),
        "strided": wide[:, ::2, :3],
    }
    for name, image in forms.items():
        (logits,), _ = classifier.run([image])
        assert np.array_equal(logits, expected), name
    (logits,), _ = classifier.run([bgr], channels="BGR")
    assert np.array_equal(logits, expected)
    gray = np.ascontiguousarray(rgb[..., 0])
    of_gray, _ = classifier.run([gray, gray[..., None], np.stack([gray] * 3, -1)])
    assert np.array_equal(of_gray, of_gray[[2, 2, 2]])


@pytest.mark.parametrize("shape", [(3,), (10, 3), (12, 1, 3), (12, 1, 1)])
def test_pixels_that_numpy_repeats(files, shape):
    classifier = paco.Classifier(files / "model.pt", threads=1)
    repeated = np.broadcast_to(np.random.randint(0, 256, shape, np.uint8), (12, 10, 3))
    of_repeated, of_copies = classifier.run([repeated, repeated.copy()])[0]
    assert np.array_equal(of_repeated, of_copies)
    # A gray image of one value.
    gray = np.broadcast_to(repeated[0, 0, :1], (12, 10))
    of_repeated, of_copies = classifier.run([gray, gray.copy()])[0]
    assert np.array_equal(of_repeated, of_copies)


def test_images_of_no_size_that_fits(files):
    classifier = paco.Classifier(files / "model.pt")
    tall = np.lib.stride_tricks.as_strided(np.zeros(9, np.uint8), (2**32 + 12, 10, 3), (0, 0, 1))
    with pytest.raises(ValueError, match=r"less than 2\*\*31 rows and columns, got the shape"):
        classifier.run([tall])
    # Its first bytes, as many as 32 bits count, are an image.
    png = images(files)[0].read_bytes()
    large = np.zeros(2**32 + len(png), np.uint8)
    large[: len(png)] = np.frombuffer(png, np.uint8)
    with pytest.raises(ValueError, match="the image is larger than 1 GB"):
        classifier.run([large])
    with pytest.raises(ValueError, match=f"{files} is a folder, and no image file"):
        classifier.run([files])


def test_the_best_classes_are_those_of_the_softmax(files):
    classifier = paco.Classifier(files / "model.pt")
    logits, _ = classifier.run(images(files))
    best = classifier.classify(images(files), top_k=3)
    expected = torch.from_numpy(logits).softmax(1).topk(3)
    for row, values, indices in zip(best, *expected, strict=True):
        assert [p.index for p in row] == indices.tolist()
        assert [p.name for p in row] == [classifier.classes[i] for i in indices]
        assert [p.probability for p in row] == pytest.approx(values.tolist(), abs=1e-6)
    one = classifier.classify(images(files)[3])
    assert [p.index for p in one][:3] == [p.index for p in best[3]]
    assert repr(one[0]).startswith(f"Prediction(name='{one[0].name}', probability=")
    pixels = np.stack([cv2.imread(str(path))[..., ::-1] for path in images(files)])
    assert [[p.index for p in row] for row in classifier.classify(pixels, 3)] == [
        [p.index for p in row] for row in best
    ]


def test_the_target_prior_shifts_the_logits(files):
    prior = [1.0, 2.0, 3.0, 4.0]
    plain, _ = paco.Classifier(files / "model.pt").run(images(files))
    shifted, _ = paco.Classifier(files / "model.pt", target_prior=prior).run(images(files))
    np.testing.assert_allclose(shifted, plain + np.log(np.array(prior) / 10), rtol=1e-5)
    # The network need not be loaded again for another prior, or for none.
    single = paco.Classifier(files / "model.pt", target_prior=[1.0, 0.0, 0.0, 0.0])
    again = single.with_target_prior(prior)
    assert (again.run(images(files))[0] == shifted).all()
    assert (again.with_target_prior([]).run(images(files))[0] == plain).all()
    with pytest.raises(ValueError, match="target_prior must have a number for each of 4 classes"):
        single.with_target_prior([1.0])


def test_loading_takes_no_more_threads_than_it_may(tmp_path):
    """A model is tried out when it is read."""
    texts = image_metadata(["a", "b"], mean=[0.0] * 3, std=[1.0] * 3, channels="RGB")
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Flatten(), nn.Linear(64 * 14 * 14, 2))
    path = tmp_path / "model.pt"
    deploy.export_classifier(model, torch.randn(2, 3, 16, 16), path, texts)
    program = f"""
import os, paco
def threads(): return len(os.listdir("/proc/self/task"))
for count in (1, 2):
    before = threads()
    paco.Classifier("{path}", threads=count)
    print(threads() - before)
"""
    output = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert output.split() == ["0", "1"]


def test_results_stay_when_the_classifier_is_gone(files):
    classifier = paco.Classifier(files / "model.pt")
    kept = []
    classifier.run(images(files), kept.append)
    logits, _ = classifier.run(images(files))
    copy = logits.copy()
    del classifier
    assert logits.flags.writeable and not logits.flags.owndata  # C++'s memory, which Python keeps
    assert np.array_equal(logits, copy)
    np.testing.assert_allclose(np.stack([r.logits for r in kept]), copy, rtol=1e-5, atol=1e-5)
    assert [r.index for r in kept] == list(range(20))


def test_a_list_goes_on_after_a_bad_image_and_ends_when_told(files, tmp_path):
    (tmp_path / "empty.png").touch()
    paths = [images(files)[0], tmp_path / "empty.png", *images(files)[1:]]
    classifier = paco.Classifier(files / "model.pt", threads=2, batch_size=4)
    results = []
    classifier.run(paths, results.append)
    assert [r.index for r in results] == list(range(21))
    assert [r.index for r in results if r.error] == [1]
    assert results[1].error == f"{tmp_path / 'empty.png'} is empty"
    assert results[1].logits.size == 0
    seen = []
    classifier.run(paths, lambda result: seen.append(result.index) or len(seen) < 5)
    assert seen == [0, 1, 2, 3, 4]

    def fail(result):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        classifier.run(paths, fail)
    with pytest.raises(ValueError, match=r"empty\.png is empty"):
        classifier.run(paths)


def test_other_threads_run_while_it_computes(files):
    classifier = paco.Classifier(files / "model.pt", threads=1)
    paths = images(files) * 50
    turns = 0
    done = threading.Event()

    def work():
        classifier.run(paths)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        turns += 1
    thread.join()
    # With the lock held, this loop would stand still but for the start and the end.
    assert turns > 100


def test_many_threads_get_the_same_bits(files):
    classifier = paco.Classifier(files / "model.pt", threads=2, batch_size=4, features=True)
    expected = classifier.run(images(files))
    different = []

    def work():
        for _ in range(5):
            for value, right in zip(classifier.run(images(files)), expected, strict=True):
                if not np.array_equal(value, right):
                    different.append(value)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not different


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("missing.png", r"missing\.png cannot be read: No such file"),
        (b"no image", "the image is not an image that can be read"),
        (np.zeros((4, 5, 3), np.uint8), "the image comes to 5 x 4 pixels, and the model takes"),
        (np.zeros((4, 5, 2), np.uint8), r"must have 1 or 3 channels, got the shape \(4, 5, 2\)"),
        (np.zeros((4, 5, 3), np.float32), "must be an array of uint8 .* got float32"),
        (np.zeros((0, 5, 3), np.uint8), r"must be an array of uint8 .* the shape \(0, 5, 3\)"),
        (np.uint8(3), "must be an array of uint8"),
        (b"", "must be an array of uint8"),
    ],
)
def test_a_bad_image_is_a_value_error(files, image, message):
    with pytest.raises(ValueError, match=message):
        paco.Classifier(files / "model.pt").classify(image)


def test_what_is_no_image_is_a_type_error(files):
    with pytest.raises(TypeError, match=r"an image must be a path, .* got <class 'int'>"):
        paco.Classifier(files / "model.pt").classify(3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": -1}, r"options\.threads must be at least 1, got -1"),
        ({"batch_size": 0}, r"options\.batch_size must be at least 1, got 0"),
        ({"target_prior": [1.0, 2.0]}, "a number for each of 4 classes, got 2"),
        ({"target_prior": [1.0, 2.0, -1.0, 3.0]}, "must be finite, >= 0 .* got -1.* for class 2"),
        ({"target_prior": [0.0] * 4}, "must be finite, >= 0 and not all zero"),
        ({"target_prior": [1.0, 2.0, float("nan"), 3.0]}, "must be finite, >= 0"),
        ({"dtype": "float16"}, "dtype must be float32 or bfloat16, got float16"),
        ({"device": "abacus"}, "abacus"),
        ({"device": "meta"}, "options.device is meta, which PyTorch cannot use here"),
    ],
)
def test_a_bad_option_is_a_value_error(files, options, message):
    with pytest.raises(ValueError, match=message):
        paco.Classifier(files / "model.pt", **options)


def test_a_file_of_an_older_libpaco_says_what_it_lacks(tmp_path):
    texts = image_metadata(["a", "b"], mean=[0.0], std=[1.0], channels="GRAY")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    deploy.export_classifier(model, torch.randn(2, 1, 8, 8), tmp_path / "model.pt", texts)
    paco.Classifier(tmp_path / "model.pt").classify(np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"has no pooled features, .*: export it again"):
        paco.Classifier(tmp_path / "model.pt", features=True)


@pytest.mark.parametrize("suffix", ["pt", "pt2"])
def test_a_file_with_a_target_prior_takes_no_other(tmp_path, suffix):
    """Their logarithms would add up, to a prior of neither."""
    texts = image_metadata(["a", "b"], mean=[0.0], std=[1.0], channels="GRAY")
    texts["target_prior"] = "[0.1, 0.9]"
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    path = tmp_path / f"model.{suffix}"
    deploy.export_classifier(model, torch.randn(2, 1, 8, 8), path, texts)
    assert paco.Classifier(path).texts["target_prior"] == "[0.1, 0.9]"
    with pytest.raises(ValueError, match=f"{path} was exported with a target prior"):
        paco.Classifier(path, target_prior=[1.0, 1.0])
    with pytest.raises(ValueError, match=f"{path} was exported with a target prior"):
        paco.Classifier(path).with_target_prior([1.0, 1.0])


def test_top_k_is_checked(files):
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        paco.Classifier(files / "model.pt").classify(images(files)[0], 0)
