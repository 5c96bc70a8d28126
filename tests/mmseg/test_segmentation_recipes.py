"""The published recipes: their settings against one table, and two steps of each."""

import functools
from pathlib import Path

import pytest
import torch
import yaml
from helpers.segmentation import CONFIGS, batch, build, load, total
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, TRANSFORMS

# Crop, iterations, images on a GPU, GPUs, optimizer, learning rate, weight decay, classes, alpha,
# and the published mIoU of one scale and of several.
SWIN = ((512, 512), 160_000, 2, 8, "AdamW", 6e-5, 0.01, 150, 0.01)
STUFF = ((512, 512), 40_000, 4, 4, "SGD", 0.01, 5e-4, 171, 0.01)
CONTEXT = ((480, 480), 40_000, 4, 4, "SGD", 0.004, 1e-4, 59, 0.01)
CITY = ((512, 1024), 80_000, 2, 4, "SGD", 0.01, 5e-4, 19)
TABLE = {
    "ade20k/gpaco_upernet_swin_t": (*SWIN, 45.4, 46.8),
    "ade20k/gpaco_upernet_swin_b": (*SWIN, 51.6, 53.2),
    "ade20k/gpaco_upernet_swin_l": (*SWIN, 52.8, 54.3),
    "ade20k/gpaco_lovasz_upernet_swin_t": (*SWIN, None, None),
    "ade20k/gpaco_lovasz_upernet_swin_b": (*SWIN, None, None),
    "ade20k/gpaco_lovasz_upernet_swin_l": (*SWIN, None, None),
    "coco_stuff10k/gpaco_deeplabv3plus_r50": (*STUFF, 37.0, 37.9),
    "coco_stuff10k/gpaco_deeplabv3plus_r101": (*STUFF, 38.8, 40.1),
    "pascal_context59/gpaco_deeplabv3plus_r50": (*CONTEXT, 51.9, 53.7),
    "pascal_context59/gpaco_deeplabv3plus_r101": (*CONTEXT, 54.2, 56.3),
    "cityscapes/gpaco_deeplabv3plus_r18": (*CITY, 0.01, 78.1, 79.7),
    "cityscapes/gpaco_deeplabv3plus_r50": (*CITY, 0.03, 80.8, 82.0),
    "cityscapes/gpaco_deeplabv3plus_r101": (*CITY, 0.02, 81.4, 82.1),
}
# The toolbox's own config of the same network and data.
ZOO = {
    "ade20k/gpaco_upernet_swin_t": "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k"
    "-512x512",
    "ade20k/gpaco_upernet_swin_b": "swin/swin-base-patch4-window12-in22k-384x384-pre_upernet_8xb2-"
    "160k_ade20k-512x512",
    "ade20k/gpaco_upernet_swin_l": "swin/swin-large-patch4-window12-in22k-384x384-pre_upernet_8xb2-"
    "160k_ade20k-512x512",
    **{
        f"pascal_context59/gpaco_deeplabv3plus_{r}": f"deeplabv3plus/deeplabv3plus_{r}-d8_4xb4-40k_"
        "pascal-context-59-480x480"
        for r in ("r50", "r101")
    },
    **{
        f"cityscapes/gpaco_deeplabv3plus_{r}": f"deeplabv3plus/deeplabv3plus_{r}-d8_4xb2-80k_"
        "cityscapes-512x1024"
        for r in ("r18", "r50", "r101")
    },
}
FOLDERS = ("ade20k", "coco_stuff10k", "pascal_context59", "cityscapes")


def test_every_recipe_is_in_the_table():
    files = {f"{p.parent.name}/{p.stem}" for d in FOLDERS for p in CONFIGS.glob(f"{d}/*.py")}
    assert files == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_settings_are_those_of_the_table(name):
    crop, iterations, images, _, kind, lr, decay, classes, alpha, *_ = TABLE[name]
    config = load(name)
    assert config.model.data_preprocessor.size == crop
    crops = [t.crop_size for t in config.train_pipeline if t.type == "RandomCrop"]
    assert crops == [crop]
    assert config.train_cfg.max_iters == iterations
    assert config.param_scheduler[-1].end == iterations
    assert config.train_dataloader.batch_size == images
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == (kind, lr, decay)
    assert config.model.decode_head.num_classes == classes
    assert config.model.auxiliary_head.num_classes == classes
    loss = dict(config.model.contrast.loss)
    assert loss == dict(type="PixelPaCoLoss", alpha=alpha, temperature=0.07)
    losses = config.model.decode_head.loss_decode
    kinds = [x.type for x in losses] if isinstance(losses, list) else [losses.type]
    assert kinds == ["CrossEntropyLoss", "LovaszLoss"][: 2 if "lovasz" in name else 1]
    assert all(x.loss_weight == 1 for x in (losses if isinstance(losses, list) else [losses]))


def plain(value):
    """A config's value, with lists and tuples alike."""
    if isinstance(value, dict):
        return {key: plain(x) for key, x in value.items()}
    return [plain(x) for x in value] if isinstance(value, list | tuple) else value


@functools.cache
def zoo(name: str):
    import mmseg
    from mmengine.config import Config

    return Config.fromfile(Path(mmseg.__file__).parent / ".mim" / "configs" / f"{name}.py")


@pytest.mark.parametrize("name", ZOO)
def test_the_rest_is_the_toolbox_s_own_config(name):
    ours, theirs = load(name), zoo(ZOO[name])
    init_default_scope("mmseg")
    assert plain(ours.train_pipeline) == plain(theirs.train_pipeline)
    assert plain(ours.test_pipeline) == plain(theirs.test_pipeline)
    for loader in ("train_dataloader", "val_dataloader"):
        mine, other = plain(ours[loader]), plain(theirs[loader])
        for dataset in (mine["dataset"], other["dataset"]):
            dataset["data_root"] = dataset["data_root"].rstrip("/")
            # Pascal Context's data set reduces labels by itself, COCO-Stuff's where it is told to.
            dataset.pop("reduce_zero_label", None)
        assert mine == other
    optimizer = plain(theirs.optim_wrapper.optimizer)
    assert plain(ours.optim_wrapper.optimizer) == optimizer
    assert ours.optim_wrapper.get("paramwise_cfg") == theirs.optim_wrapper.get("paramwise_cfg")
    assert plain(ours.model.test_cfg) == plain(theirs.model.test_cfg)
    with torch.device("cpu" if "swin" in name else "meta"):  # it reads numbers as it is made
        models = [build(without_weights(config)) for config in (ours, theirs)]
    own, other = ({n: x.shape for n, x in m.state_dict().items()} for m in models)
    assert {n: x for n, x in own.items() if not n.startswith("contrast.")} == other


def without_weights(config) -> dict:
    """The model, without the pretrained weights that would be downloaded."""
    model = config.model.copy()
    model.pretrained = None
    model.backbone.init_cfg = None
    return model


@pytest.mark.parametrize("name", TABLE)
def test_it_takes_two_steps(name):
    config = load(name)
    model = build(without_weights(config)).train()
    if "swin_l" not in name:  # whose optimizer would take 2 GB
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
        optimizer = wrapper.optimizer
        assert type(optimizer).__name__ == TABLE[name][4]
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = model.contrast.projector[0].conv.weight.clone()
    for _ in range(2):
        losses = model.loss(*batch(TABLE[name][7]))
        optimizer.zero_grad()
        total(losses).backward()
        optimizer.step()
        assert total(losses).isfinite()
    assert ("decode.loss_lovasz" in losses) == ("lovasz" in name)
    assert {"decode.loss_ce", "decode.loss_paco", "aux.loss_ce"} <= losses.keys()
    assert not torch.equal(model.contrast.projector[0].conv.weight, before)


@pytest.mark.parametrize("folder", FOLDERS)
def test_metafile_has_the_published_figures(folder):
    models = yaml.safe_load((CONFIGS / folder / "metafile.yml").read_text())["Models"]
    listed = {
        model["Config"]: model["Results"][0]["Metrics"] for model in models if "Results" in model
    }
    expected = {
        f"configs/{name}.py": {"mIoU": figures[-2], "mIoU(ms+flip)": figures[-1]}
        for name, figures in TABLE.items()
        if name.startswith(folder) and figures[-1] is not None
    }
    assert listed == expected


@pytest.mark.parametrize(
    "name", ["ade20k/gpaco_upernet_swin_t", "cityscapes/gpaco_deeplabv3plus_r50"]
)
def test_its_pipeline_makes_its_images(name, tmp_path):
    import mmcv
    import numpy as np

    config = load(name)
    init_default_scope("mmseg")
    image = np.random.randint(0, 256, (700, 900, 3), dtype=np.uint8)
    labels = np.random.randint(0, TABLE[name][7], (700, 900), dtype=np.uint8)
    mmcv.imwrite(image, str(tmp_path / "image.png"))
    mmcv.imwrite(labels, str(tmp_path / "labels.png"))
    reduce = bool(config.train_dataloader.dataset.get("reduce_zero_label"))
    sample = TRANSFORMS.build(dict(type="Compose", transforms=config.train_pipeline))(
        dict(
            img_path=str(tmp_path / "image.png"),
            seg_map_path=str(tmp_path / "labels.png"),
            seg_fields=[],
            label_map=None,
            reduce_zero_label=reduce,
        )
    )
    values = sample["data_samples"].gt_sem_seg.data.unique()
    assert values.max() == 255 if reduce else values.max() < TABLE[name][7]
    assert DATASETS.get(config.train_dataloader.dataset.type) is not None
