import math

import numpy as np
import pytest
import torch
from helpers.digits_runs import runner
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS
from sklearn.datasets import load_digits

from paco.mmpretrain import digits_demo

# ---- The digits ---------------------------------------------------------------------------------


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


# ---- Network, noise and bar ---------------------------------------------------------------------


def test_the_network_is_three_convolutions():
    model = MODELS.build(dict(type="SmallConvNet", in_channels=2))
    x = torch.randn(3, 2, 8, 12)
    (features,) = model(x)
    assert features.shape == (3, 128, 2, 3)
    assert features.min() >= 0
    expected = 9 * (2 * 32 + 32 * 64 + 64 * 128) + 2 * (32 + 64 + 128)
    assert sum(p.numel() for p in model.parameters()) == expected


def test_noise_is_normal_and_independent():
    image = np.random.randint(0, 256, (200, 200, 3), dtype=np.uint8)
    transform = TRANSFORMS.build(dict(type="GaussianNoise", std=20))
    first, second = (transform(dict(img=image))["img"] for _ in range(2))
    assert first.dtype == np.float32
    noise = first - image
    assert abs(noise.mean()) < 0.5  # eight of its standard deviations
    assert abs(noise.std() - 20) < 0.5
    for other in (second - image, np.roll(noise, 1, axis=2), np.roll(noise, 1, axis=0)):
        correlation = np.corrcoef(noise.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 0.025
    assert 0.45 < (noise > 0).mean() < 0.55


@pytest.mark.parametrize("interval", [0, math.inf])
def test_the_bar_is_drawn_now_and_then_and_at_the_end(tmp_path, capsys, monkeypatch, interval):
    monkeypatch.setattr(digits_demo, "BAR_INTERVAL", interval)
    run = runner(tmp_path, "ce", custom_hooks=[dict(type="ProgressBarHook")], log_level="ERROR")
    run.val_loop.evaluator.metrics[0].class_counts = [1] * 10
    run.train()
    assert run.max_iters == 5
    out = capsys.readouterr().out
    drawn = [done for done in range(1, 6) if f"] {done}/5, " in out]
    assert drawn == ([1, 2, 3, 4, 5] if interval == 0 else [5])
    assert out.endswith("\n")
