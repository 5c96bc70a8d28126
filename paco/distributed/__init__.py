"""Training on several processes: rows of a batch, and one contrast over all of them.

:func:`gather_rows` and its kin move rows of the default process group. :func:`paco_loss` is the
loss of one process on the joined batch, from each process's own rows, queue and, with
:class:`ShardedClassCenters`, classes. Without a process group there is one process.
"""

from .bcl_loss import bcl_loss
from .class_centers import ShardedClassCenters
from .feature_queue import ShardedFeatureQueue
from .loss import paco_loss
from .rows import apply_shuffled, broadcast_rows, gather_rows
from .shares import clip_grad_norm_, exclude_from_ddp, full_state_dict

__all__ = [
    "ShardedClassCenters",
    "ShardedFeatureQueue",
    "apply_shuffled",
    "bcl_loss",
    "broadcast_rows",
    "clip_grad_norm_",
    "exclude_from_ddp",
    "full_state_dict",
    "gather_rows",
    "paco_loss",
]
