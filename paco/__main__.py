"""What a report of an error should hold: python -m paco."""

import platform
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

import torch

from . import __version__, build_info, paco_loss
from ._library import wheel_page

TOOLBOXES = [
    *("mmpretrain", "mmengine", "mmcv", "mmcv-lite"),
    *("onedl-mmpretrain", "onedl-mmengine", "onedl-mmcv"),
    *("timm", "lightning", "torchvision", "numpy", "openmim", "onedl-mim"),
]


def versions_of(names: list[str]) -> str:
    found = [
        f"{name} {metadata.version(name)}" for name in names if [*metadata.distributions(name=name)]
    ]
    return ", ".join(found) or "none"


def result_of(device: str) -> str:
    """Whether the loss and its gradient can be computed there."""
    try:
        features = torch.eye(2, device=device)[[0, 0, 1, 1]].requires_grad_()
        labels = torch.tensor([0, 0, 1, 1], device=device)
        loss = paco_loss(features, labels, alpha=1.0, temperature=1.0)
        (gradient,) = torch.autograd.grad(loss, features)
        works = bool(gradient.isfinite().all())
    except Exception as error:  # whatever it is, it is what is asked for
        return f"fails: {error}"
    return "works" if works else "gives a gradient that is not finite"


def extension() -> str:
    try:
        import_module("paco._C")
    except ImportError as error:
        return f"does not load: {error}"
    return "loads"


def report() -> Iterator[tuple[str, str]]:
    info = build_info()
    yield "libpaco", f"{__version__}, built for torch {info['torch_version']}"
    yield "installed as", f"{versions_of(['libpaco'])}, in {Path(__file__).parent}"
    yield "built by", f"{info['compiler']}, {info['build_type']}"
    yield "torch", f"{torch.__version__}; its wheels are on {wheel_page()}"
    yield "Python", f"{platform.python_version()}, {sys.executable}"
    yield "system", f"{platform.platform()}, {' '.join(platform.libc_ver())}"
    known = ", ".join(info["cpu_capabilities"])
    yield (
        "instruction set",
        f"{info['cpu_capability']} of {known}; {torch.get_num_threads()} threads",
    )
    yield "CUDA kernels", info["cuda_version"] or "none: PyTorch's operators take their place"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield "GPUs", ", ".join(gpus) or "none"
    yield "loss on the CPU", result_of("cpu")
    if gpus:
        yield "loss on the GPU", result_of("cuda")
    yield "paco._C", extension()
    yield "toolboxes", versions_of(TOOLBOXES)


if __name__ == "__main__":
    for name, value in report():
        print(f"{name + ':':17}{value}")
