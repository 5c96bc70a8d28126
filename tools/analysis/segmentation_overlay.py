"""Pictures of what segmentors predict: python tools/analysis/segmentation_overlay.py FILE.png \\
    CONFIG:CHECKPOINT [CONFIG:CHECKPOINT ...].

A column an image of the first config's test set; the rows are the image, its labels, and the labels
that each model predicts, in the data set's colours over the image. Ignored pixels stay as they are.
"""

import argparse
from collections.abc import Sequence

from paco.tools import command_line  # first: it mends the toolbox's imports

# isort: split
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from mmseg.registry import DATASETS, MODELS
from PIL import Image

from paco.mmpretrain.checkpoints.strict_loading import load_weights


def overlay(image: np.ndarray, labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The image, RGB, under the colours of its labels."""
    colours = palette[np.minimum(labels, len(palette) - 1)]
    mixed = (0.4 * image + 0.6 * colours).astype(np.uint8)
    return np.where((labels < len(palette))[..., None], mixed, image)


def predict(config: str, checkpoint: str, samples: list[dict]) -> list[np.ndarray]:
    cfg = Config.fromfile(config)
    cfg.model.pretrained = None
    cfg.model.backbone.pop("init_cfg", None)
    model = MODELS.build(cfg.model).eval()
    content = CheckpointLoader.load_checkpoint(checkpoint, map_location="cpu")
    load_weights(model, content, checkpoint)
    labels = []
    for sample in samples:
        data = {name: [sample[name]] for name in ("inputs", "data_samples")}
        with torch.no_grad():
            labels.append(model.test_step(data)[0].pred_sem_seg.data[0].numpy())
    return labels


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw what segmentors predict.")
    parser.add_argument("out", metavar="FILE.png")
    parser.add_argument("models", nargs="+", metavar="CONFIG:CHECKPOINT")
    parser.add_argument("--images", type=int, default=8, help="how many, from the first on")
    parser.add_argument("--scale", type=int, default=3, help="pixels of the picture a pixel")
    args = parser.parse_args(arguments)

    with command_line.refusals_without_traceback("segmentation_overlay.py"):
        init_default_scope("mmseg")
        models = [model.partition(":")[::2] for model in args.models]
        dataset = DATASETS.build(Config.fromfile(models[0][0]).test_dataloader.dataset)
        samples = [dataset[i] for i in range(min(args.images, len(dataset)))]
        # Files are read as BGR.
        images = [s["inputs"].permute(1, 2, 0).numpy()[..., ::-1] for s in samples]
        palette = np.array(dataset.metainfo["palette"])
        truth = [s["data_samples"].gt_sem_seg.data[0].numpy() for s in samples]
        rows = [images]
        for labels in (truth, *(predict(*model, samples) for model in models)):
            rows.append([overlay(*pair, palette) for pair in zip(images, labels, strict=True)])
        picture = np.concatenate([np.concatenate(row, axis=1) for row in rows])
        picture = picture.repeat(args.scale, 0).repeat(args.scale, 1)
        Image.fromarray(np.ascontiguousarray(picture)).save(args.out)
    print(args.out)


if __name__ == "__main__":
    main()
