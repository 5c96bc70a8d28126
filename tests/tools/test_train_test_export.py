"""Train, be killed, resume, test and export by the command lines, on the digits."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paco.mmpretrain  # noqa: F401  (mends the toolbox's imports)

# isort: split
import mmengine.optim.optimizer.amp_optimizer_wrapper as amp
import pytest
import torch
from helpers.digits_runs import CONFIGS, ROOT

from paco import deploy
from paco.tools import export, train
from paco.tools import test as testing

CONFIG = CONFIGS / "digits_lt" / "paco.py"
EPOCHS = 8  # far more than two runs train that are killed within about two epochs each
LAST = f"epoch_{EPOCHS}.pth"
# A worker draws the random numbers of the views.
SETTINGS = (
    f"train_cfg.max_epochs={EPOCHS}",
    "default_hooks.checkpoint.interval=1",
    "train_dataloader.num_workers=1",
    "train_dataloader.worker_init_fn.type=seed_worker",
    "model.head.queue_size=100",
)


def command(tool: str, *arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *map(str, arguments)]


def train_here(work_dir: Path, *options: str) -> str:
    """The log of a run in this process, which has one thread as those that are killed have."""
    train.main([str(CONFIG), "--work-dir", str(work_dir), *options, "--cfg-options", *SETTINGS])
    return max(work_dir.glob("*/*.log")).read_text()


# One thread, which does not wait for others on a machine that is shared.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a run without an interruption."""
    folder = tmp_path_factory.mktemp("trained")
    train_here(folder)
    return folder


def test_a_run_killed_at_any_moment_resumes_bit_for_bit(trained, rng, tmp_path):
    arguments = (CONFIG, "--work-dir", tmp_path, "--resume", "--cfg-options", *SETTINGS)
    for _ in range(2):
        before = newest_epoch(tmp_path)
        training = subprocess.Popen(
            command("train", *arguments),
            env=ENVIRONMENT,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while (first := newest_epoch(tmp_path)) == before:
            assert training.poll() is None
            time.sleep(0.001)
        # At the first sight of a checkpoint or some time later, but before there are two more.
        moment = time.monotonic() + rng.choice([0, rng.uniform(0, 0.5)])
        while time.monotonic() < moment and newest_epoch(tmp_path) == first:
            time.sleep(0.001)
        os.killpg(training.pid, signal.SIGKILL)
        assert training.wait() == -signal.SIGKILL
    assert not (tmp_path / LAST).exists()

    assert "resumed epoch" in train_here(tmp_path, "--resume")
    expected = torch.load(trained / LAST, weights_only=True)
    resumed = torch.load(tmp_path / LAST, weights_only=True)
    assert expected["state_dict"]["head.step.queue.state"].tolist() == [305 * EPOCHS % 100, 100]
    for part in ("state_dict", "optimizer", "param_schedulers"):
        assert_same(resumed[part], expected[part], part)


def newest_epoch(folder: Path) -> int:
    """The newest checkpoint's epoch, also of one that is not whole yet."""
    names = (path.name for path in folder.glob("epoch_*"))
    return max((int(name.removeprefix("epoch_").split(".")[0]) for name in names), default=0)


def assert_same(value: object, expected: object, name: str) -> None:
    if isinstance(expected, torch.Tensor):
        assert torch.equal(value, expected), name
    elif isinstance(expected, dict):
        assert value.keys() == expected.keys(), name
        for key in expected:
            assert_same(value[key], expected[key], f"{name}.{key}")
    elif isinstance(expected, (list, tuple)):
        assert len(value) == len(expected), name
        for i, (v, e) in enumerate(zip(value, expected, strict=True)):
            assert_same(v, e, f"{name}.{i}")
    else:
        assert value == expected, name


def test_the_test_gives_the_metrics_of_the_last_validation(trained, tmp_path):
    log = log_of_a_test(trained, tmp_path)
    training_log = next(trained.glob("*/*.log")).read_text()
    assert len(metrics_of(log, "test")) == 7
    assert metrics_of(log, "test") == metrics_of(training_log, "val")


def log_of_a_test(trained: Path, work_dir: Path, *options: object) -> str:
    """The log of a test of the trained model in this process."""
    testing.main([*map(str, (CONFIG, trained / LAST, "--work-dir", work_dir, *options))])
    return next(work_dir.glob("*/*.log")).read_text()


def metrics_of(log: str, mode: str) -> list[str]:
    line = [line for line in log.splitlines() if f"Epoch({mode})" in line][-1]
    return [word.strip() for word in line.split("  ") if "long_tail/" in word]


def test_the_exported_classifier_is_the_trained_one(trained, tmp_path):
    checkpoint = trained / LAST
    export.main([*map(str, (CONFIG, checkpoint, "--shape", 1, 8, 8, "--work-dir", tmp_path))])
    classifier, metadata = deploy.load(tmp_path / "classifier.pt")
    assert metadata["classes"].split() == list("0123456789")
    assert metadata["input_shape"] == "1,8,8"

    from mmpretrain import get_model

    model = get_model(str(CONFIG), pretrained=str(checkpoint))
    model.eval()
    images = torch.randint(0, 256, (9, 1, 8, 8))
    mean, std = float(metadata["mean"]), float(metadata["std"])
    expected = model(model.data_preprocessor(dict(inputs=images))["inputs"])
    torch.testing.assert_close(classifier((images - mean) / std), expected)


def test_amp_is_the_toolbox_s_mixed_precision(tmp_path, monkeypatch):
    monkeypatch.setattr(amp, "is_cuda_available", lambda: False)
    # It wants a GPU, and says so.
    with pytest.raises(AssertionError, match="is only available training on gpu"):
        train.main([str(CONFIG), "--work-dir", str(tmp_path), "--amp"])


# ---- Several processes ---------------------------------------------------------------------------


def shell(script: str, *arguments: object, **variables: object) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = ENVIRONMENT | {"PATH": path} | {k: str(v) for k, v in variables.items()}
    return subprocess.run(
        [ROOT / "tools" / script, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
    )


def test_two_processes_train_on_cpus(tmp_path):
    options = ("--work-dir", tmp_path, "--auto-scale-lr", "--cfg-options")
    settings = ("auto_scale_lr.base_batch_size=64", "train_cfg.max_epochs=2")
    result = shell("dist_train.sh", CONFIG, 2, *options, *settings)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Scaling the original LR by 2.0" in result.stdout + result.stderr
    checkpoint = torch.load(tmp_path / "epoch_2.pth", weights_only=True)
    # Each process has 153 images, the two more than there are; batches are of 64, 64 and 25.
    assert checkpoint["meta"]["iter"] == 6
    assert checkpoint["state_dict"]["head.step.queue.state"].tolist() == [2 * 306 % 256, 256]


# Sums the ranks of all, and leaves how many there are.
PROGRAM = """
import sys
import torch
import torch.distributed as dist
dist.init_process_group("gloo")
total = torch.tensor([dist.get_rank(), 1])
dist.all_reduce(total)
with open(f"{sys.argv[1]}/{dist.get_rank()}", "w") as file:
    print(*total.tolist(), sys.argv[2:], file=file)
dist.destroy_process_group()  # else a thread of gloo may outlive what it needs, and abort
"""


def test_processes_of_two_machines_are_one_group(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def on_machine(rank: int) -> subprocess.CompletedProcess:
        group = dict(NNODES=2, NODE_RANK=rank, MASTER_ADDR="127.0.0.1", PORT=port)
        return shell("launch.sh", 2, program, tmp_path, **group)

    with ThreadPoolExecutor(2) as machines:
        for result in machines.map(on_machine, (0, 1)):
            assert result.returncode == 0, result.stdout + result.stderr
    for rank in range(4):
        assert (tmp_path / str(rank)).read_text() == "6 4 ['--launcher', 'pytorch']\n"


def test_two_processes_test_each_image_once_and_in_order(trained, tmp_path):
    # One process has an image more than the other, in five batches.
    settings = ("test_dataloader.dataset.indices=599", "test_dataloader.batch_size=64")

    def options(name: str) -> tuple:
        return ("--out", tmp_path / f"{name}.pkl", "--cfg-options", *settings)

    alone = log_of_a_test(trained, tmp_path / "alone", *options("alone"))
    result = shell(
        "dist_test.sh",
        CONFIG,
        trained / LAST,
        2,
        "--work-dir",
        tmp_path / "both",
        *options("together"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    metrics = metrics_of(result.stdout + result.stderr, "test")
    assert len(metrics) == 7
    assert metrics == metrics_of(alone, "test")
    files = (tmp_path / f"{name}.pkl" for name in ("together", "alone"))
    together, alone = (pickle.loads(file.read_bytes()) for file in files)
    assert len(together) == len(alone) == 599
    for sample, expected in zip(together, alone, strict=True):
        assert sample["sample_idx"] == expected["sample_idx"]
        assert torch.equal(sample["gt_label"], expected["gt_label"])
        torch.testing.assert_close(sample["pred_score"], expected["pred_score"])


def test_slurm_is_asked_for_a_task_on_each_gpu(tmp_path):
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    options = ("debug", "my job", CONFIG, tmp_path / "work", "--amp")
    result = shell("slurm_train.sh", *options, PATH=path, GPUS=4, SRUN_ARGS="--quiet --nice")
    assert result.returncode == 0, result.stderr
    words = result.stdout.splitlines()
    for option, value in [
        ("--partition", "debug"),
        ("--job-name", "my job"),
        ("--ntasks", "4"),
        ("--ntasks-per-node", "4"),
        ("--gres", "gpu:4"),
    ]:
        assert words[words.index(option) + 1] == value
    assert words[words.index("--quiet") :] == [
        "--quiet",
        "--nice",
        "python",
        "-u",
        str(ROOT / "tools" / "train.py"),
        str(CONFIG),
        "--work-dir",
        str(tmp_path / "work"),
        "--launcher",
        "slurm",
        "--amp",
    ]


@pytest.mark.parametrize("script", ["dist_train.sh", "dist_test.sh", "slurm_train.sh"])
def test_too_few_arguments_are_a_usage_line(script):
    result = shell(script, "one")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"usage: tools/{script} ")


@pytest.mark.parametrize("tool", [train, testing, export])
def test_help_names_the_config_first(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(["--help"])
    usage = capsys.readouterr().out.split("positional arguments")[1]
    assert usage.split()[1] == "config"
    assert "--cfg-options" in usage
