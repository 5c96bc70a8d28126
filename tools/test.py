"""Tests a model: python tools/test.py CONFIG CHECKPOINT [--work-dir DIR] [--out FILE.pkl].

Together with others, as an ensemble: --with CONFIG CHECKPOINT, once for each of them. On several
GPUs: tools/dist_test.sh CONFIG CHECKPOINT GPUS.
"""

import argparse
from collections.abc import Sequence

from paco.tools import command_line  # first: it mends the toolbox's imports

# isort: split
import torch
from mmengine import dump
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.runner import Runner

from paco._files import whole_file
from paco.mmpretrain import EnsembleClassifier, StrictLoadingHook, load_trained_model
from paco.mmpretrain.engine.runner_model import model_of
from paco.tools.target_prior import add_target_prior_argument, set_target_prior


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

    def compute_metrics(self, results: list) -> dict:
        with whole_file(self.out_file_path) as file:
            dump(results, file)
        return {}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Test a model and print its metrics.")
    command_line.add_config_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file")
    command_line.add_work_dir_argument(parser, "logs")
    parser.add_argument("--out", help="file for the predictions, *.pkl, which tools/analysis reads")
    parser.add_argument(
        "--with",
        dest="others",
        nargs=2,
        action="append",
        default=[],
        metavar=("CONFIG", "CHECKPOINT"),
        help="one model more for an ensemble, whose logits are the mean of its models'",
    )
    add_target_prior_argument(parser)
    command_line.add_launcher_argument(parser)
    args = parser.parse_args(arguments)

    with command_line.refusals_without_traceback(parser):
        cfg = command_line.load_config(args)
        cfg.work_dir = command_line.work_dir_of(args, cfg)
        command_line.set_dataloader_defaults(cfg)
        command_line.set_launcher(args, cfg)
        cfg.load_from = args.checkpoint
        runner = Runner.from_cfg(cfg)
        runner.register_hook(StrictLoadingHook(args.checkpoint))
        runner.load_or_resume()
        model = model_of(runner)
        models = [model] + [
            load_trained_model(Config.fromfile(config), checkpoint, model.data_preprocessor.device)
            for config, checkpoint in args.others
        ]
        if args.target_prior:
            classes = runner.test_loop.dataloader.dataset.metainfo.get("classes")
            for model in models:
                set_target_prior(model, args.target_prior, classes)
        if args.others:
            runner.model = EnsembleClassifier(models)
        if args.out:
            runner.test_loop.evaluator.metrics.append(DumpPredictions(args.out))
        with command_line.full_disk_named(cfg.work_dir):
            runner.test()


if __name__ == "__main__":
    main()
