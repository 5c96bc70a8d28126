"""Pictures of what segmentors predict: python tools/analysis/segmentation_overlay.py FILE.png \\
    CONFIG:CHECKPOINT [CONFIG:CHECKPOINT ...].

A column an image of the first config's test set; the rows are the image, its labels, and the labels
that each model predicts, in the data set's colours over the image. Ignored pixels stay as they are.
The legend has the classes that the picture shows.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

# First: the one mends the toolbox's imports, the other says which is missing.
from paco.tools import command_line, needs_mmseg  # noqa: F401

# isort: split
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from mmseg.registry import DATASETS, MODELS
from PIL import Image, ImageDraw, ImageFont

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


def draw(
    rows: dict[str, list[np.ndarray]], legend: dict[str, np.ndarray], scale: int
) -> Image.Image:
    """Rows of images under their captions, and the colours of the classes at the bottom."""
    font, line, gap = ImageFont.load_default(14), 20, 4
    pixels = [
        [np.kron(x, np.ones((scale, scale, 1), np.uint8)) for x in row] for row in rows.values()
    ]
    heights = [max(len(x) for x in row) for row in pixels]
    widths = [max(row[i].shape[1] for row in pixels) for i in range(len(pixels[0]))]
    width = sum(widths) + gap * (len(widths) - 1)

    entries, x, y = [], 0, 0
    for name, colour in legend.items():
        length = line + int(font.getlength(name)) + 12
        if x and x + length > width:
            x, y = 0, y + line
        entries.append((x, y, name, colour))
        x += length
    height = sum(heights) + line * (len(rows) + 1) + y + gap
    picture = Image.new("RGB", (width, height), "white")
    canvas = ImageDraw.Draw(picture)
    top = 0
    for name, row, row_height in zip(rows, pixels, heights, strict=True):
        canvas.text((2, top + 1), name, "black", font)
        left = 0
        for image, image_width in zip(row, widths, strict=True):
            picture.paste(Image.fromarray(image), (left, top + line))
            left += image_width + gap
        top += line + row_height
    for x, y, name, colour in entries:
        at = (x, top + gap + y + 3)
        canvas.rectangle((*at, at[0] + 14, at[1] + 14), tuple(colour.tolist()), "black")
        canvas.text((x + line, at[1] - 2), name, "black", font)
    return picture


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw what segmentors predict.")
    parser.add_argument("out", metavar="FILE.png")
    parser.add_argument("models", nargs="+", metavar="CONFIG:CHECKPOINT")
    parser.add_argument("--images", type=int, default=8, help="how many, from the first on")
    parser.add_argument("--scale", type=int, default=3, help="pixels of the picture a pixel")
    args = parser.parse_args(arguments)

    with command_line.refusals_without_traceback(parser):
        init_default_scope("mmseg")
        models = [model.partition(":")[::2] for model in args.models]
        dataset = DATASETS.build(Config.fromfile(models[0][0]).test_dataloader.dataset)
        samples = [dataset[i] for i in range(min(args.images, len(dataset)))]
        # Files are read as BGR.
        images = [s["inputs"].permute(1, 2, 0).numpy()[..., ::-1] for s in samples]
        palette = np.array(dataset.metainfo["palette"])
        truth = [s["data_samples"].gt_sem_seg.data[0].numpy() for s in samples]
        labels = {"labels": truth}
        for config, checkpoint in models:
            name = Path(config).stem
            if name in labels:  # another checkpoint of the same config
                name = f"{name}, {checkpoint}"
            labels[name] = predict(config, checkpoint, samples)
        rows = {"image": images} | {
            name: [overlay(*pair, palette) for pair in zip(images, row, strict=True)]
            for name, row in labels.items()
        }
        shown = {int(c) for row in labels.values() for x in row for c in np.unique(x)}
        legend = {
            name: palette[i] for i, name in enumerate(dataset.metainfo["classes"]) if i in shown
        }
        draw(rows, legend, args.scale).save(args.out)
    print(args.out)


if __name__ == "__main__":
    main()
