"""Exports a trained model for C++: python tools/export.py CONFIG CHECKPOINT [--format pt2]."""

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from paco.tools import command_line  # first: it mends the toolbox's imports

# isort: split
import torch
from mmengine.config import Config

from paco import deploy
from paco.mmpretrain import (
    InferenceClassifier,
    PaCoHead,
    compat,
    image_metadata,
    load_trained_model,
)
from paco.tools.target_prior import add_target_prior_argument, set_target_prior

FILES = {
    "pt": "classifier.pt",
    "pt2": "classifier.pt2",
    "onnx": "classifier.onnx",
    "training-step": "training_step.pt",
    "training-step-pt2": "training_step.pt2",
}


def provenance(cfg: Config, checkpoint: Path) -> dict[str, str]:
    toolbox = [
        f"{name} {metadata.version(name)}"
        for name in ("mmpretrain", "mmengine", "onedl-mmpretrain", "onedl-mmengine")
        if list(metadata.distributions(name=name))
    ]
    return {
        "config": cfg.pretty_text,
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "toolbox": ", ".join(toolbox),
    }


def input_shape(texts: dict[str, str]) -> list[int]:
    """The shape of one image, as the test pipeline makes it."""
    size = [int(n) for n in (texts.get("crop") or texts.get("resize", "")).split(",") if n]
    if len(size) != 2:
        raise ValueError(
            "the test pipeline does not say how large an image is; say it, such as --shape 3 32 32"
        )
    return [1 if texts["channels"] == "GRAY" else 3, *size]


def write(export: Callable[..., float | None], *arguments: object) -> float | None:
    """Exports; what PyTorch refuses is refused as what paco does."""
    try:
        return export(*arguments)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise ValueError(str(error)) from error


def export_checkpoint(args: argparse.Namespace) -> None:
    cfg = command_line.load_config(args)
    out = Path(command_line.work_dir_of(args, cfg), FILES[args.format])
    out.parent.mkdir(parents=True, exist_ok=True)

    is_training_step = args.format.startswith("training-step")
    model = load_trained_model(cfg, args.checkpoint, for_training=is_training_step)
    texts = provenance(cfg, args.checkpoint)
    if args.target_prior:
        prior = set_target_prior(model, args.target_prior, compat.class_names(model))
        texts["target_prior"] = json.dumps(prior)
    if is_training_step:
        if not isinstance(model.head, PaCoHead):
            kind = type(model.head).__name__
            raise ValueError(f"a {kind} has no queue and no PaCo loss")
        both_views = out.suffix == ".pt2" and model.key_encoder is None  # GPaCo
        write(deploy.export_training_step, model.head.step, out, texts, both_views)
        print(f"{out}: one step agrees with the model's")
        return

    try:
        texts |= image_metadata(cfg.test_dataloader.dataset.pipeline, model)
    except ValueError as error:
        print(f"{out} will not serve paco-classify: {error}")
    shape = args.shape or input_shape(texts)
    difference = write(
        deploy.export_classifier,
        InferenceClassifier(model),
        torch.randn(2, *shape),
        out,
        texts,
        torch.bfloat16 if args.bf16 else None,
    )
    print(
        f"{out}: normalised images [N, {', '.join(map(str, shape))}] to logits, which agree with "
        f"the model's to {difference:.1g} of the largest"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Export a classifier, normalised images to logits, or a training step."
    )
    command_line.add_config_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file", type=Path)
    parser.add_argument(
        "--format",
        choices=FILES,
        default="pt",
        help="pt: the classifier as TorchScript (default); pt2: compiled for this processor by "
        "AOTInductor; onnx; training-step: loss, queue and centers as TorchScript; "
        "training-step-pt2: loss and gradients as one compiled graph",
    )
    parser.add_argument(
        "--bf16", action="store_true", help="compute in bfloat16; images and logits stay float32"
    )
    parser.add_argument(
        "--shape",
        nargs=3,
        type=int,
        metavar=("C", "H", "W"),
        help="shape of an image; if unset, the one that the test pipeline makes",
    )
    add_target_prior_argument(parser)
    command_line.add_work_dir_argument(parser, "the exported file")
    args = parser.parse_args(arguments)
    if args.bf16 and args.format not in ("pt", "pt2"):
        parser.error(f"--bf16 is for pt and pt2, not for {args.format}")
    if args.target_prior and args.format.startswith("training-step"):
        parser.error(f"--target-prior is for classifiers, not for {args.format}")

    with command_line.refusals_without_traceback(parser):
        export_checkpoint(args)


if __name__ == "__main__":
    main()
