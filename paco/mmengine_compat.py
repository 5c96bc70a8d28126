"""What mmengine and its toolboxes meet beside newer wheels, mended.

:func:`apply` has to run in every process before anything imports a toolbox, so ``paco.mmpretrain``
and ``paco.mmseg`` call it first of all, and a command line imports one of them before ``mmengine``.
Where nothing is broken it changes nothing that a user could see. It is for mmengine 0.10.7 and
onedl-mmengine 0.10.12.
"""

import pickle

import torch

__all__ = ["apply"]


def apply() -> None:
    """Mends the import of torchvision, the loading of checkpoints and averages of queues."""
    from paco import torchvision_compat  # noqa: F401  (mends it as it is imported)

    _allow_mmengine_checkpoints()
    _refuse_averages_of_queues()


def _refuse_averages_of_queues() -> None:
    """Lets an EMAHook with ``update_buffers`` refuse a model that has a queue of features."""
    from mmengine.hooks import EMAHook

    from paco.nn import FeatureQueue

    def before_run(hook: EMAHook, runner) -> None:
        modules = runner.model.modules()
        if hook.ema_cfg.get("update_buffers") and any(isinstance(m, FeatureQueue) for m in modules):
            raise ValueError(
                "EMAHook: update_buffers must be False: it would average the rows of the queue, "
                "and leave their labels behind"
            )
        start(hook, runner)

    start = EMAHook.before_run
    if start.__module__ != __name__:  # once
        EMAHook.before_run = before_run


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

    # The maintained fork allows a list for each load and forgets it afterwards: left to itself, it
    # would allow the plain getattr, and forget what is allowed here.
    from mmengine.runner import checkpoint

    if hasattr(checkpoint, "get_torch_safe_globals"):
        allowed = torch.serialization.get_safe_globals()
        others = [
            value
            for value in checkpoint.get_torch_safe_globals()
            if value is not getattr and value not in allowed
        ]
        checkpoint.get_torch_safe_globals = lambda: others
