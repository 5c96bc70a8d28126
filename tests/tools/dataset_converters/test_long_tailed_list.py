import importlib.util
from collections import Counter
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[3] / "tools" / "dataset_converters" / "long_tailed_list.py"
spec = importlib.util.spec_from_file_location(TOOL.stem, TOOL)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

CLASSES = ["ant", "bee", "two words"]


@pytest.fixture
def images(tmp_path: Path, rng) -> Path:
    """Thirty images, in folders of folders, of each class; the lists need no pixels."""
    root = tmp_path / "images"
    for name in CLASSES:
        for i in range(30):
            suffix = [".jpg", ".PNG", ".tiff"][i % 3]
            path = root / name / rng.choice(["x", "y/z"]) / f"{i}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (root / name / "notes.txt").touch()
    (root / "readme.txt").touch()
    return root


def run(images: Path, out: Path, *options: object) -> None:
    tool.main(list(map(str, (images, out, *options))))


def read(path: Path) -> dict[str, int]:
    lines = path.read_text().splitlines()
    pairs = dict((path, int(label)) for path, label in (line.rsplit(" ", 1) for line in lines))
    assert len(pairs) == len(lines)
    return pairs


def test_every_image_is_listed_unless_a_tail_is_asked_for(images, tmp_path, capsys):
    run(images, tmp_path / "out")
    message = capsys.readouterr().out
    assert "90 training images of 3 classes, 30 to 30 a class (0 many, 3 medium, 0 few)" in message
    listed = read(tmp_path / "out" / "train.txt")
    files = [path for path in images.glob("*/**/*") if path.is_file() and path.suffix != ".txt"]
    assert listed.keys() == {path.relative_to(images).as_posix() for path in files}
    assert all(CLASSES[label] == path.split("/")[0] for path, label in listed.items())
    assert (tmp_path / "out" / "classes.txt").read_text().splitlines() == CLASSES
    assert not (tmp_path / "out" / "val.txt").exists()


def test_a_tail_and_a_validation_split_share_nothing(images, tmp_path):
    options = ("--imbalance-factor", 10, "--val-per-class", 4, "--seed", 5)
    run(images, tmp_path / "out", *options)
    train, val = read(tmp_path / "out" / "train.txt"), read(tmp_path / "out" / "val.txt")
    # 26 images a class are left to train on.
    assert Counter(train.values()) == {0: 26, 1: int(26 * 0.1**0.5), 2: 2}
    assert Counter(val.values()) == {0: 4, 1: 4, 2: 4}
    assert not train.keys() & val.keys()

    run(images, tmp_path / "again", *options)
    assert read(tmp_path / "again" / "train.txt") == train
    assert read(tmp_path / "again" / "val.txt") == val
    run(images, tmp_path / "other", *options[:-1], 6)
    assert read(tmp_path / "other" / "train.txt") != train
    assert read(tmp_path / "other" / "val.txt") != val
    run(images, tmp_path / "longer", "--imbalance-factor", 20, *options[2:])
    assert read(tmp_path / "longer" / "val.txt") == val
    assert read(tmp_path / "longer" / "train.txt").items() < train.items()


def test_the_largest_class_is_a_choice(images, tmp_path):
    run(images, tmp_path / "out", "--imbalance-factor", 4, "--max-count", 12)
    assert Counter(read(tmp_path / "out" / "train.txt").values()) == {0: 12, 1: 6, 2: 3}


def test_the_data_set_reads_the_lists(images, tmp_path):
    import paco.mmpretrain

    run(images, tmp_path / "out", "--imbalance-factor", 10)
    dataset = paco.mmpretrain.ImageList(
        ann_file=str(tmp_path / "out" / "train.txt"),
        data_prefix=str(images),
        classes=str(tmp_path / "out" / "classes.txt"),
    )
    assert len(dataset) == 30 + 9 + 3
    assert list(dataset.metainfo["classes"]) == CLASSES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--val-per-class", 30), "class 'ant' has 30 images, and --val-per-class 30"),
        (("--imbalance-factor", 2, "--max-count", 31), "takes 31 images of class 'ant', and 30"),
        (("--imbalance-factor", 100), "takes 0 images of class 'two words', and 30"),
        (("--imbalance-factor", 0.5), "imbalance_factor must be at least 1, got 0.5"),
        (("--max-count", 3), "--max-count belongs to --imbalance-factor"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(images, tmp_path, options, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(images, tmp_path / "out", *options)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_none_of_classes_is_a_sentence(images, tmp_path, capsys):
    (images / "cat").mkdir()
    for folder, message in [
        (images, f"{images}/cat has no image"),
        (images / "cat", f"{images}/cat has no folder"),
        (tmp_path / "none", "No such file or directory"),
    ]:
        with pytest.raises(SystemExit, match="2"):
            run(folder, tmp_path / "out")
        assert message in capsys.readouterr().err
