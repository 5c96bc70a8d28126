"""Uses an installed wheel where there is no compiler: python -I use_wheel.py CONSUMERS

Imports, trains two iterations of a recipe, exports, and classifies image files of every kind; from
C++, too, by two programs of examples/cpp that were compiled elsewhere, into the folder CONSUMERS.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

import paco

# Of some 300 images: two iterations.
SHORT = ["train_cfg.max_epochs=1", "train_dataloader.batch_size=256"]


def run(*command: object, **settings) -> None:
    print("+", *command, flush=True)
    subprocess.run([*map(str, command)], check=True, **settings)


def output_of(*command: object, **settings) -> str:
    print("+", *command, flush=True)
    return subprocess.run(
        [*map(str, command)], check=True, stdout=subprocess.PIPE, text=True, **settings
    ).stdout


def classify_files(model: Path, example: Path, linked: dict[str, str]) -> None:
    """Files give the bits that the pixels give which the toolbox's OpenCV makes of them."""
    noise = np.random.default_rng().integers(0, 256, (32, 32, 3), np.uint8)
    paths = [f"noise.{suffix}" for suffix in ("bmp", "jpg", "png", "ppm", "tiff", "webp")]
    for path in paths:
        assert cv2.imwrite(path, noise), path
    classifier = paco.Classifier(model, threads=1)
    expected, _ = classifier.run(np.stack([*map(cv2.imread, paths)]), channels="BGR")
    logits, _ = classifier.run(paths)
    assert np.array_equal(logits, expected), abs(logits - expected).max(axis=1)

    classes = str(len(classifier.classes))
    settings = ["--threads", "1", "--json", "--top-k", classes]
    rows = output_of("paco-classify", *settings, model, *paths).splitlines()
    for row, of_file in zip(map(json.loads, rows), expected, strict=True):
        for entry in row["top"]:
            assert np.float32(entry["logit"]) == of_file[entry["index"]], row["image"]
    for row, best in zip(
        output_of(example, model, *paths, env=linked).splitlines(),
        classifier.classify(paths, top_k=1),
        strict=True,
    ):
        assert row.split()[1] == best[0].name, row


def main() -> None:
    consumers = Path(sys.argv[1])
    compilers = ("cc", "gcc", "c++", "g++", "clang", "nvcc")
    assert not any(map(shutil.which, compilers)), os.environ["PATH"]
    package = Path(paco.__file__).parent
    assert "site-packages" in package.parts, package
    run(sys.executable, "-m", "paco")

    config = package / ".mim" / "configs" / "digits_lt" / "paco_digits_lt.py"
    run("paco-train", config, "--work-dir", "run", "--cfg-options", *SHORT)
    checkpoint = Path("run", "epoch_1.pth")
    run("paco-test", config, checkpoint, "--work-dir", "run")
    export = ["paco-export", config, checkpoint, "--work-dir", "run"]
    run(*export, "--shape", 1, 8, 8)
    run(*export, "--format", "training-step")

    folders = [package / "lib", Path(torch.__file__).parent / "lib"]
    linked = {"LD_LIBRARY_PATH": os.pathsep.join(map(str, folders))}
    run(consumers / "training_step", Path("run", "training_step.pt"), env=linked)
    model = package / "weights" / "paco_resnet32_cifar100-lt-if100.pt"
    classify_files(model, consumers / "classify_images", linked)
    print("the wheel works")


if __name__ == "__main__":
    main()
