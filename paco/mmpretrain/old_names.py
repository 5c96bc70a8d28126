"""Old names of registered classes: a config that has one gets an error with the new one."""

from collections.abc import Callable

from mmpretrain.registry import MODELS

RENAMED = {
    "ResNetCIFAR": "SmallImageResNet",
    "DeepResNet": "ResNet200, which takes no depth; other depths are the toolbox's ResNet",
}


def _refusal(old: str, new: str) -> Callable:
    def refuse(**_: object) -> None:
        raise TypeError(f"{old} is now called {new}")

    return refuse


for old, new in RENAMED.items():
    MODELS.register_module(name=old, module=_refusal(old, new))
