"""Importing this makes torchvision importable beside a CPU build of torch.

The package index has a CUDA build of torchvision (0.26 to 0.28). Its compiled operators do not load
there, and its Python side then fails to find two of them ("operator torchvision::nms does not
exist"), with all that import it: timm, lightning, the OpenMMLab packages. Declaring the two is
enough for everything but the operators themselves and the image decoders. It has to come before the
first import of torchvision; where nothing is broken it changes nothing.
"""

import sys

import torch

# Keeps the declarations alive: a Library withdraws them when it is collected.
library: torch.library.Library | None = None

try:
    import torchvision
except ModuleNotFoundError:
    pass
except RuntimeError as error:
    if "torchvision::nms" not in str(error):
        raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401
