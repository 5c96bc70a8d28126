"""The form made of PyTorch's operators, put in place of the CPU kernels."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

# Stands for any device without kernels of its own.
OTHER_DEVICE = "XPU"


@contextmanager
def composite_forms(*names: str) -> Iterator[None]:
    """For as long as the context lasts, the operators run on the CPU as on any other device."""
    library = torch.library.Library("paco", "IMPL")
    try:
        for name in names:
            kernels = torch._C._dispatch_dump_table(f"paco::{name}")
            assert re.search(rf"^{OTHER_DEVICE}: .*/(composite|aten)[/.]", kernels, re.MULTILINE)
            library.impl(name, on_other_device(name), "CPU", allow_override=True)
        yield
    finally:  # or the tests that follow would have no kernels
        library._destroy()


def on_other_device(name: str) -> Callable[..., Any]:
    operator = getattr(torch.ops.paco, name).default
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, OTHER_DEVICE))
    return lambda *args, **kwargs: operator.redispatch(keys, *args, **kwargs)
