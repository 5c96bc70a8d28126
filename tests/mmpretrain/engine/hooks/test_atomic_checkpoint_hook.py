import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from helpers.digits_runs import runner
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from paco.mmpretrain import CheckpointError
from paco.mmpretrain.engine.hooks.atomic_checkpoint_hook import (
    AtomicBackend,
    latest_whole_checkpoint,
)

EPOCHS = {"train_cfg.max_epochs": 3, "train_cfg.val_interval": 3}


# ---- Remains of a run of two epochs that was killed ----------------------------------------------


def empty_last_checkpoint(folder: Path) -> None:
    (folder / "last_checkpoint").write_text("")


def no_last_checkpoint(folder: Path) -> None:
    (folder / "last_checkpoint").unlink()


def truncated(folder: Path) -> None:
    content = (folder / "epoch_2.pth").read_bytes()
    (folder / "epoch_2.pth").write_bytes(content[: len(content) // 2])


def truncated_and_empty(folder: Path) -> None:
    truncated(folder)
    empty_last_checkpoint(folder)


def empty_checkpoint(folder: Path) -> None:
    (folder / "epoch_2.pth").write_bytes(b"")


def moved_folder(folder: Path) -> None:
    (folder / "last_checkpoint").write_text("/elsewhere/epoch_2.pth")


def last_but_one(folder: Path) -> None:
    (folder / "last_checkpoint").write_text(str(folder / "epoch_1.pth"))


def flipped_bit(folder: Path) -> None:
    content = bytearray((folder / "epoch_2.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "epoch_2.pth").write_bytes(content)


def legacy(folder: Path) -> None:
    """Written as before PyTorch 1.6, which had no zip archive."""
    content = torch.load(folder / "epoch_2.pth", weights_only=True)
    torch.save(content, folder / "epoch_2.pth", _use_new_zipfile_serialization=False)


def truncated_legacy(folder: Path) -> None:
    legacy(folder)
    truncated(folder)


def nothing_whole(folder: Path) -> None:
    for path in folder.glob("epoch_*.pth"):
        path.write_bytes(b"PK")


def nothing_broken(folder: Path) -> None:
    pass


EPOCH_LEFT = {
    nothing_broken: 2,
    empty_last_checkpoint: 2,
    no_last_checkpoint: 2,
    moved_folder: 2,
    truncated: 1,
    truncated_and_empty: 1,
    empty_checkpoint: 1,
    last_but_one: 1,
    flipped_bit: 1,
    legacy: 2,
    truncated_legacy: 1,
    nothing_whole: 0,
}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Path:
    """Three epochs without an interruption, and a checkpoint of each."""
    folder = tmp_path_factory.mktemp("whole")
    runner(folder, **EPOCHS, **{"default_hooks.checkpoint.max_keep_ckpts": -1}).train()
    return folder


@pytest.fixture
def after_two_epochs(whole_run, tmp_path) -> Path:
    for epoch in (1, 2):
        shutil.copy(whole_run / f"epoch_{epoch}.pth", tmp_path)
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_2.pth"))
    return tmp_path


@pytest.mark.parametrize("spoil", EPOCH_LEFT, ids=lambda spoil: spoil.__name__)
def test_the_newest_whole_checkpoint_is_found(spoil, after_two_epochs):
    folder = after_two_epochs
    spoil(folder)
    found = latest_whole_checkpoint(folder / "last_checkpoint", folder, "epoch_*.pth")
    epoch = EPOCH_LEFT[spoil]
    assert found == (folder / f"epoch_{epoch}.pth" if epoch else None)


def test_of_files_of_one_moment_the_last_epoch_is_the_newest(rng, tmp_path):
    for epoch in rng.sample(range(1, 21), 20):  # folders may list them in the order of creation
        torch.save({}, tmp_path / f"epoch_{epoch}.pth")
        os.utime(tmp_path / f"epoch_{epoch}.pth", (0, 0))
    found = latest_whole_checkpoint(tmp_path / "last_checkpoint", tmp_path, "epoch_*.pth")
    assert found == tmp_path / "epoch_20.pth"


# ---- Runs ----------------------------------------------------------------------------------------


class Records(Hook):
    def before_train(self, run) -> None:
        self.first_epoch = run.epoch


def resume(folder: Path, **options) -> int:
    """Trains to the third epoch; the first one that it trains."""
    run = runner(folder, resume=True, **EPOCHS, **options)
    records = Records()
    run.register_hook(records)
    run.train()
    return records.first_epoch


@pytest.mark.parametrize(
    "spoil", [empty_last_checkpoint, truncated_and_empty, legacy, nothing_whole]
)
def test_a_run_goes_on_bit_for_bit(spoil, whole_run, after_two_epochs):
    spoil(after_two_epochs)
    assert resume(after_two_epochs) == EPOCH_LEFT[spoil]
    resumed, expected = (
        torch.load(folder / "epoch_3.pth", weights_only=True)["state_dict"]
        for folder in (after_two_epochs, whole_run)
    )
    for name, value in expected.items():
        assert torch.equal(resumed[name], value), name


def test_a_checkpoint_that_is_named_is_taken_as_it_is(after_two_epochs):
    assert resume(after_two_epochs, load_from=str(after_two_epochs / "epoch_2.pth")) == 2


def test_weights_alone_cannot_be_resumed_from(after_two_epochs):
    path = after_two_epochs / "weights.pth"
    torch.save({"state_dict": {}, "meta": {}}, path)
    with pytest.raises(CheckpointError, match=r"weights\.pth cannot be resumed from.* load_from"):
        resume(after_two_epochs, load_from=str(path))


def test_names_by_any_template_are_found(after_two_epochs):
    for i in (1, 2):
        (after_two_epochs / f"epoch_{i}.pth").rename(after_two_epochs / f"[a]_{i:03d}.pth")
    no_last_checkpoint(after_two_epochs)
    template = {"default_hooks.checkpoint.filename_tmpl": "[a]_{:03d}.pth"}
    assert resume(after_two_epochs, **template) == 2
    assert (after_two_epochs / "[a]_003.pth").exists()


# ---- Writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_kill_while_it_is_written_leaves_the_file_that_was(step, tmp_path, monkeypatch):
    path = tmp_path / "folder" / "a.pth"
    AtomicBackend().put(b"old", path)

    def killed(*_):
        raise KeyboardInterrupt

    if step == "write":
        monkeypatch.setattr(Path, "write_bytes", killed)
    else:
        monkeypatch.setattr(os, step, killed)
    with pytest.raises(KeyboardInterrupt):
        AtomicBackend().put(b"new", path)
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    AtomicBackend().put(b"new", path)
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["a.pth"]


def test_a_full_disk_is_named_and_leaves_what_was(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    AtomicBackend().put(b"old", path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.pth'"):
        AtomicBackend().put(b"new", path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kept", [0, 1])
def test_one_checkpoint_alone_is_refused(kept):
    with pytest.raises(ValueError, match=f"max_keep_ckpts must be at least 2.*got {kept}"):
        HOOKS.build(dict(type="AtomicCheckpointHook", max_keep_ckpts=kept))


def test_the_configs_have_it(tmp_path):
    hooks = [type(hook).__name__ for hook in runner(tmp_path).hooks]
    assert "AtomicCheckpointHook" in hooks
    assert "CheckpointHook" not in hooks
