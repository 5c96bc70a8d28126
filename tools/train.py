"""Trains a model: python tools/train.py CONFIG [--work-dir DIR] [--resume [CHECKPOINT]] [--amp].

On several GPUs: tools/dist_train.sh CONFIG GPUS, or tools/slurm_train.sh.
"""

import argparse
from collections.abc import Sequence

from paco.tools import command_line  # first: it mends the toolbox's imports

# isort: split
from mmengine.runner import Runner


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train a model.")
    command_line.add_config_arguments(parser)
    command_line.add_work_dir_argument(parser, "logs and checkpoints")
    command_line.add_resume_argument(parser)
    parser.add_argument("--amp", action="store_true", help="train in mixed precision")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate from the config's base_batch_size to the batch of all "
        "processes",
    )
    command_line.add_launcher_argument(parser)
    args = parser.parse_args(arguments)

    with command_line.refusals_without_traceback(parser):
        cfg = command_line.load_config(args)
        cfg.work_dir = command_line.work_dir_of(args, cfg)
        command_line.set_resume(args, cfg)
        command_line.set_dataloader_defaults(cfg)
        if args.amp:
            cfg.optim_wrapper.type = "AmpOptimWrapper"
        if args.auto_scale_lr:
            if "auto_scale_lr" not in cfg:
                parser.error(f"--auto-scale-lr: {args.config} has no auto_scale_lr.base_batch_size")
            cfg.auto_scale_lr.enable = True
        command_line.set_launcher(args, cfg)
        with command_line.full_disk_named(cfg.work_dir):
            Runner.from_cfg(cfg).train()


if __name__ == "__main__":
    main()
