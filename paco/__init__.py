"""Parametric contrastive learning for long-tailed data (PaCo, GPaCo).

The functions here are operators of libpaco; :mod:`paco.nn` has the modules to train with,
:mod:`paco.longtail` class counts and priors, :mod:`paco.metrics` what to measure,
:mod:`paco.deploy` the way to C++, and :mod:`paco.reference` the plain definition of the operators.
"""

from typing import Any

from . import deploy, distributed, longtail, metrics, nn, reference
from ._library import __version__, build_info, what_to_do
from .longtail import log_prior
from .ops import (
    bcl_loss,
    center_logits,
    class_mean_update_,
    multi_label_paco_loss,
    paco_loss,
    queue_enqueue_,
    vmf_logits,
)

__all__ = [
    "Classifier",
    "__version__",
    "bcl_loss",
    "build_info",
    "center_logits",
    "class_mean_update_",
    "deploy",
    "distributed",
    "log_prior",
    "longtail",
    "metrics",
    "multi_label_paco_loss",
    "nn",
    "paco_loss",
    "queue_enqueue_",
    "reference",
    "vmf_logits",
]


def __getattr__(name: str) -> Any:
    # Only when it is asked for: it brings OpenCV's libraries with it.
    if name != "Classifier":
        raise AttributeError(f"module 'paco' has no attribute {name!r}")
    try:
        from ._C import Classifier
    except ImportError as error:
        raise ImportError(f"paco.Classifier does not load: {error}. {what_to_do()}") from error

    return Classifier
