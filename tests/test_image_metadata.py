import math
import re
from importlib import metadata

import pytest
import torch

from paco.image_metadata import image_metadata


def test_image_metadata_is_exact():
    mean, std = torch.rand(3), torch.rand(3)
    texts = image_metadata(
        ["a", "b, c"],
        mean=mean.tolist(),
        std=std.tolist(),
        resize=256,
        interpolation="bicubic",
        resize_backend="pillow",
        crop=(224, 192),
    )
    assert torch.equal(torch.tensor([float(x) for x in texts.pop("mean").split(",")]), mean)
    assert torch.equal(torch.tensor([float(x) for x in texts.pop("std").split(",")]), std)
    assert texts == {
        "classes": "a\nb, c",
        "channels": "RGB",
        "resize": "256",
        "interpolation": "bicubic",
        "resize_backend": "pillow",
        "pillow": metadata.version("pillow").split(".")[0],
        "crop": "224,192",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": []}, r"classes must be at least one name, .* got \[\]"),
        *(
            ({"classes": ["good", name]}, rf"each of one line, got \[{re.escape(repr(name))}\]")
            for name in ("a\nb", "a\n", "a\r", "\u2028b", "")
        ),
        ({"channels": "HSV"}, "channels must be RGB, BGR or GRAY, got 'HSV'"),
        ({"channels": "GRAY"}, "mean must have one number for each of GRAY"),
        ({"std": [1.0]}, r"std must have one number for each of RGB, got \[1.0\]"),
        ({"std": [1.0, 0.0, 1.0]}, r"std > 0, got .* and \[1.0, 0.0, 1.0\]"),
        ({"mean": [math.nan] * 3}, r"must be finite, .* got \[nan"),
        ({"resize": 0}, "resize must be at least 1, got 0"),
        ({"crop": (224, -1)}, r"crop must be at least 1, got \(224, -1\)"),
        ({"class_counts": [5, 5]}, "class_counts must have 1 numbers, one a class, got 2"),
        ({"class_counts": [-1]}, "class_counts must be >= 0, got -1"),
        ({"interpolation": "cubic"}, "'cv2' and 'cubic'"),
        ({"interpolation": "area", "resize_backend": "pillow"}, "'pillow' and 'area'"),
    ],
)
def test_bad_image_metadata_is_refused(change, message):
    arguments = {"classes": ["a"], "mean": [0.0] * 3, "std": [1.0] * 3} | change
    with pytest.raises(ValueError, match=message):
        image_metadata(**arguments)
