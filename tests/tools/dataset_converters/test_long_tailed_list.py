import os
import resource
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from paco.tools.dataset_converters import long_tailed_list

pytestmark = pytest.mark.once

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
    long_tailed_list.main(list(map(str, (images, out, *options))))


def read(path: Path) -> dict[str, int]:
    lines = path.read_text(encoding="utf-8").splitlines()
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
        (("--imbalance-factor", 0.5), "--imbalance-factor must be a number of at least 1, got 0.5"),
        (("--imbalance-factor", "nan"), "--imbalance-factor must be a number of at least 1, got n"),
        (("--imbalance-factor", "inf"), "--imbalance-factor must be a number of at least 1, got i"),
        (("--imbalance-factor", 2, "--max-count", 0), "--max-count must be a number of at least 1"),
        (("--val-per-class", -1), "--val-per-class must be a number of at least 0, got -1"),
        (("--seed", 10**20), "--seed must fit 64 bits, got 1000"),
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


def test_only_images_that_a_person_sees_are_listed(images, tmp_path, capsys):
    for name in (
        ".ipynb_checkpoints/1.jpg",
        "__MACOSX/ant/._1.jpg",
        ".DS_Store",
        "ant/.ipynb_checkpoints/2.jpg",
        "ant/._3.jpg",
        "ant/x/.4.png",
        "bee/@eaDir/5.jpg/thumbnail.jpg",
        "bee/__MACOSX/6.jpg",
        "$RECYCLE.BIN/7.jpg",
        "System Volume Information/8.jpg",
        "lost+found/9.jpg",
    ):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).touch()
    (images / "ant" / "7.jpg").symlink_to("nowhere.jpg")
    (images / "ant" / "8.jpg").symlink_to("8.jpg")
    (images / "cat").symlink_to(tmp_path / "unplugged")
    (images / "bee" / "again").symlink_to("..", target_is_directory=True)
    (images / "bee" / "9.jpg").mkdir()
    os.mkfifo(images / "bee" / "10.jpg")
    (images / "bee" / "anim.gif").touch()
    run(images, tmp_path / "out")
    assert len(read(tmp_path / "out" / "train.txt")) == 90
    assert (tmp_path / "out" / "classes.txt").read_text().splitlines() == CLASSES
    assert capsys.readouterr().out.splitlines()[1] == (
        f"left out of {images}: 3 broken links, 11 hidden, 1 links to a folder above, 4 not named "
        "like images, 1 outside the class folders, 1 pipes, sockets or devices"
    )


def test_links_to_images_and_to_folders_are_what_they_lead_to(images, tmp_path):
    shutil.move(images / "bee", tmp_path / "far away")
    (images / "bee").symlink_to(tmp_path / "far away")
    (images / "bee" / "link.png").symlink_to(images / "ant" / "link.png")
    (images / "ant" / "link.png").touch()
    (images / "bee" / "folder.jpg").mkdir()
    (images / "bee" / "folder.jpg" / "a.webp").touch()
    run(images, tmp_path / "out")
    listed = read(tmp_path / "out" / "train.txt")
    assert Counter(listed.values()) == {0: 31, 1: 32, 2: 30}
    assert listed["bee/link.png"] == listed["bee/folder.jpg/a.webp"] == 1


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_lists_are_utf_8_in_every_locale(tmp_path, locale):
    image = tmp_path / "images" / "蜜蜂 ß" / "1é.jpg"
    image.parent.mkdir(parents=True)
    image.touch()
    subprocess.run(
        [sys.executable, long_tailed_list.__file__, tmp_path / "images", tmp_path / "out"],
        env=os.environ | {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        check=True,
    )
    assert (tmp_path / "out" / "classes.txt").read_bytes() == "蜜蜂 ß\n".encode()
    assert (tmp_path / "out" / "train.txt").read_bytes() == "蜜蜂 ß/1é.jpg 0\n".encode()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (b"a\nb", r"the name 'a\nb' has a line break or another control character"),
        (b"ant/1\r.jpg", r"the name 'ant/1\r.jpg' has a line break"),
        (b"ant/\x1b[2J.jpg", r"the name 'ant/\x1b[2J.jpg' has a line break"),
        ("ant/\u2028\x85.jpg".encode(), r"the name 'ant/\u2028\x85.jpg' has a line break"),
        ("\ufeffant".encode(), r"the name '\ufeffant' has a line break"),
        (b"caf\xe9", r"caf\xe9' is not UTF-8"),
        (b"ant/caf\xe9.jpg", r"caf\xe9.jpg' is not UTF-8"),
    ],
)
def test_a_name_that_a_list_cannot_hold_is_refused(images, tmp_path, capsys, name, message):
    path = os.path.join(os.fsencode(images), name)
    if b"." not in name:
        os.mkdir(path)
        path = os.path.join(path, b"1.jpg")
    with open(path, "w"):
        pass
    with pytest.raises(SystemExit, match="2"):
        run(images, tmp_path / "out")
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_the_lists_that_were_there(images, tmp_path):
    out = tmp_path / "out"
    run(images, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (images / "wasp").mkdir()
    (images / "wasp" / "1.jpg").touch()
    result = subprocess.run(
        [sys.executable, long_tailed_list.__file__, images, out],
        capture_output=True,
        text=True,
        # It fits the classes, and the training list it does not.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
    )
    assert result.returncode == 2
    assert result.stderr.endswith(f"error: {out}/train.txt cannot be written: File too large\n")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_named(images, tmp_path, capsys):
    (tmp_path / "file").touch()
    for out, reason in [("file", "File exists"), ("file/out", "Not a directory")]:
        with pytest.raises(SystemExit, match="2"):
            run(images, tmp_path / out)
        assert f"{tmp_path / out} cannot be written: {reason}" in capsys.readouterr().err


def test_a_folder_that_cannot_be_read_is_named(images, tmp_path, capsys, monkeypatch):
    scandir = os.scandir

    def refuse(folder):
        if folder == os.fsencode(images / "bee" / "y"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read every folder
    with pytest.raises(SystemExit, match="2"):
        run(images, tmp_path / "out")
    assert f"{images}/bee/y cannot be read: Permission denied" in capsys.readouterr().err


def test_a_validation_list_of_another_call_does_not_stay(images, tmp_path, capsys):
    out = tmp_path / "out"
    run(images, out, "--val-per-class", 3)
    train = read(out / "train.txt")
    with pytest.raises(SystemExit, match="2"):
        run(images, out)
    assert f"{out}/val.txt was made by another call" in capsys.readouterr().err
    assert read(out / "train.txt") == train
    run(images, out, "--val-per-class", 4)
    assert not read(out / "train.txt").keys() & read(out / "val.txt").keys()
