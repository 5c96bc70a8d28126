"""The classifier that trains with PaCo or GPaCo and predicts like any other."""

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from paco.distributed import apply_shuffled
from paco.nn import MomentumEncoder

from ..heads.paco_head import PaCoHead

__all__ = ["PaCoClassifier"]


class Encoder(nn.Module):
    """Backbone, neck and projector in one: images [B, C, H, W] to contrastive features [B, D]."""

    def __init__(self, backbone: nn.Module, neck: nn.Module | None, projector: nn.Module) -> None:
        super().__init__()
        self.backbone, self.neck, self.projector = backbone, neck, projector

    def forward(self, images: Tensor) -> Tensor:
        feats = self.backbone(images)
        if self.neck is not None:
            feats = self.neck(feats)
        return self.projector(feats[-1])


@MODELS.register_module()
class PaCoClassifier(ImageClassifier):
    """Image classifier for parametric contrastive learning.

    Training takes two views of each image (:class:`TwoViews` and
    :class:`TwoViewDataPreprocessor` make them). With a momentum it is
    `PaCo <https://arxiv.org/abs/2107.12028>`_: the first view is the anchor, and the second goes
    through the key encoder, which trails the query encoder and keeps BatchNorm statistics of its
    own. Without one it is `GPaCo <https://arxiv.org/abs/2209.12400>`_: both views go through the
    one encoder, and both are anchors. Prediction, features and export are those of
    :class:`mmpretrain.models.ImageClassifier`: backbone, neck and class centers, no prior.

    Args:
        backbone (dict): The backbone.
        neck (dict, optional): The neck. Defaults to None.
        head (dict): A :class:`PaCoHead`.
        momentum (float, optional): How much of itself the key encoder keeps in a step, in [0, 1];
            None for GPaCo. Defaults to 0.999.
        shuffle_bn (bool): Where several processes train, encode the key views in a random order
            over all of them, so that BatchNorm cannot tell which key belongs to an anchor. One
            process, and GPaCo, have nothing to shuffle. Defaults to True.
        data_preprocessor (dict, optional): Defaults to a :class:`TwoViewDataPreprocessor`, which
            also serves where no ``type`` is given.
        **kwargs: ``pretrained`` and ``init_cfg`` of :class:`mmpretrain.models.ImageClassifier`.

    Attributes:
        key_encoder (paco.nn.MomentumEncoder): Trails backbone, neck and projector; None for GPaCo.

    Raises:
        ValueError: For a momentum outside [0, 1], and for images that are to be mixed.
        TypeError: For another head.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        momentum: float | None = 0.999,
        shuffle_bn: bool = True,
        data_preprocessor: dict | nn.Module | None = None,
        **kwargs,
    ) -> None:
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = {"type": "TwoViewDataPreprocessor", **(data_preprocessor or {})}
        super().__init__(backbone, neck, head, data_preprocessor=data_preprocessor, **kwargs)
        if getattr(self.data_preprocessor, "batch_augments", None) is not None:
            raise ValueError(
                "PaCoClassifier: images cannot be mixed (Mixup, CutMix): a mixed one has no "
                "class to find positives for: set train_cfg=None, and no batch_augments in the "
                "data preprocessor"
            )
        if not isinstance(self.head, PaCoHead):
            raise TypeError(
                f"PaCoClassifier: head must be a PaCoHead, got {type(self.head).__name__}"
            )
        self.shuffle_bn = shuffle_bn
        self.key_encoder = None
        if momentum is not None:
            self.key_encoder = MomentumEncoder(self._query_encoder(), momentum)
            self.register_load_state_dict_pre_hook(_complete_key_encoder)

    def init_weights(self) -> None:
        super().init_weights()
        if self.key_encoder is not None:
            self.key_encoder.encoder.load_state_dict(self._query_encoder().state_dict())

    def loss(self, inputs: Tensor, data_samples: list[DataSample] | Tensor) -> dict:
        """Losses of B images.

        Args:
            inputs: [2B, C, H, W], the anchor view of each image, then the key view of each.
            data_samples: The B images' samples, or their labels [B].
        """
        if inputs.size(0) != 2 * len(data_samples):
            raise ValueError(
                f"{type(self).__name__} trains on two views of each image, made by the TwoViews or "
                f"the MultiView transform; got {inputs.size(0)} views of {len(data_samples)} images"
            )
        anchor_view, key_view = inputs.chunk(2)
        feats = self.extract_feat(anchor_view)
        if self.key_encoder is None:
            # Published GPaCo encodes one view after the other: a BatchNorm batch has one kind.
            key_feats = self.extract_feat(key_view)
            feats = (torch.cat([feats[-1], key_feats[-1]]),)
            return self.head.loss(feats, data_samples)
        self.key_encoder.update(self._query_encoder())
        if self.shuffle_bn:
            keys = apply_shuffled(self.key_encoder, key_view)
        else:
            keys = self.key_encoder(key_view)
        return self.head.loss(feats, data_samples, keys)

    def _query_encoder(self) -> Encoder:
        # Made anew each time, because as a part of this module its state would be saved twice.
        return Encoder(self.backbone, self.neck, self.head.projector)


def _complete_key_encoder(model: PaCoClassifier, state_dict: dict, prefix: str, *_: object) -> None:
    """Starts the key encoder of a checkpoint that has none, such as a plain classifier's."""
    key_prefix = prefix + "key_encoder."
    if any(name.startswith(key_prefix) for name in state_dict):
        return
    for name in model.key_encoder.encoder.state_dict():
        source = prefix + ("head." if name.startswith("projector.") else "") + name
        if source in state_dict:
            state_dict[f"{key_prefix}encoder.{name}"] = state_dict[source]
