from pathlib import Path

import cv2
import pytest
import torch
from helpers.digits_runs import CONFIGS
from PIL import Image

from paco.tools import check_images


@pytest.fixture
def config(tmp_path) -> Path:
    """A config of three classes of four JPEG files each, the last class not in the test list."""
    lines = []
    for i in range(12):
        path = tmp_path / "images" / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        pixels = torch.randint(0, 256, (40, 48, 3), dtype=torch.uint8).numpy()
        assert cv2.imwrite(str(path), pixels)
        lines.append(f"{path.name} {i % 3}\n")
    (tmp_path / "train.txt").write_text("".join(lines))
    (tmp_path / "val.txt").write_text("".join(lines[:2]))
    path = tmp_path / "config.py"
    path.write_text(
        f"data = dict(type='ImageList', num_classes=3, data_prefix={str(tmp_path / 'images')!r})\n"
        f"train_dataloader = dict(dataset=dict(data, ann_file={str(tmp_path / 'train.txt')!r}))\n"
        f"val_dataloader = dict(dataset=dict(data, ann_file={str(tmp_path / 'val.txt')!r}, "
        "test_mode=True))\n"
        "test_dataloader = val_dataloader\n"
    )
    return path


def run(config: Path, *options: str) -> None:
    check_images.main([str(config), "--workers", "2", *options])


def test_good_images_pass(config, capsys):
    run(config)
    printed = capsys.readouterr().out
    assert "train: 12 images" in printed and "val: 2 images" in printed
    assert printed.endswith("every image can be read\n")


def test_images_that_cannot_be_used_are_named_with_their_lines(config):
    images = config.parent / "images"
    (images / "0.jpg").write_bytes(b"")
    (images / "4.jpg").write_bytes(b"no image")
    path = images / "7.jpg"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(SystemExit) as info:
        run(config)
    lines = str(info.value.code).splitlines()
    # Validation and test list are the same file, whose one bad image is told once.
    bad = [("train", 1, 0), ("train", 5, 4), ("train", 8, 7), ("val", 1, 0)]
    assert lines == [
        *(
            f"{config.parent / name}.txt, line {line}: {images / str(i)}.jpg is not an image that "
            "can be read"
            for name, line, i in bad
        ),
        "4 images cannot be used",
    ]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animated_images_are_named(config, kind):
    frames = [Image.new("RGB", (40, 48), colour) for colour in ("red", "blue")]
    path = config.parent / "images" / "2.jpg"  # by its content, not its name
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])
    with pytest.raises(SystemExit, match=r"train\.txt, line 3: .*2\.jpg is animated"):
        run(config)
    if kind != "GIF":
        frames[0].save(path, kind)
        run(config)


def test_a_list_with_a_mistake_is_refused(config, capsys):
    (config.parent / "images" / "5.jpg").unlink()
    with pytest.raises(SystemExit):
        run(config)
    assert "train.txt names 1 images of 12 that do not exist: line 6" in capsys.readouterr().err


def test_images_in_memory_are_no_files(capsys):
    run(CONFIGS / "digits_lt" / "ce.py")
    assert "train: DigitsLT has its images in memory" in capsys.readouterr().out


def test_options_override_the_config(config, capsys):
    moved = config.parent / "moved"
    (config.parent / "images").rename(moved)
    splits = ("train", "val", "test")
    places = [f"{split}_dataloader.dataset.data_prefix={moved}" for split in splits]
    run(config, "--cfg-options", *places)
    assert capsys.readouterr().out.endswith("every image can be read\n")


REPEATED = """
train_dataloader = dict(dataset=dict(type='RepeatDataset', times=3, dataset=
    dict(type='ConcatDataset', datasets=[part, dict(part, indices=[0, 1])])))
"""
WITH_PARTNERS = """
views = dict(type='ContrastViews', views=[[], []], classification=[])
train_dataloader = dict(
    dataset=dict(type='WithBalancedPartner', dataset=dict(part, pipeline=[views])))
"""


@pytest.mark.parametrize("wrapped", [REPEATED, WITH_PARTNERS], ids=["repeated", "with partners"])
def test_a_wrapped_data_set_is_checked_once_and_its_list_named(config, wrapped):
    text = config.read_text()
    config.write_text(text + "part = train_dataloader['dataset']\n" + wrapped)
    image = config.parent / "images" / "4.jpg"
    image.write_bytes(b"")
    with pytest.raises(SystemExit) as info:
        run(config)
    assert str(info.value.code).splitlines() == [
        f"{config.parent / 'train.txt'}, line 5: {image} is not an image that can be read",
        "1 images cannot be used",
    ]
