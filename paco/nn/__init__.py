"""Modules of parametric contrastive learning: losses, queue, class centers, a step, key encoder.

Every module scripts, compiles without a graph break, deep-copies and keeps its whole state in
``state_dict``. None of them needs a process group or a GPU.
"""

from .bcl_loss import BCLLoss
from .class_centers import ClassCenters
from .feature_queue import FeatureQueue
from .momentum_encoder import MomentumEncoder, momentum_update_
from .paco_loss import PaCoLoss
from .pixel_paco_loss import PixelPaCoLoss
from .proco_loss import ProCoLoss
from .training_step import StepResult, TrainingStep

__all__ = [
    "BCLLoss",
    "ClassCenters",
    "FeatureQueue",
    "MomentumEncoder",
    "PaCoLoss",
    "PixelPaCoLoss",
    "ProCoLoss",
    "StepResult",
    "TrainingStep",
    "momentum_update_",
]
