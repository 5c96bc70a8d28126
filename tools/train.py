"""Trains a model: python tools/train.py CONFIG [--work-dir DIR] [--resume [CHECKPOINT]] [--amp].

On several GPUs: tools/dist_train.sh CONFIG GPUS, or tools/slurm_train.sh.
"""

import argparse
from pathlib import Path

# First, because it mends the toolbox's imports where that is needed.
import paco.mmpretrain  # noqa: F401

# isort: split
import torch
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
    parser.add_argument("--amp", action="store_true", help="train in mixed precision")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate from the config's base_batch_size to the batch of all "
        "processes",
    )
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="what started this process as one of several",
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
    if args.amp:
        cfg.optim_wrapper.type = "AmpOptimWrapper"
    if args.auto_scale_lr:
        if "auto_scale_lr" not in cfg:
            parser.error(f"--auto-scale-lr: {args.config} has no auto_scale_lr.base_batch_size")
        cfg.auto_scale_lr.enable = True
    cfg.launcher = args.launcher
    if args.launcher == "pytorch" and not torch.cuda.is_available():
        use_cpus(cfg)
    Runner.from_cfg(cfg).train()


def use_cpus(cfg: Config) -> None:
    """Starts a process group of CPUs; the toolbox's launcher knows GPUs only."""
    torch.distributed.init_process_group("gloo")
    cfg.model_wrapper_cfg = dict(
        type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False
    )


if __name__ == "__main__":
    main()
