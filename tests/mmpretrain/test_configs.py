"""The configs that no paper has build and train: digits, and CIFAR-100-LT in 20 epochs."""

from pathlib import Path

import pytest
import torch
from helpers.digits_runs import CONFIGS
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS
from mmpretrain.structures import DataSample

PATHS = sorted([*CONFIGS.glob("digits_lt/*.py"), *CONFIGS.glob("cifar100_lt/*_20e.py")])
# Its images have partners, as in test_concutmix_recipes.py.
PATHS.remove(CONFIGS / "cifar100_lt" / "concutmix_if100_20e.py")


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_there_is_a_config_for_each_method():
    names = {name_of(path) for path in PATHS}
    assert {f"digits_lt/{m}" for m in ("paco", "gpaco", "balanced_softmax", "ce")} <= names
    methods = ("paco", "gpaco", "balanced_softmax", "logit_adjustment", "ce")
    baselines = ("class_balanced_sampling", "class_balanced_loss")
    assert {f"cifar100_lt/{m}_if100_20e" for m in (*methods, *baselines)} <= names


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


@pytest.mark.parametrize("method", ["class_balanced_sampling", "class_balanced_loss"])
def test_a_baseline_differs_from_cross_entropy_in_one_thing(method):
    twin, config = (
        Config.fromfile(CONFIGS / "cifar100_lt" / f"{name}_if100_20e.py").to_dict()
        for name in ("ce", method)
    )
    if method == "class_balanced_sampling":
        assert config["train_dataloader"].pop("sampler") == dict(type="ClassBalancedSampler")
        del twin["train_dataloader"]["sampler"]
    else:
        loss = dict(type="ClassBalancedLoss", beta=0.9999)
        assert config["model"]["head"].pop("loss") == loss
    assert config == twin


def test_logit_adjustment_is_a_setting_of_the_centers():
    config = Config.fromfile(CONFIGS / "cifar100_lt" / "logit_adjustment_if100_20e.py")
    head = MODELS.build(config.model.head)
    counts = torch.arange(100, 0, -1)
    head.set_class_counts(counts)
    x, w = torch.randn(5, 64), head.centers.weight
    cosine = torch.nn.functional.cosine_similarity(x[:, None], w, dim=2)
    expected = 30 * cosine + (counts / counts.sum()).log()
    torch.testing.assert_close(head.centers(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(head((x,)), 30 * cosine, rtol=1e-4, atol=1e-4)


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
