"""The options that the command lines share, and what becomes of the config."""

import shutil
import subprocess
import sys
import warnings
from argparse import ArgumentParser, Namespace
from datetime import timedelta

import pytest
import torch
from helpers.digits_runs import CONFIGS
from helpers.refusals import refused
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from paco.mmpretrain import read_checkpoint
from paco.tools import command_line, train
from paco.tools import test as testing

DIGITS = CONFIGS / "digits_lt" / "ce.py"


def parse(*arguments: object) -> Namespace:
    parser = ArgumentParser()
    command_line.add_config_arguments(parser)
    command_line.add_work_dir_argument(parser, "logs")
    command_line.add_resume_argument(parser)
    command_line.add_launcher_argument(parser)
    return parser.parse_args([*map(str, arguments)])


def test_options_override_the_config():
    cfg = command_line.load_config(parse(DIGITS, "--cfg-options", "train_cfg.max_epochs=7"))
    assert cfg.train_cfg.max_epochs == 7
    plain = command_line.load_config(parse(DIGITS))
    assert plain.train_cfg == Config.fromfile(DIGITS).train_cfg


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "work_dirs/digits_lt/ce_fast"),
        (("--cfg-options", "work_dir=theirs"), "theirs"),
        (("--work-dir", "mine", "--cfg-options", "work_dir=theirs"), "mine"),
    ],
)
def test_the_work_dir_is_the_one_named_or_the_config_s_or_its_name(arguments, expected):
    args = parse(DIGITS, *arguments)
    assert command_line.work_dir_of(args, command_line.load_config(args), "_fast") == expected


@pytest.mark.parametrize(
    ("arguments", "resume", "load_from"),
    [
        ((), False, None),
        (("--resume",), True, None),
        (("--resume", "a.pth"), True, "a.pth"),
        (("--cfg-options", "resume=True", "load_from=b.pth"), True, "b.pth"),
    ],
)
def test_resuming_from_the_latest_checkpoint_or_from_one_named(arguments, resume, load_from):
    args = parse(DIGITS, *arguments)
    cfg = command_line.load_config(args)
    command_line.set_resume(args, cfg)
    assert (cfg.resume, cfg.load_from) == (resume, load_from)


@pytest.mark.parametrize("has_gpu", [False, True])
def test_dataloaders_get_what_the_config_does_not_say(has_gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    cfg = Config(
        dict(
            train_dataloader=dict(batch_size=4),
            val_dataloader=dict(pin_memory=True, collate_fn=dict(type="pseudo_collate")),
            test_dataloader=None,
        )
    )
    command_line.set_dataloader_defaults(cfg)
    assert cfg.train_dataloader == dict(
        batch_size=4, pin_memory=has_gpu, collate_fn=dict(type="default_collate")
    )
    assert cfg.val_dataloader == dict(pin_memory=True, collate_fn=dict(type="pseudo_collate"))
    assert cfg.test_dataloader is None


def test_with_them_a_config_that_says_nothing_has_batches():
    cfg = Config.fromfile(DIGITS)
    del cfg.train_dataloader["collate_fn"]
    command_line.set_dataloader_defaults(cfg)
    init_default_scope(cfg.default_scope)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = next(iter(Runner.build_dataloader(cfg.train_dataloader)))
    assert batch["inputs"].shape == (cfg.train_dataloader.batch_size, 1, 8, 8)


@pytest.mark.parametrize(("tool", "arguments"), [(train, ()), (testing, ("a.pth",))])
def test_training_and_testing_have_them_and_the_config_s_work_dir(
    tool, arguments, tmp_path, monkeypatch
):
    config = tmp_path / "mine.py"
    config.write_text(
        "work_dir = 'theirs'\ntest_dataloader = train_dataloader = dict(batch_size=4)"
    )
    started = []
    monkeypatch.setattr(Runner, "from_cfg", lambda cfg: started.append(cfg) or sys.exit())
    with pytest.raises(SystemExit):
        tool.main([str(config), *arguments])
    (cfg,) = started
    assert cfg.work_dir == "theirs"
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        assert loader.collate_fn == dict(type="default_collate")
        assert loader.pin_memory == torch.cuda.is_available()


def test_a_process_group_of_cpus_keeps_the_config_s_wrapper(monkeypatch):
    started = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda *how, **more: started.append((how, more))
    )
    args = parse(DIGITS, "--launcher", "pytorch")
    cfg = Config(dict(find_unused_parameters=True))
    command_line.set_launcher(args, cfg)
    assert (started, cfg.launcher) == ([(("gloo",), {})], "pytorch")
    default = dict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False)
    assert cfg.model_wrapper_cfg == default | dict(find_unused_parameters=True)
    cfg = Config(dict(model_wrapper_cfg=dict(broadcast_buffers=True, static_graph=True)))
    command_line.set_launcher(args, cfg)
    own = dict(find_unused_parameters=False, broadcast_buffers=True, static_graph=True)
    assert cfg.model_wrapper_cfg == default | own


def test_a_process_group_of_cpus_has_the_config_s_timeout(monkeypatch):
    started = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda *how, **more: started.append((how, more))
    )
    dist_cfg = dict(backend="nccl", init_backend="torch", timeout=7)
    cfg = Config(dict(env_cfg=dict(dist_cfg=dist_cfg)))
    command_line.set_launcher(parse(DIGITS, "--launcher", "pytorch"), cfg)
    assert started == [(("gloo",), dict(timeout=timedelta(seconds=7)))]
    assert cfg.env_cfg.dist_cfg == dist_cfg


def test_a_process_group_of_cpus_ends_with_the_program():
    program = """
import atexit, os, sys, torch
atexit.register(lambda: print(torch.distributed.is_initialized()))  # runs last
torch.cuda.is_available = lambda: False
from argparse import Namespace
from mmengine.config import Config
from paco.tools import command_line
os.environ.update(RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
command_line.set_launcher(Namespace(launcher="pytorch"), Config())
print(torch.distributed.is_initialized())
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    # The toolbox's fork prints a line of its own before.
    assert result.stdout.split()[-2:] == ["True", "False"]


def refusals():
    return command_line.refusals_without_traceback(ArgumentParser())


def test_what_paco_refuses_is_one_sentence(capsys):
    with refused(capsys, r"there is no checkpoint none\.pth$"), refusals():
        read_checkpoint("none.pth")


def test_a_file_that_fails_is_one_sentence(tmp_path, capsys):
    with refused(capsys, r"none\.py"), refusals():
        Config.fromfile(tmp_path / "none.py")


def test_a_full_disk_names_the_folder_of_a_file_that_was_open(tmp_path, capsys):
    with (
        refused(capsys, f"No space left on device: '{tmp_path}'$"),
        refusals(),
        command_line.full_disk_named(str(tmp_path)),
        open("/dev/full", "w") as log,
    ):
        log.write("loss: 1.0")


def test_an_option_of_the_config_needs_a_value(capsys):
    with refused(capsys, r"--cfg-options: must be KEY=VALUE, got 'train_cfg\.max_epochs'"):
        train.main([str(DIGITS), "--cfg-options", "seed=1", "train_cfg.max_epochs"])


@pytest.mark.parametrize(
    ("tool", "missing", "words"),
    [
        ("train", "mmpretrain", "pip install 'libpaco[mmpretrain]', or"),
        ("count_pixels", "mmseg", "pip install 'libpaco[onedl]' onedl-mmsegmentation"),
        ("export_segmentor", "mmseg", "pip install 'libpaco[onedl]' onedl-mmsegmentation"),
        ("analysis.calibration", "matplotlib", "pip install 'libpaco[plots]'"),
        ("analysis.segmentation_overlay", "mmseg", "pip install 'libpaco[onedl]' onedl-mmseg"),
    ],
)
def test_a_missing_toolbox_ends_the_program_in_a_sentence(tool, missing, words):
    program = f"""
import runpy, sys
sys.modules[{missing!r}] = None
runpy.run_module("paco.tools.{tool}", run_name="__main__")
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert words in result.stderr.splitlines()[-1] and "Traceback" not in result.stderr


@pytest.mark.parametrize("where", ["torch", "paco"])
def test_a_mistake_keeps_its_traceback(where):
    with pytest.raises((RuntimeError, AttributeError)), refusals():
        if where == "torch":
            torch.nn.Linear(2, 3)(torch.zeros(3))
        else:
            command_line.work_dir_of(None, None)


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("dist_train.sh", (DIGITS, "2")),
        ("dist_test.sh", (DIGITS, "a.pth", "2")),
        ("slurm_train.sh", ("partition", "job", DIGITS, "work_dir")),
    ],
)
def test_without_the_environment_the_launcher_says_what_to_do(script, arguments, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    for path, where in [(f"{tmp_path}:/usr/bin:/bin", python), ("/usr/bin:/bin", "none on PATH")]:
        if where != python and shutil.which("python", path=path):
            continue  # of the system
        result = subprocess.run(
            ["bash", CONFIGS.parent / "tools" / script, *arguments],
            env={"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 1
        assert f"python ({where}) has no torch: activate the environment" in result.stderr


@pytest.mark.parametrize(("launcher", "has_gpu"), [("none", False), ("pytorch", True)])
def test_the_toolbox_starts_the_others(launcher, has_gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    cfg = Config({})
    command_line.set_launcher(parse(DIGITS, "--launcher", launcher), cfg)
    assert cfg.launcher == launcher and "model_wrapper_cfg" not in cfg
    assert not torch.distributed.is_initialized()
