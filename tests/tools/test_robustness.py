"""tools/robustness.py on small models that were not trained, and folders of noise."""

from pathlib import Path
from statistics import mean

import paco.mmpretrain  # noqa: F401  (mends the toolbox's imports)

# isort: split
import torch
from helpers.image_files import write_image
from helpers.refusals import refused
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer
from mmpretrain.registry import MODELS

from paco.tools import robustness as tool


def classifier(folder: Path, num_classes: int) -> tuple[Path, Path]:
    """A config and a checkpoint."""
    pixels = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]
    config = dict(
        default_scope="mmpretrain",
        custom_imports=dict(imports=["paco.mmpretrain"]),
        model=dict(
            type="ImageClassifier",
            backbone=dict(type="SmallImageResNet", depth=8),
            neck=dict(type="GlobalAveragePooling"),
            head=dict(type="LinearClsHead", num_classes=num_classes, in_channels=64),
            data_preprocessor=dict(mean=[128] * 3, std=[64] * 3, to_rgb=True),
        ),
        test_dataloader=dict(
            batch_size=50,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dict(type="CustomDataset", data_prefix=str(folder), pipeline=pixels),
        ),
        test_evaluator=dict(type="Accuracy"),
        test_cfg=dict(),
    )
    Config(config).dump(folder / "config.py")
    state = MODELS.build(config["model"]).state_dict()
    torch.save({"state_dict": state}, folder / "model.pth")
    return folder / "config.py", folder / "model.pth"


def write_classes(folder: Path, num_classes: int, per_class: int = 1) -> None:
    for label in range(num_classes):
        for i in range(per_class):
            write_image(folder / f"n{label:04}" / f"{i}.png", 8, 8)


def accuracy(model: tuple[Path, Path], folder: Path, classes: list[int] | None = None) -> float:
    """By the toolbox's inferencer."""
    paths = sorted(folder.glob("*/*"))
    labels = sorted(path.name for path in folder.iterdir())
    inferencer = ImageClassificationInferencer(*map(str, model), device="cpu")
    scores = [result["pred_scores"] for result in inferencer(list(map(str, paths)), batch_size=50)]
    if classes is not None:
        scores = [of_all[classes] for of_all in scores]
    correct = [
        s.argmax() == labels.index(path.parent.name) for s, path in zip(scores, paths, strict=True)
    ]
    return 100 * mean(map(float, correct))


def run(model: tuple[Path, Path], folder: Path, capsys, **folders: Path) -> dict[str, str]:
    options = [x for name, path in folders.items() for x in (f"--imagenet-{name}", path)]
    tool.main([*map(str, model), "--work-dir", str(folder / "work"), *map(str, options)])
    lines = capsys.readouterr().out.splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if line.startswith("ImageNet-"))


def test_errors_are_averaged_and_compared_with_alexnet_s(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tool, "ALEXNET_ERRORS", {"fog": 0.8, "snow": 0.5})
    monkeypatch.setattr(tool, "SEVERITIES", range(1, 3))
    model = classifier(tmp_path, 3)
    errors = {}
    for corruption in ("fog", "snow"):
        folders = [tmp_path / "c" / corruption / str(severity) for severity in (1, 2)]
        for folder in folders:
            write_classes(folder, 3, per_class=4)
        errors[corruption] = mean(100 - accuracy(model, folder) for folder in folders)
    write_classes(tmp_path / "s", 3, per_class=5)
    printed = run(model, tmp_path, capsys, c=tmp_path / "c", s=tmp_path / "s")
    assert printed == {
        "ImageNet-C, fog: error": f"{errors['fog']:.2f}",
        "ImageNet-C, snow: error": f"{errors['snow']:.2f}",
        "ImageNet-C: mean error": f"{mean(errors.values()):.2f}",
        "ImageNet-C: mCE": f"{mean((errors['fog'] / 0.8, errors['snow'] / 0.5)):.2f}",
        "ImageNet-Sketch: top-1": f"{accuracy(model, tmp_path / 's'):.2f}",
    }


def test_renditions_are_told_apart_among_their_own_classes(tmp_path, capsys):
    model = classifier(tmp_path, 1000)
    write_classes(tmp_path / "r", 200)
    printed = run(model, tmp_path, capsys, r=tmp_path / "r")
    expected = accuracy(model, tmp_path / "r", tool.IMAGENET_R_CLASSES)
    assert printed == {"ImageNet-R: top-1": f"{expected:.2f}"}


def test_another_number_of_classes_is_refused(tmp_path, capsys):
    model = classifier(tmp_path, 3)
    write_classes(tmp_path / "s", 2)
    arguments = [*map(str, model), "--work-dir", str(tmp_path), "--imagenet-s", str(tmp_path / "s")]
    with refused(capsys, r"/s must hold 3 folders .*, has 2"):
        tool.main(arguments)
