"""Decodes every image that a config names: paco-check-images CONFIG [--workers N].

Training checks the lists before it starts, but an image only when its turn comes. This finds those
that cannot be read or are animated, and says where the list names them.
"""

import argparse
import os
from collections.abc import Iterator, Sequence

from paco.tools import command_line  # first: it mends the toolbox's imports

# isort: split
from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.registry import init_default_scope
from mmengine.utils import track_parallel_progress
from mmpretrain.datasets import KFoldDataset
from mmpretrain.registry import DATASETS
from torch.utils.data import Dataset

from paco.mmpretrain import WithBalancedPartner
from paco.mmpretrain.datasets.annotated_images import is_animated, is_readable


def problem_of(file: str) -> str | None:
    """Why an image file should not be trained on, if so."""
    if not is_readable(file):
        return "is not an image that can be read"
    if is_animated(file):
        return "is animated, and which frame is read depends on OpenCV's version"
    return None


def data_sets_in(dataset: Dataset) -> Iterator[Dataset]:
    """The data sets that are inside a wrapper, such as the toolbox's ``RepeatDataset``."""
    if isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            yield from data_sets_in(part)
    elif isinstance(
        dataset, RepeatDataset | ClassBalancedDataset | KFoldDataset | WithBalancedPartner
    ):
        yield from data_sets_in(dataset.dataset)
    else:
        yield dataset


def check(cfg: Config, workers: int) -> list[str]:
    """The problems of every image of the training, validation and test sets, one line each."""
    init_default_scope(cfg.get("default_scope", "mmpretrain"))
    problem: dict[str, str | None] = {}  # by file; a test set is often the validation set
    problems: dict[str, None] = {}  # in order, each once
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
            new = [file for file in dict.fromkeys(files) if file not in problem]
            if new:
                found = track_parallel_progress(problem_of, new, workers, chunksize=32)
                problem |= zip(new, found, strict=True)
            for image in images:
                if reason := problem[image["img_path"]]:
                    place = f"{dataset.ann_file}, {image['place']}: " if "place" in image else ""
                    problems[f"{place}{image['img_path']} {reason}"] = None
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
