"""Decodes every image that a config names: python tools/check_images.py CONFIG [--workers N].

Training checks the lists before it starts, but an image only when its turn comes. This finds those
that cannot be read, and says where the list names them.
"""

import argparse
import os
from collections.abc import Iterator, Sequence

# First, because it mends the toolbox's imports where that is needed.
from paco.mmpretrain import command_line
from paco.mmpretrain.annotated_images import is_readable

# isort: split
from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.registry import init_default_scope
from mmengine.utils import track_parallel_progress
from mmpretrain.datasets import KFoldDataset
from mmpretrain.registry import DATASETS
from torch.utils.data import Dataset


def data_sets_in(dataset: Dataset) -> Iterator[Dataset]:
    """The data sets that a wrapper of the toolbox, such as ``RepeatDataset``, takes images from."""
    if isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            yield from data_sets_in(part)
    elif isinstance(dataset, RepeatDataset | ClassBalancedDataset | KFoldDataset):
        yield from data_sets_in(dataset.dataset)
    else:
        yield dataset


def check(cfg: Config, workers: int) -> list[str]:
    """The problems of every image of the training, validation and test sets, one line each."""
    init_default_scope(cfg.get("default_scope", "mmpretrain"))
    problems: dict[str, None] = {}  # in order; a test set is often the validation set
    for split in ("train", "val", "test"):
        loader = cfg.get(f"{split}_dataloader")
        if loader is None:
            continue
        for dataset in data_sets_in(DATASETS.build(loader.dataset)):
            images = [dataset.get_data_info(i) for i in range(len(dataset))]
            files = [image["img_path"] for image in images if "img_path" in image]
            if len(files) < len(images):
                print(f"{split}: {type(dataset).__name__} has its images in memory")
                continue
            print(f"{split}: {len(files)} images")
            readable = track_parallel_progress(is_readable, files, workers, chunksize=32)
            for image, is_good in zip(images, readable, strict=True):
                if not is_good:
                    place = f"{dataset.ann_file}, {image['place']}: " if "place" in image else ""
                    problems[f"{place}{image['img_path']} is not an image that can be read"] = None
    return list(problems)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_config_arguments(parser)
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="processes; one a core if unset"
    )
    args = parser.parse_args(arguments)
    try:
        problems = check(command_line.load_config(args), args.workers)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if problems:
        raise SystemExit("\n".join([*problems, f"{len(problems)} images cannot be used"]))
    print("every image can be read")


if __name__ == "__main__":
    main()
