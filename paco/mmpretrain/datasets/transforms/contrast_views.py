"""The views of an image for contrastive learning, as one transform."""

from typing import TypeVar

from mmcv.transforms import BaseTransform, Compose, LoadImageFromFile
from mmpretrain.datasets.transforms import MultiView, PackInputs
from mmpretrain.registry import TRANSFORMS

__all__ = ["ContrastViews"]

T = TypeVar("T")


@TRANSFORMS.register_module()
class ContrastViews(BaseTransform):
    """Reads an image, makes its views and packs them: a whole training pipeline.

    It is the toolbox's ``LoadImageFromFile`` (unless the data set has the image in memory),
    ``MultiView`` and ``PackInputs``, each with its default settings::

        pipeline=[dict(type='ContrastViews', views=[anchor, key])]
        pipeline=[dict(type='ContrastViews', views=[sim, sim], classification=autoaug)]

    Args:
        views (list[list[dict]]): The transforms that make each of the views to contrast. In PaCo
            the first view is the anchor, and the features of the others enter the queue.
        classification (list[dict], optional): The transforms of one view more, for the classifier
            alone.
    """

    def __init__(self, views: list[list[dict]], classification: list[dict] | None = None) -> None:
        if not views:
            raise ValueError(f"ContrastViews: views must be transforms of one or more, got {views}")
        self.has_classification = classification is not None
        transforms = [*views, classification] if self.has_classification else list(views)
        self.load = LoadImageFromFile()
        self.multi_view = MultiView(transforms=transforms, num_views=[1] * len(transforms))
        self.pack = PackInputs()

    @property
    def transforms(self) -> list[Compose]:
        """The transforms of each view to contrast and, if there is one, of the classifier's."""
        return self.multi_view.transforms

    def arrange(self, views: list[T]) -> list[T] | dict:
        """Views in the order of :attr:`transforms` as :class:`ViewsDataPreprocessor` takes them."""
        if self.has_classification:
            return dict(contrast=views[:-1], classification=views[-1])
        return views

    def classification_view(self, results: dict) -> dict:
        """The image of a data set's item as the classifier's view shows it, not packed."""
        if "img" not in results:
            results = self.load(results)
        return self.transforms[-1](results)

    def transform(self, results: dict) -> dict:
        if "img" not in results:
            results = self.load(results)
        packed = self.pack(self.multi_view(results))
        packed["inputs"] = self.arrange(packed["inputs"])
        return packed

    def __repr__(self) -> str:
        views = self.arrange(self.transforms)
        settings = views if isinstance(views, dict) else dict(contrast=views)
        return (
            f"{type(self).__name__}(views={settings['contrast']}, "
            f"classification={settings.get('classification')})"
        )
