"""Trains a model: python tools/train.py CONFIG [--work-dir DIR] [--resume [CHECKPOINT]]."""

import argparse
from pathlib import Path

# First, because it mends the toolbox's imports where that is needed.
import paco.mmpretrain  # noqa: F401

# isort: split
from mmengine.config import Config, DictAction
from mmengine.runner import Runner


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a model.")
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--work-dir", help="folder of logs and checkpoints; work_dirs/<data set>/<config> if unset"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        help="go on from this checkpoint, or from the work folder's latest one if none is named",
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        help="override settings of the config, such as train_cfg.max_epochs=100",
    )
    args = parser.parse_args()

    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    path = Path(args.config)
    cfg.work_dir = (
        args.work_dir or cfg.get("work_dir") or f"work_dirs/{path.parent.name}/{path.stem}"
    )
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == "auto" else args.resume
    Runner.from_cfg(cfg).train()


if __name__ == "__main__":
    main()
