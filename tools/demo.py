"""The whole way on real data: trains cross entropy and PaCo on digits, compares, exports.

    paco-demo [--work-dir DIR]

The work folder then has the files that examples/cpp/classify reads: classifier.pt, and
test_images.pt with the test images, their labels and Python's logits; and digit.png, an image that
the exported classifier says the digit of.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from paco.tools import command_line  # first: it mends the toolbox's imports

# isort: split
import cv2
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor, nn

import paco
from paco import deploy
from paco.deploy.files import save_torchscript, torchscript
from paco.mmpretrain import InferenceClassifier

CONFIGS = Path(paco.__file__).parent / ".mim" / "configs" / "digits_lt"
METHODS = {"ce": "cross entropy", "paco": "PaCo"}


class TestImages(nn.Module):
    """Tensors in a form that C++ loads."""

    def __init__(self, images: Tensor, labels: Tensor, logits: Tensor) -> None:
        super().__init__()
        self.register_buffer("images", images)
        self.register_buffer("labels", labels)
        self.register_buffer("logits", logits)


def make_runner(method: str, work_dir: Path, options: dict | None) -> Runner:
    cfg = Config.fromfile(CONFIGS / f"{method}.py")
    cfg.custom_hooks.append(dict(type="ProgressBarHook"))
    cfg.log_level = "ERROR"
    cfg.work_dir = str(work_dir / method)
    if options:
        cfg.merge_from_dict(options)
    return Runner.from_cfg(cfg)


def print_table(results: dict[str, dict[str, float]]) -> None:
    columns = {"top-1": "top1", "many": "many", "medium": "medium", "few": "few"}
    print(f"\n{'accuracy in percent':20}" + "".join(f"{title:>8}" for title in columns))
    for method, metrics in results.items():
        values = (metrics[f"long_tail/{name}"] for name in columns.values())
        print(f"{METHODS[method]:20}" + "".join(f"{value:8.1f}" for value in values))
    print("many: over 100 training images; few: under 20\n")


def export(runner: Runner, work_dir: Path) -> None:
    model = InferenceClassifier(runner.model.cpu().eval())
    (batch,) = runner.test_dataloader
    data = runner.model.data_preprocessor(batch)
    images = data["inputs"]
    labels = torch.cat([sample.gt_label for sample in data["data_samples"]])
    deploy.export_classifier(model, images, work_dir / "classifier.pt")
    with torch.no_grad():
        test_images = TestImages(images, labels, model(images))
    with torchscript():
        save_torchscript(torch.jit.script(test_images), work_dir / "test_images.pt", {})
    print(f"{work_dir}/classifier.pt: TorchScript for C++")


def classify(runner: Runner, work_dir: Path) -> None:
    """Writes a test image to a file, reads it again, and asks the exported classifier."""
    dataset = runner.test_dataloader.dataset
    sample = dataset.get_data_info(len(dataset) - 1)  # of digit 9, the rarest in training
    path = work_dir / "digit.png"
    cv2.imwrite(str(path), sample["img"])
    classifier, _ = deploy.load(work_dir / "classifier.pt")
    image = dataset.pipeline({"img": cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), "gt_label": -1})
    batch = {"inputs": [image["inputs"]], "data_samples": [image["data_samples"]]}
    inputs = runner.model.data_preprocessor(batch)["inputs"]
    probabilities = classifier(inputs)[0].softmax(0)
    digit = int(probabilities.argmax())
    print(
        f"{path}, a {sample['gt_label']}: the classifier says {digit}, "
        f"{probabilities[digit]:.0%} sure"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/demo"))
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=command_line.ConfigOptions,
        help="override settings of both configs",
    )
    args = parser.parse_args(arguments)
    # The network is too small for more, and one thread waits for nobody on a busy machine.
    torch.set_num_threads(1)

    results = {}
    with command_line.refusals_without_traceback(parser):
        for method, title in METHODS.items():
            print(f"Training with {title}")
            runner = make_runner(method, args.work_dir, args.cfg_options)
            runner.train()
            results[method] = runner.test()
        print_table(results)
        export(runner, args.work_dir)
        classify(runner, args.work_dir)


if __name__ == "__main__":
    main()
