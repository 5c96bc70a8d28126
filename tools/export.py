"""Exports a classifier for C++: python tools/export.py CONFIG CHECKPOINT --shape 3 224 224."""

import argparse
from pathlib import Path

# First, because it mends the toolbox's imports where that is needed.
import paco.mmpretrain  # noqa: F401

# isort: split
import torch
from mmengine.config import Config, DictAction
from mmpretrain import get_model

from paco import deploy
from paco.mmpretrain import InferenceClassifier


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Export a classifier as TorchScript: normalised images to logits."
    )
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument(
        "--shape", nargs=3, type=int, metavar=("C", "H", "W"), default=(3, 224, 224)
    )
    parser.add_argument(
        "--work-dir",
        help="folder of the exported classifier.pt; work_dirs/<data set>/<config> if unset",
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="override settings of the config"
    )
    args = parser.parse_args()

    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    path = Path(args.config)
    default_work_dir = f"work_dirs/{path.parent.name}/{path.stem}"
    out = Path(args.work_dir or cfg.get("work_dir") or default_work_dir, "classifier.pt")
    out.parent.mkdir(parents=True, exist_ok=True)

    model = get_model(cfg, pretrained=args.checkpoint, device="cpu")
    pixels = model.data_preprocessor
    metadata = {
        "classes": ",".join(model._dataset_meta["classes"]),
        "mean": ",".join(f"{x:g}" for x in pixels.mean.flatten().tolist()),
        "std": ",".join(f"{x:g}" for x in pixels.std.flatten().tolist()),
    }
    deploy.export_classifier(InferenceClassifier(model), torch.randn(2, *args.shape), out, metadata)
    print(f"{out}: normalised images [N, {', '.join(map(str, args.shape))}] to logits")


if __name__ == "__main__":
    main()
