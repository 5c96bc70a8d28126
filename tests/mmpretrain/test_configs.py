"""The configs that no paper has build and train: digits, and CIFAR-100-LT in 20 epochs."""

from pathlib import Path

import pytest
import torch
from helpers.digits_runs import CONFIGS
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS
from mmpretrain.structures import DataSample

PATHS = sorted([*CONFIGS.glob("digits_lt/*.py"), *CONFIGS.glob("cifar100_lt/*_20e.py")])


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_there_is_a_config_for_each_method():
    names = {name_of(path) for path in PATHS}
    assert {f"digits_lt/{m}" for m in ("paco", "gpaco", "balanced_softmax", "ce")} <= names
    assert {f"cifar100_lt/{m}_if100_20e" for m in ("paco", "balanced_softmax", "ce")} <= names


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_it_takes_two_steps(path):
    config = Config.fromfile(path)
    model = MODELS.build(dict(config.model, data_preprocessor=config.data_preprocessor))
    model.init_weights()
    num_classes = config.model.head.num_classes
    model.head.set_class_counts(torch.arange(num_classes, 0, -1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    shape = (1, 8, 8) if path.parent.name == "digits_lt" else (3, 32, 32)
    pipeline = TRANSFORMS.build(
        dict(type="Compose", transforms=config.train_dataloader.dataset.pipeline)
    )
    for _ in range(2):
        samples = []
        for _ in range(4):
            image = torch.randint(0, 256, shape, dtype=torch.uint8).permute(1, 2, 0).numpy()
            image = image[..., 0] if shape[0] == 1 else image
            label = torch.randint(num_classes, ()).item()
            samples.append(pipeline(dict(img=image, gt_label=label)))
        data = torch.utils.data.default_collate([{"inputs": s["inputs"]} for s in samples])
        data["data_samples"] = [s["data_samples"] for s in samples]
        assert all(isinstance(s, DataSample) for s in data["data_samples"])
        losses = model(**model.data_preprocessor(data, training=True), mode="loss")
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        assert losses["loss"].isfinite()


def test_the_twins_see_the_anchor_view_of_paco():
    paco = Config.fromfile(CONFIGS / "cifar100_lt" / "paco_if100.py")
    twin = Config.fromfile(CONFIGS / "cifar100_lt" / "ce_if100.py")
    anchor_view = paco.train_dataloader.dataset.pipeline[0].views[0]
    assert twin.train_dataloader.dataset.pipeline[:-1] == anchor_view
    assert twin.data_preprocessor == paco.data_preprocessor


def test_digits_train_on_digits():
    config = Config.fromfile(CONFIGS / "digits_lt" / "paco.py")
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert [view.shape for view in dataset[0]["inputs"]] == [(1, 8, 8)] * 2
