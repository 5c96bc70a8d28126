"""Lists a folder of images for training: a long tail if asked for, and a validation split.

IMAGES/<class>/**/* becomes lists of `relative/path label` lines, which the ImageList data set reads
with data_prefix=IMAGES:

    OUT/train.txt
    OUT/val.txt      with --val-per-class
    OUT/classes.txt  the names by label, for the data set's `classes`

Classes are labelled in the order of their folders' names. One seed always makes the same lists, and
a longer tail is part of a shorter one.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from paco import longtail

EXTENSIONS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}


def find_images(root: Path) -> tuple[list[str], list[str], list[int]]:
    """The classes of a folder, and the path below it and the label of each image."""
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    if not classes:
        raise ValueError(f"{root} has no folder; each class must be one")
    paths, labels = [], []
    for label, name in enumerate(classes):
        images = sorted(
            path.relative_to(root).as_posix()
            for path in (root / name).rglob("*")
            if path.suffix.lower() in EXTENSIONS
        )
        if not images:
            raise ValueError(f"{root / name} has no image")
        paths += images
        labels += [label] * len(images)
    return classes, paths, labels


def training_counts(
    available: Sequence[int], imbalance_factor: float | None, max_count: int | None
) -> list[int]:
    """How many images of each class to train on, of those available."""
    if imbalance_factor is None:
        return list(available)
    if max_count is None:
        max_count = max(available)
    return longtail.exponential_profile(max_count, len(available), imbalance_factor)


def split(
    classes: Sequence[str],
    labels: Sequence[int],
    val_per_class: int,
    imbalance_factor: float | None,
    max_count: int | None,
    seed: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The indices of the images to train on and to validate on, which share none."""
    available = longtail.class_counts(labels, len(classes))
    for name, n in zip(classes, available.tolist(), strict=True):
        if n <= val_per_class:
            raise ValueError(
                f"class {name!r} has {n} images, and --val-per-class {val_per_class} would leave "
                "none to train on"
            )
    val = longtail.long_tailed_subset(labels, [val_per_class] * len(classes), seed)
    is_left = torch.ones(len(labels), dtype=torch.bool)
    is_left[val] = False
    left = is_left.nonzero().flatten()

    counts = training_counts((available - val_per_class).tolist(), imbalance_factor, max_count)
    for name, count, n in zip(classes, counts, (available - val_per_class).tolist(), strict=True):
        if not 1 <= count <= n:
            raise ValueError(
                f"the long tail takes {count} images of class {name!r}, and {n} are left to train "
                "on; choose another --max-count or --imbalance-factor"
            )
    train = left[longtail.long_tailed_subset(torch.tensor(labels)[left], counts, seed)]
    return train, val


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder with a folder of images for each class")
    parser.add_argument("out", type=Path, help="folder for the lists")
    parser.add_argument(
        "--imbalance-factor",
        type=float,
        help="largest class over smallest, n_i = int(n_max (1 / IF)^(i / (C - 1))); unset, every "
        "image is listed",
    )
    parser.add_argument(
        "--max-count",
        type=int,
        help="n_max, which class 0 has; the largest class's if unset",
    )
    parser.add_argument(
        "--val-per-class",
        type=int,
        default=0,
        help="images of each class to hold out for validation (default: 0)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice (default: 0)")
    args = parser.parse_args(arguments)
    if args.max_count is not None and args.imbalance_factor is None:
        parser.error("--max-count belongs to --imbalance-factor")

    try:
        classes, paths, labels = find_images(args.images)
        train, val = split(
            classes, labels, args.val_per_class, args.imbalance_factor, args.max_count, args.seed
        )
    except (OSError, ValueError) as error:
        parser.error(str(error))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
    for name, chosen in [("train", train), ("val", val)]:
        if len(chosen):
            lines = "".join(f"{paths[i]} {labels[i]}\n" for i in chosen.tolist())
            (args.out / f"{name}.txt").write_text(lines)

    counts = longtail.class_counts(torch.tensor(labels)[train], len(classes))
    groups = {name: int(members.sum()) for name, members in longtail.class_groups(counts).items()}
    print(
        f"{args.out}: {len(train)} training images of {len(classes)} classes, {int(counts.max())} "
        f"to {int(counts.min())} a class ({groups['many']} many, {groups['medium']} medium, "
        f"{groups['few']} few), {len(val)} validation images"
    )


if __name__ == "__main__":
    main()
