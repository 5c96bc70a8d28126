"""Random numbers that depend on the epoch alone, so that a resumed run repeats them."""

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner, set_random_seed
from mmpretrain.registry import HOOKS

__all__ = ["EpochSeedHook", "seed_worker"]


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds every random generator anew at the start of an epoch.

    The seed mixes the run's seed, the epoch and the rank. A checkpoint has no random state, so
    without this a run that was interrupted augments its images in another way than one that was
    not. Dataloaders with workers need ``worker_init_fn=dict(type='seed_worker')`` besides, and
    workers that do not persist.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        mixed = np.random.SeedSequence([runner.seed, runner.epoch, get_rank()])
        set_random_seed(int(mixed.generate_state(1)[0]))


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seeds a dataloader's worker from torch's seed, which is drawn for each epoch and worker.

    The toolbox's default seeds every epoch's workers alike.

    Args:
        worker_id: Not used; torch's seed differs between workers.
    """
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
