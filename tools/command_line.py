"""Common options of the command lines, and the config that these make.

A command line imports this before anything of the toolbox.
"""

import atexit
import contextlib
import dis
import errno
import sys
import warnings
from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

# First, because it mends the toolbox's imports where that is needed.
try:
    # This warning is of an operator that no model here has, and advises against mmcv-lite.
    warnings.filterwarnings("ignore", "Fail to import ``MultiScaleDeformableAttention``")
    import paco.mmpretrain  # noqa: F401
except ImportError as error:
    raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from error

# isort: split
import torch
from mmengine.config import Config, DictAction

__all__ = [
    "ConfigOptions",
    "add_config_arguments",
    "add_launcher_argument",
    "add_resume_argument",
    "add_work_dir_argument",
    "full_disk_named",
    "load_config",
    "refusals_without_traceback",
    "set_dataloader_defaults",
    "set_launcher",
    "set_resume",
    "work_dir_of",
]


@contextlib.contextmanager
def refusals_without_traceback(parser: ArgumentParser) -> Iterator[None]:
    """Ends the program as the parser does, status 2, where paco refuses something or a file fails.

    Whatever else fails keeps its traceback, a mistake in paco's own lines too.
    """
    try:
        yield
    except Exception as error:
        if _is_raised_by_paco(error) or (isinstance(error, OSError) and error.filename):
            parser.error(str(error))
        raise


def _is_raised_by_paco(error: Exception) -> bool:
    """Whether a ``raise`` statement of paco's or of these tools made the error."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    assert place is not None
    code, module = place.tb_frame.f_code, place.tb_frame.f_globals["__name__"]
    statement = dis.opname[code.co_code[place.tb_lasti]]
    return statement == "RAISE_VARARGS" and module.partition(".")[0] in ("paco", "__main__")


@contextlib.contextmanager
def full_disk_named(folder: str) -> Iterator[None]:
    """Of a full disk Python says no file where it had opened it before, as a log: the folder is."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or error.filename:
            raise
        raise OSError(error.errno, error.strerror, folder) from error


class ConfigOptions(DictAction):
    """The toolbox's ``KEY=VALUE ...``, where a word without ``=`` is refused in a sentence."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        for word in values:
            if "=" not in word:
                raise ArgumentError(self, f"must be KEY=VALUE, got {word!r}")
        super().__call__(parser, namespace, values, option_string)


def add_config_arguments(parser: ArgumentParser, help: str = "config file") -> None:
    """``config`` and ``--cfg-options``; :func:`load_config` reads the config that they name."""
    parser.add_argument("config", help=help)
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=ConfigOptions,
        default={},
        help="override settings of the config, such as test_dataloader.batch_size=64",
    )


def load_config(args: Namespace) -> Config:
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    return cfg


def add_work_dir_argument(parser: ArgumentParser, holds: str, suffix: str = "") -> None:
    parser.add_argument(
        "--work-dir",
        help=f"folder of {holds}; the config's work_dir, or work_dirs/<data set>/<config>{suffix}, "
        "if unset",
    )


def work_dir_of(args: Namespace, cfg: Config, suffix: str = "") -> str:
    path = Path(args.config)
    default = f"work_dirs/{path.parent.name}/{path.stem}{suffix}"
    return args.work_dir or cfg.get("work_dir") or default


def add_resume_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from this checkpoint, or from the work folder's latest one if none is named",
    )


def set_resume(args: Namespace, cfg: Config) -> None:
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == "auto" else args.resume


def add_launcher_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="the launcher that started this process as one of several",
    )


def set_launcher(args: Namespace, cfg: Config) -> None:
    """Joins the process group where there is no GPU; the toolbox's launcher knows GPUs only."""
    cfg.launcher = args.launcher
    if args.launcher != "pytorch" or torch.cuda.is_available():
        return
    settings = dict(cfg.get("env_cfg", {}).get("dist_cfg", {}))
    for name in ("backend", "init_backend"):  # of GPUs
        settings.pop(name, None)
    if "timeout" in settings:
        settings["timeout"] = timedelta(seconds=settings["timeout"])
    torch.distributed.init_process_group("gloo", **settings)
    atexit.register(_leave_process_group)
    # The toolbox's own wrapper, but for the GPU of the process; the config's settings count.
    cfg.model_wrapper_cfg = dict(
        type="MMDistributedDataParallel",
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    ) | (cfg.get("model_wrapper_cfg") or {})


def _leave_process_group() -> None:
    """Ends gloo's threads, one of which may otherwise abort the process as it exits."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def set_dataloader_defaults(cfg: Config) -> None:
    """Fills in the settings without which mmpretrain's own configs do not train, as its tools do.

    mmsegmentation's images need no collation. Memory is pinned for a GPU only.
    """
    collates = cfg.get("default_scope") != "mmseg"
    for split in ("train", "val", "test"):
        loader = cfg.get(f"{split}_dataloader")
        if loader is not None:
            if collates:
                loader.setdefault("collate_fn", dict(type="default_collate"))
            loader.setdefault("pin_memory", torch.cuda.is_available())
