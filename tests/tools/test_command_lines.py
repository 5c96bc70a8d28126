"""Train, be killed, resume, test and export through the command lines, on the digits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import paco.mmpretrain  # noqa: F401  (mends the loading of checkpoints)
from paco import deploy

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "digits_lt" / "paco.py"
# A worker draws the random numbers of the views; 8 epochs give time for a kill in the middle.
SETTINGS = (
    "train_cfg.max_epochs=8",
    "default_hooks.checkpoint.interval=1",
    "train_dataloader.num_workers=1",
    "train_dataloader.worker_init_fn.type=seed_worker",
    "model.head.queue_size=100",
)


def command(tool: str, *arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *map(str, arguments)]


def run(tool: str, *arguments: object) -> str:
    result = subprocess.run(
        command(tool, *arguments), env=ENVIRONMENT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


# One thread, which does not wait for others on a machine that is shared.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a run without an interruption."""
    folder = tmp_path_factory.mktemp("trained")
    run("train", CONFIG, "--work-dir", folder, "--cfg-options", *SETTINGS)
    return folder


def test_a_killed_run_resumes_bit_for_bit(trained, tmp_path):
    arguments = (CONFIG, "--work-dir", tmp_path, "--cfg-options", *SETTINGS)
    training = subprocess.Popen(
        command("train", *arguments),
        env=ENVIRONMENT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # The toolbox writes this file after the checkpoint that it names.
    last_checkpoint = tmp_path / "last_checkpoint"
    while not (last_checkpoint.exists() and last_checkpoint.read_text().endswith("epoch_3.pth")):
        assert training.poll() is None
        time.sleep(0.01)
    os.killpg(training.pid, signal.SIGKILL)
    assert training.wait() == -signal.SIGKILL
    assert not (tmp_path / "epoch_8.pth").exists()

    log = run("train", *arguments, "--resume")
    assert "Auto resumed" in log or "resumed epoch" in log
    expected = torch.load(trained / "epoch_8.pth", weights_only=True)
    resumed = torch.load(tmp_path / "epoch_8.pth", weights_only=True)
    assert expected["state_dict"]["head.queue.state"].tolist() == [305 * 8 % 100, 100]
    for part in ("state_dict", "optimizer", "param_schedulers"):
        assert_same(resumed[part], expected[part], part)


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
    log = run("test", CONFIG, trained / "epoch_8.pth", "--work-dir", tmp_path)
    training_log = next(trained.glob("*/*.log")).read_text()

    def metrics(text: str, mode: str) -> list[str]:
        line = [line for line in text.splitlines() if f"Epoch({mode})" in line][-1]
        return [word for word in line.split("  ") if "long_tail/" in word]

    assert len(metrics(log, "test")) == 7
    assert [m.strip() for m in metrics(log, "test")] == [
        m.strip() for m in metrics(training_log, "val")
    ]


def test_the_exported_classifier_is_the_trained_one(trained, tmp_path):
    checkpoint = trained / "epoch_8.pth"
    run("export", CONFIG, checkpoint, "--shape", 1, 8, 8, "--work-dir", tmp_path)
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


@pytest.mark.parametrize("tool", ["train", "test", "export"])
def test_help_names_the_config_first(tool):
    usage = run(tool, "--help").split("positional arguments")[1]
    assert usage.split()[1] == "config"
    assert "--cfg-options" in usage
