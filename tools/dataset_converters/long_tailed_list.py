"""Lists a folder of images for training: a long tail if asked for, and a validation split.

IMAGES/<class>/**/* becomes lists of `relative/path label` lines, which the ImageList data set reads
with data_prefix=IMAGES:

    OUT/train.txt
    OUT/val.txt      with --val-per-class
    OUT/classes.txt  the names by label, for the data set's `classes`

All are UTF-8. Hidden files and folders, broken links and files that are not named like images are
left out and counted.

Classes are labelled in the order of their folders' names. One seed always makes the same lists, and
a longer tail is part of a shorter one.
"""

import argparse
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from paco import longtail

# paco-classify takes the same files of a folder; csrc/classify/image_folder.cpp says so again.
EXTENSIONS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
# Folders of systems, beside those that begin with a dot.
HIDDEN = {b"__MACOSX", b"@eaDir", b"$RECYCLE.BIN", b"System Volume Information", b"lost+found"}
# A line of a list ends at them, or a terminal obeys them, or a reader takes them off.
UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


def find_images(root: Path) -> tuple[list[str], list[str], list[int], Counter[str]]:
    """The classes of a folder, the path below it and the label of each image, and what else it has.

    The last counts the files and folders that are left out, by the reason.
    """
    left_out: Counter[str] = Counter()
    # Names are bytes to the system and UTF-8 in the lists, whatever the locale makes of them.
    top = os.fsencode(root)
    folders = []
    for entry in look_into(top, left_out):
        if entry.is_dir():
            folders.append(entry.path)
        else:
            left_out["outside the class folders"] += 1
    if not folders:
        raise ValueError(f"{root} has no folder; each class must be one")
    classes, paths, labels = [], [], []
    for label, folder in enumerate(sorted(folders)):
        classes.append(name_below(top, folder))
        found = images_below(folder, left_out, {os.path.realpath(top)})
        images = sorted(name_below(top, path) for path in found)
        if not images:
            raise ValueError(f"{root / classes[-1]} has no image")
        paths += images
        labels += [label] * len(images)
    return classes, paths, labels, left_out


def images_below(folder: bytes, left_out: Counter[str], above: set[bytes]) -> Iterator[bytes]:
    """The images of a folder and its folders, of which none is a link to one above it."""
    here = os.path.realpath(folder)
    if here in above:
        left_out["links to a folder above"] += 1
        return
    for entry in look_into(folder, left_out):
        if entry.is_dir():
            yield from images_below(entry.path, left_out, above | {here})
        elif os.fsdecode(os.path.splitext(entry.name)[1]).lower() not in EXTENSIONS:
            left_out["not named like images"] += 1
        elif not entry.is_file():
            left_out["pipes, sockets or devices"] += 1
        else:
            yield entry.path


def look_into(folder: bytes, left_out: Counter[str]) -> Iterator[os.DirEntry[bytes]]:
    """What a folder shows to a person."""
    try:
        entries = os.scandir(folder)
    except OSError as error:
        raise OSError(f"{os.fsdecode(folder)} cannot be read: {error.strerror}") from error
    with entries:
        for entry in entries:
            if entry.name.startswith(b".") or entry.name in HIDDEN:
                left_out["hidden"] += 1
            elif entry.is_symlink() and not os.path.exists(entry.path):
                left_out["broken links"] += 1
            else:
                yield entry


def name_below(root: bytes, path: bytes) -> str:
    """How the lists name a file or a folder."""
    try:
        name = os.path.relpath(path, root).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"the name {path!r} is not UTF-8, as lists are; rename it") from None
    if UNWRITABLE.search(name):
        raise ValueError(
            f"the name {name!r} has a line break or another control character, which a list cannot "
            "hold; rename it"
        )
    return name.replace(os.sep, "/")


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
    available = longtail.class_counts(torch.tensor(labels), len(classes))
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


def write_lists(out: Path, lists: Mapping[str, str]) -> None:
    """Writes files that appear once all of them are whole; otherwise those of before stay."""
    path = out
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".lists-", dir=out) as unfinished:
            for name, text in lists.items():
                path = out / name
                (Path(unfinished) / name).write_text(text, encoding="utf-8", newline="\n")
            for name in lists:
                path = out / name
                os.replace(Path(unfinished) / name, path)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}") from error


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
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice (default: 0)")
    args = parser.parse_args(arguments)
    if args.max_count is not None and args.imbalance_factor is None:
        parser.error("--max-count belongs to --imbalance-factor")
    for option, least in [("imbalance_factor", 1), ("max_count", 1), ("val_per_class", 0)]:
        value = getattr(args, option)
        if value is not None and not least <= value < 2**31:  # NaN is none of these either
            name = option.replace("_", "-")
            parser.error(f"--{name} must be a number of at least {least}, got {value}")
    if not abs(args.seed) < 2**63:
        parser.error(f"--seed must fit 64 bits, got {args.seed}")

    try:
        classes, paths, labels, left_out = find_images(args.images)
        train, val = split(
            classes, labels, args.val_per_class, args.imbalance_factor, args.max_count, args.seed
        )
        lists = {"classes.txt": "".join(f"{name}\n" for name in classes)}
        for name, chosen in [("train.txt", train), ("val.txt", val)]:
            if len(chosen):
                lists[name] = "".join(f"{paths[i]} {labels[i]}\n" for i in chosen.tolist())
        if "val.txt" not in lists and (args.out / "val.txt").exists():
            raise ValueError(
                f"{args.out / 'val.txt'} was made by another call, and the new training list may "
                "have its images; remove it, give --val-per-class, or choose another folder"
            )
        write_lists(args.out, lists)
    except (OSError, ValueError) as error:
        parser.error(str(error))

    counts = longtail.class_counts(torch.tensor(labels)[train], len(classes))
    groups = {name: int(members.sum()) for name, members in longtail.class_groups(counts).items()}
    sys.stdout.reconfigure(errors="backslashreplace")  # the folder's name may be of any encoding
    print(
        f"{args.out}: {len(train)} training images of {len(classes)} classes, {int(counts.max())} "
        f"to {int(counts.min())} a class ({groups['many']} many, {groups['medium']} medium, "
        f"{groups['few']} few), {len(val)} validation images"
    )
    if left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        print(f"left out of {args.images}: {reasons}")


if __name__ == "__main__":
    main()
