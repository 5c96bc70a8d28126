"""Checkpoints that a killed run leaves whole, and finds again."""

import glob
import re
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from paco._files import whole_file

from ... import compat
from ...checkpoints.reading import CheckpointError, is_sound

__all__ = ["AtomicCheckpointHook"]


@register_backend("paco_atomic")
class AtomicBackend(LocalBackend):
    """Local files that are there whole or not at all, whenever the process is killed."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        with whole_file(filepath) as path:
            path.write_bytes(obj)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """The toolbox's ``CheckpointHook`` for local files, safe from a kill at any moment.

    A checkpoint gets its name only once it is written. Resuming takes the one that the toolbox's
    ``last_checkpoint`` names, or, where a kill left that file empty or what it names is not whole,
    the newest whole one; without any, training starts anew. Checkpoints of other hooks serve as
    well.

    Args:
        max_keep_ckpts (int): At least 2, because the oldest is removed before the next one is
            written, or -1 for all. Defaults to -1.
        **kwargs: Passed to :class:`mmengine.hooks.CheckpointHook`, but for ``backend_args``.
    """

    def __init__(self, max_keep_ckpts: int = -1, **kwargs) -> None:
        if max_keep_ckpts in (0, 1):
            raise ValueError(
                "AtomicCheckpointHook: max_keep_ckpts must be at least 2, or -1 for all, got "
                f"{max_keep_ckpts}"
            )
        super().__init__(
            max_keep_ckpts=max_keep_ckpts, backend_args=dict(backend="paco_atomic"), **kwargs
        )

    def before_run(self, runner: Runner) -> None:
        # A named checkpoint is the user's business.
        if not compat.resumes_from_the_latest(runner):
            return
        folder = Path(runner.work_dir)
        if self.out_dir is not None:
            folder = Path(self.out_dir, folder.name)
        path = latest_whole_checkpoint(
            Path(runner.work_dir, "last_checkpoint"), folder, pattern_of(self.filename_tmpl)
        )
        if path is None:
            runner.logger.warning(f"{folder} has no whole checkpoint: training starts anew")
            compat.do_not_resume(runner)
        else:
            compat.resume_from(runner, str(path))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        path = compat.resumed_checkpoint(runner)
        if path is not None and "epoch" not in checkpoint.get("meta", {}):
            raise CheckpointError(
                f"{path} cannot be resumed from: it holds weights, and not how far training came; "
                "start from them with load_from"
            )


def pattern_of(template: str) -> str:
    """The glob pattern of the names that ``str.format`` makes of a template."""
    return "*".join(map(glob.escape, re.split(r"\{[^}]*\}", template)))


def latest_whole_checkpoint(last_checkpoint: Path, folder: Path, pattern: str) -> Path | None:
    """The file that ``last_checkpoint`` names, else the newest of ``folder`` like ``pattern``."""
    candidates = sorted(folder.glob(pattern), key=age)
    if last_checkpoint.exists():
        candidates.append(Path(last_checkpoint.read_text().strip()))
    return next(filter(is_sound, reversed(candidates)), None)


def age(path: Path) -> tuple[int, list[int]]:
    """Later for newer files: copies may be of one moment, and differ in the numbers in the name."""
    return path.stat().st_mtime_ns, list(map(int, re.findall(r"\d+", path.name)))
