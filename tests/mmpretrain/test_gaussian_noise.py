import numpy as np
from mmpretrain.registry import TRANSFORMS


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
