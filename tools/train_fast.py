"""Trains on small images, such as CIFAR's, in a fraction of the time: all of them stay on the GPU.

    python tools/train_fast.py configs/cifar100_lt/paco_if100.py [--work-dir DIR] [--resume]

The config is one of tools/train.py's, and its recipe stays as it is. What differs: the views of an
epoch are made at once, on the GPU; a step is in bfloat16 and channels-last, and replayed from a
CUDA graph; checkpoints are written when the model is evaluated. It runs without a GPU too, slowly.
"""

import argparse
from pathlib import Path

# First, because it mends the toolbox's imports where that is needed.
import paco.mmpretrain.device_loops  # noqa: F401

# isort: split
from mmengine.config import Config, DictAction
from mmengine.runner import Runner


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--work-dir",
        help="folder of logs and checkpoints; work_dirs/<data set>/<config>_fast if unset",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the work folder's latest checkpoint"
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
    cfg.work_dir = args.work_dir or f"work_dirs/{path.parent.name}/{path.stem}_fast"
    cfg.resume = args.resume
    cfg.train_cfg.pop("by_epoch", None)
    cfg.train_cfg.type = "DeviceTrainLoop"
    cfg.val_cfg.type = "DeviceValLoop"
    cfg.default_hooks.checkpoint.interval = cfg.train_cfg.val_interval
    cfg.env_cfg.cudnn_benchmark = True
    Runner.from_cfg(cfg).train()


if __name__ == "__main__":
    main()
