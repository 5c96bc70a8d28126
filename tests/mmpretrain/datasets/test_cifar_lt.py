import pickle
from pathlib import Path

import cv2
import mmpretrain.datasets.cifar
import numpy as np
import pytest
from mmpretrain.datasets import CIFAR100
from mmpretrain.registry import DATASETS

from paco.mmpretrain import CIFAR10LT, CIFAR100LT

PER_CLASS = 16


@pytest.fixture
def pixels() -> np.ndarray:
    """CIFAR-10 in small: [10, 16, 32, 32, 3] uint8, RGB."""
    return np.random.randint(0, 256, (10, PER_CLASS, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path, pixels: np.ndarray) -> Path:
    for split in ("train", "test"):
        for name, images in zip(CIFAR10LT.METAINFO["classes"], pixels, strict=True):
            (tmp_path / split / name).mkdir(parents=True)
            for i, image in enumerate(images):
                cv2.imwrite(str(tmp_path / split / name / f"{i:03}.png"), image[..., ::-1])
    return tmp_path


@pytest.fixture
def archive(tmp_path: Path, pixels: np.ndarray, monkeypatch) -> Path:
    """The original form: five batches of rows R, G, B, in an order that mixes the classes."""
    monkeypatch.setattr(mmpretrain.datasets.cifar, "check_md5", lambda *_: True)
    rows = pixels.transpose(1, 0, 4, 2, 3).reshape(-1, 3072)
    labels = np.tile(np.arange(10), PER_CLASS)
    root = tmp_path / "archive" / "cifar-10-batches-py"
    root.mkdir(parents=True)
    names = [f"data_batch_{i}" for i in range(1, 6)]
    for name, part in zip(names, np.split(np.arange(len(rows)), 5), strict=True):
        batch = {"data": rows[part], "labels": labels[part].tolist()}
        (root / name).write_bytes(pickle.dumps(batch))
    (root / "test_batch").write_bytes(pickle.dumps({"data": rows, "labels": labels.tolist()}))
    return root.parent


def build(root: Path, **kwargs) -> CIFAR10LT:
    return DATASETS.build(dict(type="CIFAR10LT", data_root=str(root), **kwargs))


def content(dataset) -> list[tuple[int, bytes]]:
    samples = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [(sample["gt_label"], sample["img"].tobytes()) for sample in samples]


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_the_training_split_has_the_profile_and_the_test_split_is_whole(form, rng, request, pixels):
    root = request.getfixturevalue(form)
    factor = rng.choice([1, 2, 7.5, 16])
    counts = [int(PER_CLASS * (1 / factor) ** (i / 9)) for i in range(10)]
    dataset = build(root, imbalance_factor=factor)
    assert np.bincount(dataset.get_gt_labels(), minlength=10).tolist() == counts
    images = {(c, pixels[c, i].tobytes()) for c in range(10) for i in range(PER_CLASS)}
    assert set(content(dataset)) <= images
    assert len(set(content(dataset))) == sum(counts)
    assert set(content(build(root, split="test"))) == images


def test_the_archive_s_images_are_chosen_as_the_published_code_does(archive, pixels):
    np.random.seed(3)
    expected = []
    for c in range(10):
        order = np.arange(PER_CLASS)
        np.random.shuffle(order)
        count = int(PER_CLASS * (1 / 10) ** (c / 9))
        expected += [(c, pixels[c, i].tobytes()) for i in order[:count]]
    assert content(build(archive, imbalance_factor=10, seed=3)) == expected
    assert set(content(build(archive, imbalance_factor=10, seed=4))) != set(expected)


def test_of_image_folders_the_first_images_are_taken(folder, pixels):
    dataset = build(folder, imbalance_factor=15)
    counts = [int(PER_CLASS * (1 / 15) ** (i / 9)) for i in range(10)]
    expected = [(c, pixels[c, i].tobytes()) for c in range(10) for i in range(counts[c])]
    assert content(dataset) == expected


def test_a_folder_with_too_few_images_of_a_class_is_an_error(folder):
    for i in range(5):
        (folder / "train" / "automobile" / f"{i:03}.png").unlink()
    build(folder, imbalance_factor=15)
    with pytest.raises(ValueError, match=r"takes 16 images of class 'automobile'.*has 11"):
        build(folder, imbalance_factor=1)


def test_folders_that_are_not_the_classes_are_an_error(folder):
    (folder / "train" / "airplane").rename(folder / "train" / "aeroplane")
    with pytest.raises(ValueError, match=r"named after the classes airplane.*got aeroplane"):
        build(folder)


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_an_image_that_cannot_be_read_is_named(folder, content):
    (folder / "train" / "automobile" / "003.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"automobile/003\.png is not an image that can be read"):
        build(folder)


@pytest.mark.parametrize(("factor", "size"), [(100, 10847), (50, 12608), (10, 19573)])
def test_cifar_100_lt_has_the_published_size(tmp_path, monkeypatch, factor, size):
    balanced = [{"gt_label": c} for c in range(100) for _ in range(500)]
    monkeypatch.setattr(CIFAR100, "load_data_list", lambda self: balanced)
    config = dict(type="CIFAR100LT", data_root=str(tmp_path), imbalance_factor=factor)
    dataset = DATASETS.build(config)
    assert isinstance(dataset, CIFAR100LT)
    assert len(dataset) == size
