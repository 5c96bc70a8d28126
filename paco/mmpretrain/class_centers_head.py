"""The linear classifier whose training logits know the class prior."""

from mmpretrain.models.heads import ClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from paco.nn import ClassCenters

__all__ = ["ClassCentersHead"]


@MODELS.register_module()
class ClassCentersHead(ClsHead):
    """Class centers trained with the prior and used without it.

    With the default loss this is balanced softmax (`Ren et al. <https://arxiv.org/abs/2007.10740>`_),
    and with ``prior=False`` plain cross entropy: PaCo's two natural baselines.

    Args:
        num_classes (int): C, the number of classes.
        in_channels (int): Width of the pooled features.
        prior (bool): Add the log prior of the training set to the training logits. The counts come
            from :class:`ClassCountsHook`, or from :meth:`set_class_counts`. Defaults to True.
        cosine (bool): Compare directions only. Defaults to False.
        **kwargs: Of :class:`mmpretrain.models.ClsHead`: ``loss``, ``topk``, ``cal_acc``,
            ``init_cfg``.
    """

    def __init__(
        self, num_classes: int, in_channels: int, prior: bool = True, cosine: bool = False, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.centers = ClassCenters(in_channels, num_classes, cosine=cosine)
        self.prior = prior
        self._knows_class_counts = False

    def set_class_counts(self, class_counts: Tensor) -> None:
        """Takes the number of training images of each class, int64 [C].

        Raises:
            ValueError: For counts of another number of classes, with a prior or without.
        """
        num_classes = self.centers.log_prior.numel()
        if len(class_counts) != num_classes:
            raise ValueError(
                f"{type(self).__name__} has num_classes={num_classes}, and the training set "
                f"{len(class_counts)} classes"
            )
        if self.prior:
            self.centers.set_class_counts(class_counts)
        self._knows_class_counts = True

    def training_logits(self, x: Tensor) -> Tensor:
        """Logits [N, C] of pooled features [N, in_channels], the prior included."""
        if self.prior and not self._knows_class_counts:
            raise RuntimeError(
                f"{type(self).__name__} has no class counts to take the prior from: add "
                "dict(type='ClassCountsHook') to custom_hooks, call set_class_counts, or train "
                "without a prior (prior=False)"
            )
        return self.centers(x)

    def forward(self, feats: tuple[Tensor]) -> Tensor:
        """Inference logits [N, C], the prior left out."""
        return self.centers.predict(self.pre_logits(feats))

    def loss(self, feats: tuple[Tensor], data_samples: list[DataSample], **kwargs) -> dict:
        logits = self.training_logits(self.pre_logits(feats))
        return self._get_loss(logits, data_samples, **kwargs)
