"""Makes the files of weights that ship with libpaco of a run's last checkpoint.

    python release/weights.py NAME CHECKPOINT

paco/weights/NAME.py is the config of what predicts. Beside it go NAME.pth, which is the classifier
alone, and NAME.pt, the same as TorchScript; paco/weights/SHA256SUMS has their checksums, and
tests/data/cifar100/NAME.csv what they predict for the images there.
"""

import csv
import hashlib
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer

from paco.mmpretrain import compat, load_trained_model, read_checkpoint
from paco.tools.export import main as export
from paco.weights import FOLDER as WEIGHTS

IMAGES = Path(__file__).parents[1] / "tests" / "data" / "cifar100"


def main(name: str, checkpoint: str) -> None:
    config = WEIGHTS / f"{name}.py"
    model = load_trained_model(Config.fromfile(config), checkpoint)
    state = model.state_dict()
    saved = read_checkpoint(checkpoint)["state_dict"]
    (prior,) = (saved[key] for key in saved if key.endswith("centers.log_prior"))
    state["head.centers.log_prior"] = prior
    meta = {
        "dataset_meta": {"classes": compat.class_names(model)},
        "class_counts": compat.class_counts(model),
    }
    weights = WEIGHTS / f"{name}.pth"
    torch.save({"meta": meta, "state_dict": state}, weights)
    export([str(config), str(weights), "--work-dir", str(WEIGHTS)])
    (WEIGHTS / "classifier.pt").rename(WEIGHTS / f"{name}.pt")
    files = sorted(path for path in WEIGHTS.iterdir() if path.suffix in (".pth", ".pt"))
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]
    (WEIGHTS / "SHA256SUMS").write_text("\n".join(sums) + "\n")

    images = sorted(IMAGES.glob("*.png"))
    predict = ImageClassificationInferencer(name, pretrained=True)
    with (IMAGES / f"{name}.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["image", "predicted", "probability"])
        for image, result in zip(images, predict([str(path) for path in images]), strict=True):
            rows.writerow([image.stem, result["pred_class"], f"{result['pred_score']:.4f}"])


if __name__ == "__main__":
    main(*sys.argv[1:])
