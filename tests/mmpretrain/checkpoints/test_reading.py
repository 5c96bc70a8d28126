"""What a checkpoint's file may be, and the one sentence about each that may not."""

from pathlib import Path

import pytest
import torch
from helpers.digits_runs import CONFIGS, runner
from helpers.refusals import refused
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

from paco.mmpretrain import CheckpointError, read_checkpoint
from paco.tools import export, train, train_fast
from paco.tools import test as testing
from paco.tools.analysis import features

WEIGHTS = {"state_dict": {"a": torch.arange(3000.0), "b": torch.tensor(7)}}
CONFIG = str(CONFIGS / "digits_lt" / "paco.py")


def whole(path: Path) -> None:
    torch.save(WEIGHTS, path)


def legacy(path: Path) -> None:
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)


def flipped_bit(path: Path) -> None:
    whole(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    whole(path)
    path.write_bytes(path.read_bytes()[:-100])


def cut_off_legacy(path: Path) -> None:
    legacy(path)
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.touch()


def missing(path: Path) -> None:
    pass


def text(path: Path) -> None:
    path.write_text("<html>404</html>")


def other_object(path: Path) -> None:
    torch.save([1, 2], path)


def code(path: Path) -> None:
    torch.save({"state_dict": {}, "f": Path("a")}, path)


def nan(path: Path) -> None:
    state = {f"layer{i}": torch.tensor([0, float("nan")]) for i in range(4)}
    torch.save({"state_dict": state}, path)


REFUSED = {
    flipped_bit: r"is damaged: .*/data/0 in it is not what was written",
    cut_off: r"is damaged: its zip archive is cut off",
    cut_off_legacy: r"is no checkpoint that can be read: ",
    empty: r"is damaged: it is empty",
    missing: r"there is no checkpoint ",
    # The two toolbox lines unpickle it differently.
    text: r"is no checkpoint that can be read: (Unsupported operand 60|invalid load key, '<'\.)$",
    other_object: r"is no checkpoint: it holds a list",
    nan: r"holds 4 tensors with NaN.*: layer0, layer1, layer2, \.\.\.$",
}


@pytest.mark.parametrize("write", [whole, legacy], ids=lambda write: write.__name__)
@pytest.mark.parametrize("read", [read_checkpoint, CheckpointLoader.load_checkpoint])
def test_a_checkpoint_is_read(tmp_path, write, read):
    write(tmp_path / "a.pth")
    state = read(str(tmp_path / "a.pth"))["state_dict"]
    assert torch.equal(state["a"], WEIGHTS["state_dict"]["a"])


@pytest.mark.parametrize("write", REFUSED, ids=lambda write: write.__name__)
def test_what_cannot_be_used_is_one_sentence(tmp_path, write):
    path = tmp_path / "a.pth"
    write(path)
    with pytest.raises(CheckpointError, match=REFUSED[write]) as info:
        CheckpointLoader.load_checkpoint(str(path))
    assert str(path) in str(info.value) and "\n" not in str(info.value)


def test_only_weights_are_unpickled(tmp_path):
    code(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth .*: Unsupported global: .*Path"):
        read_checkpoint(
            tmp_path / "a.pth",
            load=lambda path, map_location: torch.load(path, weights_only=True),
        )


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        (testing, ("{}", "--work-dir", "{}.d")),
        (export, ("{}", "--work-dir", "{}.d", "--shape", "1", "8", "8")),
        (train, ("--resume", "{}", "--work-dir", "{}.d")),
        (train, ("--cfg-options", "load_from={}", "--work-dir", "{}.d")),
        (features, ("{}", "--out", "{}.png")),
    ],
    ids=["test", "export", "resume", "load_from", "features"],
)
def test_every_tool_says_it(tmp_path, capsys, tool, arguments):
    path = tmp_path / "a.pth"
    flipped_bit(path)
    with pytest.raises(SystemExit) as exit:
        tool.main([CONFIG, *(argument.format(path) for argument in arguments)])
    said = f"{exit.value}{capsys.readouterr().err}"
    assert f"{path} is damaged" in said


def test_the_fast_trainer_says_it(tmp_path, monkeypatch, capsys):
    path = tmp_path / "a.pth"
    flipped_bit(path)

    class Resumes:
        def __init__(self, cfg) -> None:
            self.train = lambda: CheckpointLoader.load_checkpoint(cfg.load_from)

    monkeypatch.setattr(Runner, "from_cfg", Resumes)
    with refused(capsys, rf"{path} is damaged"):
        train_fast.main([CONFIG, "--resume", str(path)])


def test_a_model_of_nan_has_no_metrics(tmp_path):
    run = runner(tmp_path)
    torch.nn.init.constant_(run.model.head.centers.bias, float("nan"))
    with pytest.raises(ValueError, match="probabilities are NaN, as after training that diverged"):
        run.test()
