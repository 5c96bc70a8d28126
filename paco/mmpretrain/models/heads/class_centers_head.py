"""The linear classifier whose training logits know the class prior."""

import torch
from mmpretrain.evaluation.metrics import Accuracy
from mmpretrain.models.heads import ClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from paco.longtail import log_target_prior
from paco.nn import ClassCenters

from ..losses.class_balanced_loss import ClassBalancedLoss

__all__ = ["ClassCentersHead", "labels_of", "soft_targets_of", "targets_of"]

_RENAMED = {
    "cosine": "scale, the factor of the cosine: scale=20 was supt=0.05, and scale=1 the default",
    "supt": "center_temperature, which leaves the prior alone: for both of supt, tau = 1 / supt",
}


def labels_of(data_samples: list[DataSample] | Tensor) -> Tensor:
    """The labels of a batch, int64 [B], from the toolbox's samples or from a loop's tensor."""
    if isinstance(data_samples, Tensor):
        return data_samples
    return torch.cat([sample.gt_label for sample in data_samples])


def soft_targets_of(data_samples: list[DataSample] | Tensor) -> Tensor | None:
    """The targets of images that were mixed, float32 [B, C]; None where there are labels alone."""
    if isinstance(data_samples, Tensor) or "gt_score" not in data_samples[0]:
        return None
    return torch.stack([sample.gt_score for sample in data_samples]).float()


def targets_of(data_samples: list[DataSample] | Tensor) -> Tensor:
    """What a classifier learns: the labels [B], or the targets [B, C] of images that were mixed."""
    targets = soft_targets_of(data_samples)
    return labels_of(data_samples) if targets is None else targets


@MODELS.register_module()
class ClassCentersHead(ClsHead):
    """Class centers trained with the prior and used without it.

    With the default loss this is balanced softmax (`Ren et al. <https://arxiv.org/abs/2007.10740>`_),
    and with ``prior=False`` plain cross entropy: PaCo's two natural baselines. The centers of a
    :class:`PaCoHead` are loaded as its own.

    Args:
        num_classes (int): C, the number of classes.
        in_channels (int): Width of the pooled features.
        prior (bool): Add the log prior of the training set to the training logits. The counts come
            from :class:`ClassCountsHook`, or from :meth:`set_class_counts`. Defaults to True.
        center_temperature (float): Divides the linear logits, but not the prior. Defaults to 1.
        tau (float): Weight of the log prior. Defaults to 1.
        scale (float, optional): Compare directions only, and multiply their cosine by this.
        **kwargs: Passed to :class:`mmpretrain.models.ClsHead`: ``loss``, ``topk``, ``cal_acc``,
            ``init_cfg``.
    """

    centers: ClassCenters
    log_target_prior: Tensor | None

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        prior: bool = True,
        center_temperature: float = 1.0,
        tau: float = 1.0,
        scale: float | None = None,
        **kwargs,
    ) -> None:
        for name in _RENAMED.keys() & kwargs.keys():
            raise TypeError(f"{type(self).__name__}: {name} is now called {_RENAMED[name]}")
        super().__init__(**kwargs)
        self.centers = self._new_centers(
            in_channels,
            num_classes,
            center_temperature=center_temperature,
            tau=tau,
            scale=scale,
        )
        self.prior = prior
        self.register_buffer("log_target_prior", None, persistent=False)
        self._knows_class_counts = False
        self.register_load_state_dict_pre_hook(_take_the_centers_of_either_head)

    def _new_centers(self, *args, **kwargs) -> ClassCenters:
        return ClassCenters(*args, **kwargs)

    def set_class_counts(self, class_counts: Tensor) -> None:
        """Takes the number of training images of each class, int64 [C].

        Raises:
            ValueError: For counts of another number of classes, with a prior or without.
        """
        num_classes = self.centers.num_classes
        if len(class_counts) != num_classes:
            raise ValueError(
                f"{type(self).__name__} has num_classes={num_classes}, and the training set "
                f"{len(class_counts)} classes"
            )
        if self.prior:
            self.centers.set_class_counts(class_counts)
        if isinstance(self.loss_module, ClassBalancedLoss):
            self.loss_module.set_class_counts(class_counts)
        self._knows_class_counts = True

    def set_target_prior(self, target_prior: Tensor | None) -> None:
        """Predicts from now on for data in which class c has the probability ``target_prior[c]``.

        Training is left as it is, and so are checkpoints.

        Args:
            target_prior: [C], see :meth:`paco.nn.ClassCenters.predict`; None for no prior.

        Raises:
            ValueError: For a prior that :func:`paco.longtail.log_target_prior` refuses.
        """
        weight = self.centers.weight
        if target_prior is not None:
            target_prior = log_target_prior(target_prior, self.centers.num_classes).to(weight)
        self.log_target_prior = target_prior

    def require_class_counts(self) -> None:
        """Fails where the training logits would lack the prior."""
        if self.prior and not self._knows_class_counts:
            raise RuntimeError(
                f"{type(self).__name__} has no class counts to take the prior from: add "
                "dict(type='ClassCountsHook') to custom_hooks, call set_class_counts, or train "
                "without a prior (prior=False)"
            )

    def forward(self, feats: tuple[Tensor]) -> Tensor:
        """Inference logits [N, C], the training set's prior left out, and a target prior added."""
        logits = self.centers.predict(self.pre_logits(feats))
        if self.log_target_prior is not None:
            logits = logits + self.log_target_prior.to(logits.dtype)
        return logits

    def loss(self, feats: tuple[Tensor], data_samples: list[DataSample] | Tensor, **kwargs) -> dict:
        """The loss of a batch, and with ``cal_acc`` its accuracy.

        Args:
            feats: Pooled features.
            data_samples: The images' samples, whose labels may be mixed, or the labels [N].
            **kwargs: Passed to the loss.
        """
        self.require_class_counts()
        logits = self.centers(self.pre_logits(feats))
        target = targets_of(data_samples)
        losses = dict(loss=self.loss_module(logits, target, avg_factor=len(logits), **kwargs))
        if self.cal_acc:
            # No threshold, because the default counts positive logits alone.
            labels = labels_of(data_samples)
            accuracies = Accuracy.calculate(logits, labels, topk=self.topk, thrs=(None,))
            for k, accuracy in zip(self.topk, accuracies, strict=True):
                losses[f"accuracy_top-{k}"] = accuracy
        return losses


def _take_the_centers_of_either_head(
    head: ClassCentersHead, state_dict: dict, prefix: str, *_: object
) -> None:
    """Renames centers that were saved by the other head: a PaCoHead keeps its own in a step."""
    own, other = "centers.", "step.centers."
    if hasattr(head, "step"):
        own, other = other, own
    for name in [name for name in state_dict if name.startswith(prefix + other)]:
        state_dict[prefix + own + name.removeprefix(prefix + other)] = state_dict.pop(name)
