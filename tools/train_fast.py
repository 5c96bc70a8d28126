"""Trains on small images, such as CIFAR's, all of which stay on the GPU.

    python tools/train_fast.py configs/cifar100_lt/paco_if100.py [--work-dir DIR] [--resume]

The config is one of tools/train.py's, and its recipe stays as it is. What differs: the views of an
epoch are made at once, on the GPU; a step is in bfloat16 and channels-last, and replayed from a
CUDA graph; checkpoints are written when the model is evaluated. It runs without a GPU too, slowly.
"""

import argparse
from collections.abc import Sequence

from paco.tools import command_line  # first: it mends the toolbox's imports

# isort: split
from mmengine.runner import Runner


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_config_arguments(parser)
    command_line.add_work_dir_argument(parser, "logs and checkpoints", suffix="_fast")
    command_line.add_resume_argument(parser)
    args = parser.parse_args(arguments)

    with command_line.refusals_without_traceback(parser):
        cfg = command_line.load_config(args)
        cfg.work_dir = command_line.work_dir_of(args, cfg, suffix="_fast")
        command_line.set_resume(args, cfg)
        cfg.train_cfg.pop("by_epoch", None)
        changes = {
            "train_cfg.type": "DeviceTrainLoop",
            "val_cfg.type": "DeviceValLoop",
            "default_hooks.checkpoint.interval": cfg.train_cfg.val_interval,
            "env_cfg.cudnn_benchmark": True,
        }
        cfg.merge_from_dict(changes | args.cfg_options)
        with command_line.full_disk_named(cfg.work_dir):
            Runner.from_cfg(cfg).train()


if __name__ == "__main__":
    main()
