"""Tests an ImageNet model on ImageNet-C, ImageNet-R and ImageNet-Sketch, where they are given.

    python tools/robustness.py CONFIG CHECKPOINT [--imagenet-c DIR] [--imagenet-r DIR]
        [--imagenet-s DIR] [--work-dir DIR]

DIR/<corruption>/<1 to 5>/<class>/* for ImageNet-C, DIR/<class>/* for the others, as they are
published. Images go through the config's test pipeline. Printed are, in percent:

    mean error   of ImageNet-C's corruptions, each over its severities (GPaCo's table calls it mCE)
    mCE          their mean relative to AlexNet's (Hendrycks and Dietterich, ICLR 2019; GPaCo's
                 table calls it rel. mCE)
    top-1        of ImageNet-R, among its 200 classes, and of ImageNet-Sketch
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from paco.tools import command_line  # first: it mends the toolbox's imports

# isort: split
import torch
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner, TestLoop

from paco.mmpretrain import StrictLoadingHook

# AlexNet's errors, over the severities of each corruption; from the authors of ImageNet-C.
ALEXNET_ERRORS = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
SEVERITIES = range(1, 6)

# The classes of ImageNet-R among ImageNet's 1,000, in the order of their folders in both.
# fmt: off
IMAGENET_R_CLASSES = [
    1, 2, 4, 6, 8, 9, 11, 13, 22, 23, 26, 29, 31, 39, 47, 63, 71, 76, 79, 84, 90, 94, 96, 97,
    99, 100, 105, 107, 113, 122, 125, 130, 132, 144, 145, 147, 148, 150, 151, 155, 160, 161,
    162, 163, 171, 172, 178, 187, 195, 199, 203, 207, 208, 219, 231, 232, 234, 235, 242, 245,
    247, 250, 251, 254, 259, 260, 263, 265, 267, 269, 276, 277, 281, 288, 289, 291, 292, 293,
    296, 299, 301, 308, 309, 310, 311, 314, 315, 319, 323, 327, 330, 334, 335, 337, 338, 340,
    341, 344, 347, 353, 355, 361, 362, 365, 366, 367, 368, 372, 388, 390, 393, 397, 401, 407,
    413, 414, 425, 428, 430, 435, 437, 441, 447, 448, 457, 462, 463, 469, 470, 471, 472, 476,
    483, 487, 515, 546, 555, 558, 570, 579, 583, 587, 593, 594, 596, 609, 613, 617, 621, 629,
    637, 657, 658, 701, 717, 724, 763, 768, 774, 776, 779, 780, 787, 805, 812, 815, 820, 824,
    833, 847, 852, 866, 875, 883, 889, 895, 907, 928, 931, 932, 933, 934, 936, 937, 943, 945,
    947, 948, 949, 951, 953, 954, 957, 963, 965, 967, 980, 981, 983, 988,
]
# fmt: on


class Top1(BaseMetric):
    """Top-1 accuracy in percent, among ``classes`` alone where these are given."""

    def __init__(self, classes: list[int] | None = None) -> None:
        super().__init__()
        self.classes = classes

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            scores = sample["pred_score"]
            if self.classes is not None:
                scores = scores[torch.tensor(self.classes, device=scores.device)]
            self.results.append(bool(scores.argmax() == sample["gt_label"].to(scores.device)))

    def compute_metrics(self, results: list) -> dict:
        return {"top1": 100 * mean(results)}


def top1(runner: Runner, folder: Path, classes: list[int] | None = None) -> float:
    """Of the images of a folder with a folder for each class."""
    num_classes = runner.cfg.model.head.num_classes if classes is None else len(classes)
    found = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if len(found) != num_classes:
        raise ValueError(f"{folder} must hold {num_classes} folders of classes, has {len(found)}")
    test = runner.cfg.test_dataloader
    dataset = dict(type="CustomDataset", data_prefix=str(folder), pipeline=test.dataset.pipeline)
    loop = TestLoop(runner, dict(test, dataset=dataset), [Top1(classes)])
    return loop.run()["top1"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_config_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file")
    for name in ("c", "r", "s"):
        parser.add_argument(f"--imagenet-{name}", type=Path, metavar="DIR")
    command_line.add_work_dir_argument(parser, "logs")
    args = parser.parse_args(arguments)
    if not (args.imagenet_c or args.imagenet_r or args.imagenet_s):
        parser.error("give one of --imagenet-c, --imagenet-r, --imagenet-s at least")

    with command_line.refusals_without_traceback(parser):
        cfg = command_line.load_config(args)
        cfg.work_dir = command_line.work_dir_of(args, cfg)
        command_line.set_dataloader_defaults(cfg)
        cfg.load_from = args.checkpoint
        runner = Runner.from_cfg(cfg)
        runner.register_hook(StrictLoadingHook(args.checkpoint))
        runner.load_or_resume()
        runner.call_hook("before_run")  # as runner.test() does once
        lines = []
        if args.imagenet_c:
            errors = {
                name: mean(
                    1 - top1(runner, args.imagenet_c / name / str(severity)) / 100
                    for severity in SEVERITIES
                )
                for name in ALEXNET_ERRORS
            }
            relative = mean(error / ALEXNET_ERRORS[name] for name, error in errors.items())
            lines += [f"ImageNet-C, {name}: error {100 * e:.2f}" for name, e in errors.items()]
            lines.append(f"ImageNet-C: mean error {100 * mean(errors.values()):.2f}")
            lines.append(f"ImageNet-C: mCE {100 * relative:.2f}")
        if args.imagenet_r:
            accuracy = top1(runner, args.imagenet_r, IMAGENET_R_CLASSES)
            lines.append(f"ImageNet-R: top-1 {accuracy:.2f}")
        if args.imagenet_s:
            lines.append(f"ImageNet-Sketch: top-1 {top1(runner, args.imagenet_s):.2f}")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
