"""Old names of registered classes: a config that has one gets an error with the new one."""

from collections.abc import Callable

from mmengine.registry import Registry
from mmpretrain.registry import MODELS, TRANSFORMS

RENAMED: list[tuple[Registry, str, str]] = [
    (MODELS, "ResNetCIFAR", "SmallImageResNet"),
    (
        MODELS,
        "DeepResNet",
        "ResNet200, which takes no depth; other depths are the toolbox's ResNet",
    ),
    (MODELS, "TwoViewDataPreprocessor", "ViewsDataPreprocessor"),
    (TRANSFORMS, "TwoViews", "ContrastViews(views=[anchor, key])"),
]


def _refusal(old: str, new: str) -> Callable:
    def refuse(**_: object) -> None:
        raise TypeError(f"{old} is now called {new}")

    return refuse


for registry, old, new in RENAMED:
    registry.register_module(name=old, module=_refusal(old, new))
