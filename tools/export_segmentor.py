"""Exports a trained segmentor for C++: python tools/export_segmentor.py CONFIG CHECKPOINT."""

import argparse
from collections.abc import Sequence
from pathlib import Path

# First: the one mends the toolbox's imports, the other says which is missing.
from paco.tools import command_line, needs_mmseg  # noqa: F401

# isort: split
import torch
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from mmseg.registry import DATASETS, MODELS

from paco import segmentation
from paco.mmpretrain.checkpoints.strict_loading import load_weights
from paco.mmseg import InferenceSegmentor


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Export a segmentor: normalised images to the logits of every pixel."
    )
    command_line.add_config_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file", type=Path)
    parser.add_argument(
        "--format",
        choices=["pt", "pt2"],
        default="pt",
        help="pt: TorchScript (default); pt2: compiled for this processor by AOTInductor",
    )
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="export for images of this size alone, where a network allows no other",
    )
    command_line.add_work_dir_argument(parser, "the exported file")
    args = parser.parse_args(arguments)

    with command_line.refusals_without_traceback(parser):
        cfg = command_line.load_config(args)
        out = Path(command_line.work_dir_of(args, cfg), f"segmentor.{args.format}")
        out.parent.mkdir(parents=True, exist_ok=True)
        init_default_scope("mmseg")
        # Weights to start from are not needed, and may have to be downloaded.
        cfg.model.pretrained = None
        cfg.model.backbone.pop("init_cfg", None)
        model = MODELS.build(cfg.model)
        content = CheckpointLoader.load_checkpoint(str(args.checkpoint), map_location="cpu")
        load_weights(model, content, args.checkpoint)
        meta = content.get("meta", {}).get("dataset_meta")
        meta = meta or DATASETS.get(cfg.test_dataloader.dataset.type).METAINFO
        pixels = cfg.model.data_preprocessor
        texts = segmentation.image_metadata(
            meta["classes"],
            meta["palette"],
            mean=pixels.get("mean") or [0.0] * 3,
            std=pixels.get("std") or [1.0] * 3,
            # Files are read as BGR, and either setting exchanges the first channel and the last.
            channels="RGB" if pixels.get("bgr_to_rgb") or pixels.get("rgb_to_bgr") else "BGR",
        )
        difference = segmentation.export_segmentor(
            InferenceSegmentor(model.eval()),
            torch.randn(2, 3, *(args.size or (64, 96))),
            out,
            {**texts, "config": cfg.pretty_text},
            any_size=args.size is None,
        )
    print(
        f"{out}: images to logits of every pixel, which agree with the model's to "
        f"{difference:.1g} of the largest"
    )


if __name__ == "__main__":
    main()
