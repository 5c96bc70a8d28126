"""Mends what the toolbox meets beside newer wheels, until the versions named here are gone.

:func:`apply` has to run in every process before anything imports the toolbox, so
``paco.mmpretrain`` calls it first of all, and a command line imports ``paco.mmpretrain`` before
``mmengine``. Where nothing is broken it changes nothing that a user could see.
"""

import pickle
import sys

import torch

__all__ = ["apply"]

# Keeps the declarations alive: a Library withdraws them when it is collected.
_torchvision_library: torch.library.Library | None = None


def apply() -> None:
    """Makes torchvision importable and mmengine's checkpoints loadable."""
    _mend_torchvision()
    _allow_mmengine_checkpoints()


def _mend_torchvision() -> None:
    """For a CUDA build of torchvision 0.26 to 0.28 beside a CPU build of torch.

    Its compiled operators do not load there, and its Python side then fails to find two of them
    ("operator torchvision::nms does not exist"). Declaring the two is enough for everything but
    the operators themselves and the image decoders.
    """
    global _torchvision_library
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _torchvision_library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            _torchvision_library.define(
                f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        import torchvision  # noqa: F401


def _allow_mmengine_checkpoints() -> None:
    """For mmengine 0.10 under torch >= 2.6, where torch.load defaults to ``weights_only=True``.

    A checkpoint of mmengine holds its log history beside the weights. Without this, resuming,
    testing and loading fail ("Unsupported global: mmengine.logging.history_buffer.HistoryBuffer"),
    or, in the maintained fork, fall back to unpickling anything at all.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    def getattr_of_history_buffer(owner, name):
        # The plain getattr would let a checkpoint reach any function of the interpreter.
        if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
            raise pickle.UnpicklingError(f"a checkpoint may not read {owner!r}.{name}")
        return getattr(owner, name)

    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            (getattr_of_history_buffer, "builtins.getattr"),
            np.ndarray,
            np.dtype,
            np.dtypes.Float64DType,
            np.dtypes.Int64DType,
        ]
    )
    for value in (np.zeros(1), np.float64(0)):
        load = value.__reduce__()[0]
        # numpy 2 moved these two, and reads what numpy 1 wrote.
        for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            torch.serialization.add_safe_globals([(load, f"{module}.{load.__name__}")])
