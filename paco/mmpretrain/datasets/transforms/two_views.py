"""The two-view pipeline of PaCo and GPaCo as one transform."""

from mmcv.transforms import BaseTransform, Compose, LoadImageFromFile
from mmpretrain.datasets.transforms import MultiView, PackInputs
from mmpretrain.registry import TRANSFORMS

__all__ = ["TwoViews"]


@TRANSFORMS.register_module()
class TwoViews(BaseTransform):
    """Reads an image, makes its two views and packs them: a whole training pipeline.

    It is the toolbox's ``LoadImageFromFile`` (unless the data set has the image in memory),
    ``MultiView`` and ``PackInputs``, each with its default settings::

        pipeline=[dict(type='TwoViews', anchor=[...], key=[...])]

    Args:
        anchor (list[dict]): Transforms that make the first view. In PaCo it is the anchor.
        key (list[dict]): Transforms that make the second view, whose feature enters the queue.
    """

    def __init__(self, anchor: list[dict], key: list[dict]) -> None:
        self.load = LoadImageFromFile()
        self.views = MultiView(transforms=[anchor, key], num_views=[1, 1])
        self.pack = PackInputs()

    @property
    def transforms(self) -> list[Compose]:
        """The transforms of the first view and of the second."""
        return self.views.transforms

    def transform(self, results: dict) -> dict:
        if "img" not in results:
            results = self.load(results)
        return self.pack(self.views(results))

    def __repr__(self) -> str:
        anchor, key = self.transforms
        return f"{type(self).__name__}(anchor={anchor}, key={key})"
