"""Several trained classifiers that predict together."""

import torch
from mmpretrain.models import BaseClassifier, ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ... import compat

__all__ = ["EnsembleClassifier"]


class EnsembleClassifier(BaseClassifier):
    """The mean of the logits of several classifiers, for prediction alone.

    The published ensembles add logits up, which predicts the same classes.

    Args:
        models (list[mmpretrain.models.ImageClassifier]): Trained classifiers of the same classes,
            with the same preprocessing.

    Raises:
        ValueError: For classifiers whose preprocessing differs.
    """

    def __init__(self, models: list[ImageClassifier]) -> None:
        super().__init__(data_preprocessor=models[0].data_preprocessor)
        for i, model in enumerate(models):
            if pixels_of(model) != pixels_of(models[0]):
                raise ValueError(
                    f"EnsembleClassifier: models[{i}] prepares images with {pixels_of(model)}, and "
                    f"models[0] with {pixels_of(models[0])}"
                )
        self.models = nn.ModuleList(models).eval()

    def extract_feat(self, inputs: Tensor) -> list[tuple]:
        """The features of each classifier."""
        return [model.extract_feat(inputs) for model in self.models]

    def forward(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = "tensor"
    ) -> Tensor | list[DataSample]:
        """Logits [N, C] of images [N, C_in, H, W], or with ``mode='predict'`` samples.

        Raises:
            ValueError: For another mode, and for classifiers of other numbers of classes.
        """
        if mode not in ("tensor", "predict"):
            raise ValueError(f"EnsembleClassifier: mode must be tensor or predict, got {mode!r}")
        logits = [model(inputs) for model in self.models]
        if len({of_model.shape for of_model in logits}) > 1:
            shapes = [list(of_model.shape) for of_model in logits]
            raise ValueError(f"EnsembleClassifier: logits must have one shape, got {shapes}")
        mean = torch.stack(logits).mean(0)
        if mode == "tensor":
            return mean
        samples = data_samples or [DataSample() for _ in mean]
        for sample, scores in zip(samples, mean.softmax(dim=1), strict=True):
            sample.set_pred_score(scores).set_pred_label(scores.argmax().reshape(1))
        return samples


def pixels_of(model: ImageClassifier) -> dict:
    """What the preprocessor of a classifier does to pixels."""
    preprocessor = model.data_preprocessor
    pixels = dict(to_rgb=preprocessor.to_rgb)
    if compat.normalises(preprocessor):
        for name in ("mean", "std"):
            pixels[name] = getattr(preprocessor, name).flatten().tolist()
    return pixels
