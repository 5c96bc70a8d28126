import numpy as np
import pytest
from mmpretrain.registry import DATASETS
from sklearn.datasets import load_digits


def build(**kwargs):
    return DATASETS.build(dict(type="DigitsLT", **kwargs))


def images_of(dataset) -> list[bytes]:
    return [dataset.get_data_info(i)["img"].tobytes() for i in range(len(dataset))]


def test_the_default_profile_falls_from_110_to_2():
    counts = np.bincount(build().get_gt_labels())
    assert counts.tolist() == [int(110 * (1 / 50) ** (i / 9)) for i in range(10)]
    assert counts[0] == 110
    assert counts[9] == 2


def test_splits_are_apart_and_true_to_the_source(rng):
    seed = rng.randrange(1000)
    train, test = build(imbalance_factor=1, seed=seed), build(split="test", seed=seed)
    assert np.bincount(train.get_gt_labels()).tolist() == [110] * 10
    assert np.bincount(test.get_gt_labels()).tolist() == [60] * 10
    digits = load_digits()
    grey = [image.astype(np.uint8).tobytes() for image in digits.images]
    source = dict(zip(grey, digits.target, strict=True))
    assert len(source) == 1797  # no image comes twice
    seen = set()
    for dataset in (train, test):
        for i in range(len(dataset)):
            sample = dataset.get_data_info(i)
            assert sample["img"].shape == (8, 8)
            levels = np.rint(sample["img"] * (16 / 255)).astype(np.uint8).tobytes()
            assert source[levels] == sample["gt_label"]
            seen.add(levels)
    assert len(seen) == 1700


def test_a_seed_chooses_the_images():
    assert images_of(build(seed=1)) == images_of(build(seed=1))
    assert images_of(build(seed=1)) != images_of(build(seed=2))
    assert set(images_of(build(seed=1))) < set(images_of(build(seed=1, imbalance_factor=10)))


def test_an_unknown_split_is_an_error():
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'val'"):
        build(split="val")
