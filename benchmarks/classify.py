"""From image files to logits: libpaco_classify, the toolbox's inferencer and onnxruntime.

    python benchmarks/classify.py

Images a second from JPEG files of 500 x 375 pixels with ResNet-50, and from PNG files of 32 x 32
with ResNet-32; the seconds from the model's file to the first result; and the memory of
paco-classify over 100,000 images. The networks are those of the configs with random weights, which
take the same time. Nothing is timed before all candidates give the same logits. Needs the toolbox
and OpenCV.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

# First, because it mends the toolbox's imports where that is needed.
import paco.mmpretrain

# isort: split
import cv2
import numpy as np
import onnxruntime
import torch
from harness import base_parser, interleave, machine, write_csv
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpretrain import ImageClassificationInferencer, get_model

from paco import deploy
from paco.mmpretrain import InferenceClassifier, compat, image_metadata

# A config, the shape of its input, the images' suffix, and their height and width.
MODELS = {
    "resnet32": ("configs/cifar100_lt/paco_if100.py", (3, 32, 32), ".png", (32, 32)),
    "resnet50": ("configs/imagenet_lt/paco_r50.py", (3, 224, 224), ".jpg", (375, 500)),
}
LOAD = dict(type="LoadImageFromFile")
BATCH = 64


class Setting:
    """A network's exports and images, and the candidates that classify them."""

    def __init__(self, name: str, folder: Path, images: int) -> None:
        config, shape, suffix, size = MODELS[name]
        cfg = Config.fromfile(config)
        pipeline = [step for step in cfg.test_dataloader.dataset.pipeline if step != LOAD]
        self.pipeline = [LOAD, *pipeline]
        # CIFAR's images come from the data set as RGB, where files are BGR.
        cfg.data_preprocessor.to_rgb = True
        cfg.test_dataloader.dataset.pipeline = self.pipeline
        self.cfg = cfg
        self.model = get_model(cfg).eval()
        classes = [f"class {i}" for i in range(len(self.model.head.centers.weight))]
        compat.set_dataset_meta(self.model, {"classes": classes})
        self.checkpoint = folder / f"{name}.pth"
        torch.save({"state_dict": self.model.state_dict(), "meta": {}}, self.checkpoint)
        texts = image_metadata(self.pipeline, self.model)
        self.files = {suffix: folder / f"{name}.{suffix}" for suffix in ("pt", "onnx")}
        for file in self.files.values():
            example = torch.randn(2, *shape)
            deploy.export_classifier(InferenceClassifier(self.model), example, file, texts)
        generator = np.random.default_rng(0)
        self.paths = []
        for i in range(images):
            noise = generator.integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 3), np.uint8)
            self.paths.append(str(folder / f"{name}-{i}{suffix}"))
            cv2.imwrite(self.paths[-1], cv2.resize(noise, size[::-1]))

    def library(self, threads: int) -> Callable[[list[str]], np.ndarray]:
        classifier = paco.Classifier(self.files["pt"], threads=threads, batch_size=BATCH)
        return lambda paths: classifier.run(paths)[0]

    def inferencer(self, threads: int) -> Callable[[list[str]], np.ndarray]:
        torch.set_num_threads(threads)
        inferencer = ImageClassificationInferencer(self.cfg, str(self.checkpoint), device="cpu")

        def classify(paths: list[str]) -> np.ndarray:
            results = inferencer(paths, batch_size=min(BATCH, len(paths)))
            return np.stack([result["pred_scores"] for result in results])

        return classify

    def onnx(self, threads: int) -> Callable[[list[str]], np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(
            self.files["onnx"], options, providers=["CPUExecutionProvider"]
        )
        init_default_scope("mmpretrain")
        transform = Compose(self.pipeline)

        def classify(paths: list[str]) -> np.ndarray:
            logits = []
            for i in range(0, len(paths), BATCH):
                samples = [transform({"img_path": path}) for path in paths[i : i + BATCH]]
                data = {"inputs": [sample["inputs"] for sample in samples]}
                images = self.model.data_preprocessor(data)["inputs"]
                logits.append(session.run(["logits"], {"images": images.numpy()})[0])
            return np.concatenate(logits)

        return classify


def softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(1).numpy()


def require_same(results: dict[str, np.ndarray]) -> None:
    for name, scores in results.items():
        difference = np.abs(scores - results["inferencer"]).max()
        if not difference < 1e-4:
            raise RuntimeError(f"the probabilities of {name} differ by {difference:g}")


def measure(setting: Setting, name: str, threads: int, turns: int) -> list[dict[str, Any]]:
    makers = {
        "libpaco_classify": setting.library,
        "inferencer": setting.inferencer,
        "onnxruntime": setting.onnx,
    }
    firsts = {
        candidate: lambda make=make: make(threads)(setting.paths[:1])
        for candidate, make in makers.items()
    }
    first = interleave(firsts, turns)
    candidates, results = {}, {}
    for candidate, make in makers.items():
        candidates[candidate] = call = make(threads)
        scores = call(setting.paths)
        results[candidate] = scores if candidate == "inferencer" else softmax(scores)
    require_same(results)
    rows = []
    for images, repetitions in ((1, 10 * turns), (len(setting.paths), turns)):
        calls = {
            candidate: lambda call=call, images=images: call(setting.paths[:images])
            for candidate, call in candidates.items()
        }
        for candidate, timing in interleave(calls, repetitions).items():
            rows.append(
                {
                    "model": name,
                    "threads": threads,
                    "candidate": candidate,
                    "images": images,
                    **asdict(timing),
                    "images_per_second": 1e3 * images / timing.median_ms,
                    "first_image_seconds": first[candidate].median_ms / 1e3,
                    "first_image_seconds_min": first[candidate].min_ms / 1e3,
                }
            )
    return rows


def memory(setting: Setting, images: int) -> list[float]:
    """Megabytes that paco-classify has at each tenth of a list of images."""
    program = Path(paco.__file__).parent / "bin" / "paco-classify"
    names = "\n".join(setting.paths[i % len(setting.paths)] for i in range(images))
    command = [program, "--json", "--top-k", "1", setting.files["pt"], "-"]
    with (
        tempfile.TemporaryFile("w+") as file,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True
        ) as process,
    ):
        process.stdin.write(names)
        process.stdin.close()
        sizes = []
        for i, _ in enumerate(process.stdout, 1):
            if i % (images // 10) == 0 and i < images:
                status = Path(f"/proc/{process.pid}/status").read_text()
                sizes.append(int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024)
    return sizes


def main() -> None:
    parser = base_parser(__doc__.splitlines()[0], "classify")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--images", type=int, nargs=2, default=[1000, 64], help="of each model")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--memory-images", type=int, default=100_000)
    options = parser.parse_args()
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    print(machine())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, images in zip(MODELS, options.images, strict=True):
            if name not in options.models:
                continue
            setting = Setting(name, Path(folder), images)
            for threads in options.threads:
                for row in measure(setting, name, threads, options.turns):
                    rows.append(row)
                    print(
                        f"{name:9}{threads:2} threads {row['images']:5} images "
                        f"{row['candidate']:17}{row['images_per_second']:9.1f} a second, first "
                        f"after {row['first_image_seconds']:5.2f} s, at least "
                        f"{row['first_image_seconds_min']:5.2f} s",
                        flush=True,
                    )
            if name == "resnet32" and options.memory_images:
                sizes = memory(setting, options.memory_images)
                print("paco-classify, MB at each tenth:", *(f"{size:.0f}" for size in sizes))
    write_csv(options.csv, rows)
    print(f"wrote {options.csv}")


if __name__ == "__main__":
    main()
