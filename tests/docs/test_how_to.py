"""The recipes and commands of docs/how-to.md work."""

import re
from pathlib import Path

import pytest

import paco.mmpretrain  # noqa: F401  (mends the toolbox's imports)

# isort: split
import torch
from helpers.image_files import write_image
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import FUNCTIONS, init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS, TRANSFORMS
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "how-to.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture
def config(tmp_path) -> Config:
    """The first config, pasted."""
    path = tmp_path / "my_config.py"
    path.write_text(blocks("python")[0])
    return Config.fromfile(path)


def test_the_zoo_config_becomes_a_paco_config_that_trains(config, tmp_path):
    init_default_scope("mmpretrain")
    model = MODELS.build(dict(config.model, data_preprocessor=config.data_preprocessor))
    model.init_weights()
    model.head.set_class_counts(torch.arange(1, 1001))
    loader = config.train_dataloader
    assert loader.dataset.type == "ImageNet" and loader.batch_size == 32
    pipeline = TRANSFORMS.build(dict(type="Compose", transforms=loader.dataset.pipeline))
    samples = []
    for i in range(3):
        pixels = torch.randint(0, 256, (80, 90, 3), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{i}.png")
        samples.append(pipeline(dict(img_path=str(tmp_path / f"{i}.png"), gt_label=i)))
    batch = FUNCTIONS.get(loader.collate_fn.type)(samples)
    data = model.data_preprocessor(batch, training=True)
    assert data["inputs"].shape == (6, 3, 224, 224)
    losses = model.loss(**data)
    losses["loss"].backward()
    assert losses["loss"].isfinite()
    assert model.backbone.conv1.weight.grad.abs().sum() > 0
    assert model.head.queue.num_valid == 3


def test_another_data_set_takes_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (lines,) = (code for code in blocks("python") if "ImageList" in code)
    path = tmp_path / "my_config.py"
    path.write_text(blocks("python")[0] + lines)
    for i in range(4):
        write_image(tmp_path / "path" / "of" / "images" / f"{i}.png")
    (tmp_path / "data" / "mine").mkdir(parents=True)
    (tmp_path / "data" / "mine" / "train.txt").write_text(
        "".join(f"{i}.png {i % 2}\n" for i in range(4))
    )
    (tmp_path / "data" / "mine" / "classes.txt").write_text("cat\ndog\n")
    init_default_scope("mmpretrain")
    loader = Runner.build_dataloader(
        Config.fromfile(path).train_dataloader | dict(num_workers=0, persistent_workers=False)
    )
    assert loader.dataset.metainfo["classes"] == ("cat", "dog")
    assert [view.shape for view in next(iter(loader))["inputs"]] == [(4, 3, 224, 224)] * 2


def test_its_evaluation_has_the_zoo_metrics_and_ours(config):
    init_default_scope("mmpretrain")
    metrics = Evaluator(config.val_evaluator).metrics
    assert [type(metric).__name__ for metric in metrics] == ["Accuracy", "LongTailMetric"]
    assert config.test_evaluator == config.val_evaluator


@pytest.mark.parametrize("code", blocks("python"))
def test_python_code_runs_and_prints_what_its_comment_says(code, capsys):
    names: dict = {}
    exec(blocks("python")[0], names)  # the config, whose names later ones use
    exec(code, names)
    printed = re.findall(r"print\(.*\) +# (.*)", code)
    assert capsys.readouterr().out.splitlines() == printed


def test_the_best_epoch_of_a_validation_is_kept(tmp_path):
    (block,) = (code for code in blocks("python") if "save_best" in code)
    settings: dict = {}
    exec(block, settings)
    config = Config.fromfile(DOCS.parent / "configs" / "digits_lt" / "ce.py")
    config.merge_from_dict({"default_hooks": settings["default_hooks"]})
    config.train_cfg.update(max_epochs=2, val_interval=1)
    config.work_dir, config.experiment_name = str(tmp_path), "best_epoch"
    Runner.from_cfg(config).train()
    assert len(list(tmp_path.glob("best_long_tail_mean_epoch_*.pth"))) == 1
