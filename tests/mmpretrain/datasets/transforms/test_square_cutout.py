import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS


def test_holes_are_those_of_the_published_code():
    """Each of its 32 x 32 holes, a square around a pixel, and no other."""
    expected = set()
    for y in range(32):
        for x in range(32):
            mask = np.ones((32, 32), dtype=np.uint8)
            y1, y2 = np.clip(y - 8, 0, 32), np.clip(y + 8, 0, 32)
            x1, x2 = np.clip(x - 8, 0, 32), np.clip(x + 8, 0, 32)
            mask[y1:y2, x1:x2] = 0
            expected.add(mask.tobytes())
    transform = TRANSFORMS.build(dict(type="SquareCutout", size=16))
    image = np.ones((32, 32, 3), dtype=np.uint8)
    drawn = [transform(dict(img=image))["img"] for _ in range(12000)]
    assert image.all()
    assert all((result == result[..., :1]).all() for result in drawn)
    # Each is drawn with probability 1 / 1024: missing one of them takes 1e-5 of luck.
    holes = {np.ascontiguousarray(result[..., 0]).tobytes() for result in drawn}
    assert holes <= expected
    assert len(holes) > 0.99 * len(expected)


@pytest.mark.parametrize("size", [0, 7, -2])
def test_a_size_that_has_no_middle_is_an_error(size):
    with pytest.raises(ValueError, match=f"size must be even and at least 2, got {size}"):
        TRANSFORMS.build(dict(type="SquareCutout", size=size))
