"""Tests a model: python tools/test.py CONFIG CHECKPOINT [--work-dir DIR] [--out FILE.pkl]."""

import argparse
from pathlib import Path

# First, because it mends the toolbox's imports where that is needed.
import paco.mmpretrain  # noqa: F401

# isort: split
import torch
from mmengine.config import Config, DictAction
from mmengine.evaluator import DumpResults
from mmengine.runner import Runner


class DumpPredictions(DumpResults):
    """The toolbox's file of predictions, in which each image has its own tensors.

    On a CPU they would be views of the batch's, and the file would hold the batch for each image.
    """

    def process(self, data_batch, predictions) -> None:
        self.results += [
            {
                name: value.cpu().clone() if isinstance(value, torch.Tensor) else value
                for name, value in sample.items()
            }
            for sample in predictions
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Test a model and print its metrics.")
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--work-dir", help="folder of logs; work_dirs/<data set>/<config> if unset")
    parser.add_argument("--out", help="file for the predictions, *.pkl, which tools/analysis reads")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        help="override settings of the config, such as test_dataloader.batch_size=64",
    )
    args = parser.parse_args()

    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    path = Path(args.config)
    cfg.work_dir = (
        args.work_dir or cfg.get("work_dir") or f"work_dirs/{path.parent.name}/{path.stem}"
    )
    cfg.load_from = args.checkpoint
    runner = Runner.from_cfg(cfg)
    if args.out:
        runner.test_loop.evaluator.metrics.append(DumpPredictions(args.out))
    runner.test()


if __name__ == "__main__":
    main()
