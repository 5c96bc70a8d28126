"""What model-index.yml and the metafiles, which mim and mmpretrain read, say of a recipe is so."""

import re
from pathlib import Path

import pytest
import yaml
from helpers.digits_runs import CONFIGS
from mmengine.config import Config
from modelindex.load_model_index import load

ROOT = CONFIGS.parent
# A folder without a README is for the tests and the documentation.
RECIPES = [path for path in sorted(CONFIGS.glob("*/*.py")) if (path.parent / "README.md").exists()]


def metafile(folder: Path) -> dict:
    return yaml.safe_load((folder / "metafile.yml").read_text())


def entry_of(path: Path) -> dict:
    wanted = str(path.relative_to(ROOT))
    entries = [model for model in metafile(path.parent)["Models"] if model["Config"] == wanted]
    assert len(entries) == 1, f"{path.parent}/metafile.yml needs one entry of Config: {wanted}"
    return entries[0]


def test_the_index_has_every_recipe_once_and_nothing_else():
    models = load(str(ROOT / "model-index.yml")).models
    configs = [model.config for model in models]
    assert sorted(configs) == [str(path.relative_to(ROOT)) for path in RECIPES]
    assert len({model.name for model in models}) == len(models)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_entry_says_what_its_config_does(path):
    entry, config = entry_of(path), Config.fromfile(path, import_custom_modules=False)
    # The name of its file in a wheel, for mim.
    assert entry["Name"] == f"{path.stem}_{path.parent.name}"
    length = {
        "Epochs": config.train_cfg.get("max_epochs"),
        "Iterations": config.train_cfg.get("max_iters"),
    }
    for name, value in length.items():
        assert entry["Metadata"].get(name) == value
    batch = config.train_dataloader.batch_size
    assert entry["Metadata"].get("Batch Size", batch) == batch
    factor = re.search(r"_if(\d+)", path.stem)
    assert entry["Metadata"].get("Imbalance Factor") == (factor and int(factor[1]))
    readme = path.parent / "README.md"
    lines = [line for line in readme.read_text().splitlines() if f"({path.name})" in line]
    assert lines, f"{readme} does not list {path.name}"
    for result in entry.get("Results") or []:
        # As the README's table has it, in a column of published figures.
        for figure in map(str, result["Metrics"].values()):
            assert any(
                re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.])", line) for line in lines
            )
