import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from paco.mmpretrain.auto_augment import CIFAR10_POLICY

TYPES = {
    "ShearY": ("Shear", "magnitude", 1),
    "TranslateX": ("Translate", "magnitude", 1 / 32),  # of the image's size
    "TranslateY": ("Translate", "magnitude", 1 / 32),
    "Rotate": ("Rotate", "angle", 1),
    "Brightness": ("Brightness", "magnitude", 1),
    "Color": ("ColorTransform", "magnitude", 1),
    "Contrast": ("Contrast", "magnitude", 1),
    "Sharpness": ("Sharpness", "magnitude", 1),
    "Posterize": ("Posterize", "bits", 1),
    "Solarize": ("Solarize", "thr", 1),
}


def test_the_policy_is_torchvision_s():
    theirs = AutoAugment(AutoAugmentPolicy.CIFAR10)
    ours = TRANSFORMS.build(dict(type="AutoAugment", policies="cifar10"))
    space = theirs._augmentation_space(10, (32, 32))
    assert len(ours.policies) == len(theirs.policies) == len(CIFAR10_POLICY) == 25
    for our_steps, their_steps in zip(ours.policies, theirs.policies, strict=True):
        for step, (name, prob, level) in zip(our_steps, their_steps, strict=True):
            type_, key, scale = TYPES.get(name, (name, None, None))
            assert step["type"] == type_
            assert step["prob"] == prob
            if key is not None:
                # torchvision solarizes from 255 down, the authors' code from 256.
                tolerance = 1 if name == "Solarize" else 1e-6
                expected = space[name][0][level].item() * scale
                assert step[key] == pytest.approx(expected, abs=tolerance)
            if name[-1] in "XY":
                assert step["direction"] == ("horizontal" if name[-1] == "X" else "vertical")


def test_it_makes_images():
    transform = TRANSFORMS.build(dict(type="AutoAugment", policies="cifar10"))
    image = np.random.randint(0, 256, (32, 32, 3), dtype=np.uint8)
    results = [transform(dict(img=image.copy()))["img"] for _ in range(200)]
    assert all(result.shape == image.shape and result.dtype == np.uint8 for result in results)
    assert len({result.tobytes() for result in results}) > 20
