"""The diff in docs/segmentation.md makes PaCo of the toolbox's own config, which trains."""

import re
import shutil
from pathlib import Path

import mmseg
from helpers.segmentation import batch, build, total
from mmengine.config import Config

PAGE = Path(__file__).parents[2] / "docs" / "segmentation.md"
ZOO = Path(mmseg.__file__).parent / ".mim" / "configs"


def applied(diff: str, text: str) -> str:
    """The text after a unified diff of one hunk, every line of which must be there."""
    _, new, hunk = re.match(r"--- (\S+)\n\+\+\+ (\S+)\n@@.*@@\n(.*)", diff, re.DOTALL).groups()
    before = "".join(line[1:] for line in hunk.splitlines(True) if line[0] in " -")
    after = "".join(line[1:] for line in hunk.splitlines(True) if line[0] in " +")
    assert text.count(before) == 1, f"{new} is not as the page shows it"
    return text.replace(before, after)


def test_the_diff_makes_a_paco_config_that_trains(tmp_path):
    (diff,) = re.findall(r"```diff\n(.*?)```", PAGE.read_text(), re.DOTALL)
    name = re.search(r"--- configs/(\S+)", diff)[1]
    shutil.copytree(ZOO / "_base_", tmp_path / "_base_")
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text(applied(diff, (ZOO / name).read_text()))
    added = [line for line in diff.splitlines() if re.match(r"\+[^+]", line)]
    assert len(added) <= 10
    config = Config.fromfile(path)
    model = config.model.copy()
    model.pretrained = None
    model = build(model).train()
    optimizer = config.optim_wrapper.optimizer
    assert optimizer.type == "SGD"
    losses = model.loss(*batch(150))
    total(losses).backward()
    assert losses["decode.loss_paco"].isfinite()
    assert model.contrast.loss_module.num_pixels == 8192
    assert model.backbone.stem[0].weight.grad.abs().sum() > 0


def test_the_metric_s_config_is_one():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    evaluator = {}
    exec(block, {}, evaluator)
    assert evaluator["val_evaluator"]["type"] == "LongTailIoUMetric"
