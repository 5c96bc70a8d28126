"""Counts the training pixels of each class: python tools/count_pixels.py CONFIG FILE.

FILE has a count a line, as LongTailIoUMetric(class_pixels=FILE) reads it.
"""

import argparse
from collections.abc import Sequence

# First: the one mends the toolbox's imports, the other says which is missing.
from paco.tools import command_line, needs_mmseg  # noqa: F401

# isort: split
import numpy as np
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, TRANSFORMS

from paco._files import whole_file


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Count the training pixels of each class.")
    command_line.add_config_arguments(parser)
    parser.add_argument("out", metavar="FILE", help="text file to write")
    args = parser.parse_args(arguments)

    with command_line.refusals_without_traceback(parser):
        cfg = command_line.load_config(args)
        init_default_scope("mmseg")
        settings = cfg.train_dataloader.dataset
        # The labels as they are in the files: before they are cropped, resized or flipped.
        first = [x for x in settings.pipeline if x.type in ("LoadAnnotations", "LoadScene")]
        if not first:
            raise ValueError(
                f"the training pipeline must have a LoadAnnotations, got {list(settings.pipeline)}"
            )
        dataset = DATASETS.build({**settings, "pipeline": []})
        load = TRANSFORMS.build(dict(type="Compose", transforms=first))
        classes = len(dataset.metainfo["classes"])
        counts = np.zeros(classes, np.int64)
        for i in range(len(dataset)):
            info = dataset.get_data_info(i)
            labels = load(info)["gt_seg_map"]
            found = np.bincount(labels.ravel(), minlength=256)
            others = found[classes:].copy()
            if dataset.ignore_index >= classes:
                others[dataset.ignore_index - classes] = 0
            if others.any():
                raise ValueError(
                    f"{info.get('seg_map_path', info['img_path'])} has label "
                    f"{classes + int(others.argmax())}, which is none of {classes} classes"
                )
            counts += found[:classes]
        with whole_file(args.out) as file, open(file, "w", encoding="utf-8") as text:
            text.writelines(f"{n}\n" for n in counts)
    print(f"{args.out}: {counts.sum():,} labelled pixels of {len(dataset):,} images")


if __name__ == "__main__":
    main()
