"""The classifier that trains on several views of an image and predicts like any other."""

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from paco.distributed import apply_shuffled, exclude_from_ddp
from paco.nn import MomentumEncoder

from ..heads.contrast_head import ContrastHead, EncodedViews
from ..utils.split_batch_norm import SplitBatchNorm
from ..utils.views_data_preprocessor import ViewsDataPreprocessor

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
    """Image classifier that trains on several views of each image.

    :class:`ContrastViews` and :class:`ViewsDataPreprocessor` make two or more views to contrast
    and, where the method has one, a view of its own for the classifier. With a momentum it is
    `PaCo <https://arxiv.org/abs/2107.12028>`_: the first contrast view is the anchor, and the
    others go through the key encoder, which trails the query encoder and keeps BatchNorm
    statistics of its own. Without one it is `GPaCo <https://arxiv.org/abs/2209.12400>`_ or another
    method with one encoder for all views. Prediction, features and export are those of
    :class:`mmpretrain.models.ImageClassifier`: backbone, neck and class centers, no prior.

    The head is handed the :class:`EncodedViews` of the images and their samples: pooled features
    and projections of every view that passed the encoder, keys of every view that passed the key
    encoder, each with a dimension of views in front. It makes the loss of them, and needs to know
    nothing of encoders. The views that pass the encoder do so

    - one after the other where all are to be contrasted, as in published GPaCo: a BatchNorm batch
      has one kind of view;
    - as one batch together with a classification view, as in published BCL and ProCo.

    Args:
        backbone (dict): The backbone.
        neck (dict, optional): The neck. Defaults to None.
        head (dict): A :class:`ContrastHead`, such as :class:`PaCoHead`.
        momentum (float, optional): How much of itself the key encoder keeps in a step, in [0, 1];
            None for one encoder. Defaults to 0.999.
        shuffle_bn (bool): Where several processes train, encode the key views in a random order
            over all of them, so that BatchNorm cannot tell which key belongs to an anchor. One
            process, and one encoder, have nothing to shuffle; groups of one process do.
            Defaults to True.
        batch_norm_group (int, optional): Takes BatchNorm's statistics from groups of so many
            images instead of a process's whole batch (:class:`SplitBatchNorm`): a batch of 128 in
            groups of 32 is normalised as by the four processes of the published recipes. Defaults
            to None.
        data_preprocessor (dict, optional): Defaults to a :class:`ViewsDataPreprocessor`, which
            also serves where no ``type`` is given.
        **kwargs: ``pretrained`` and ``init_cfg`` of :class:`mmpretrain.models.ImageClassifier`.

    Attributes:
        key_encoder (paco.nn.MomentumEncoder): Trails backbone, neck and projector; None without a
            momentum.

    Raises:
        ValueError: For a momentum outside [0, 1], and a group of less than two images.
        TypeError: For another head or data preprocessor.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        momentum: float | None = 0.999,
        shuffle_bn: bool = True,
        batch_norm_group: int | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        **kwargs,
    ) -> None:
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = {"type": "ViewsDataPreprocessor", **(data_preprocessor or {})}
        super().__init__(backbone, neck, head, data_preprocessor=data_preprocessor, **kwargs)
        if not isinstance(self.head, ContrastHead):
            raise TypeError(
                "PaCoClassifier: head must be a ContrastHead, such as PaCoHead, got "
                f"{type(self.head).__name__}"
            )
        if not isinstance(self.data_preprocessor, ViewsDataPreprocessor):
            raise TypeError(
                "PaCoClassifier: data_preprocessor must be a ViewsDataPreprocessor, got "
                f"{type(self.data_preprocessor).__name__}"
            )
        if self.data_preprocessor.num_classes is None:  # asked for by Mixup and CutMix
            self.data_preprocessor.num_classes = self.head.centers.num_classes
        self.shuffle_bn = shuffle_bn
        self.batch_norm_group = batch_norm_group
        if batch_norm_group is not None:
            SplitBatchNorm.convert(self, batch_norm_group)
        self.key_encoder = None
        if momentum is not None:
            self.key_encoder = MomentumEncoder(self._query_encoder(), momentum)
            self.register_load_state_dict_pre_hook(_complete_key_encoder)
        exclude_from_ddp(self)

    def init_weights(self) -> None:
        super().init_weights()
        if self.key_encoder is not None:
            self.key_encoder.encoder.load_state_dict(self._query_encoder().state_dict())

    def loss(
        self, inputs: Tensor | dict[str, Tensor], data_samples: list[DataSample] | Tensor
    ) -> dict:
        """Losses of B images.

        Args:
            inputs: [V·B, C, H, W], the first view of each image, then the second of each, up to
                the last; or ``dict(contrast=..., classification=...)``, those and the
                classification views [B, C, H, W].
            data_samples: The B images' samples, or their labels [B].
        """
        return self.head.loss(self._encode(inputs, len(data_samples)), data_samples)

    def _encode(self, inputs: Tensor | dict[str, Tensor], batch: int) -> EncodedViews:
        classification = None
        if not isinstance(inputs, Tensor):
            inputs, classification = inputs["contrast"], inputs["classification"]
        if inputs.size(0) % batch != 0 or inputs.size(0) < 2 * batch:
            raise ValueError(
                f"{type(self).__name__} trains on two or more views of each image, made by the "
                f"ContrastViews or the MultiView transform; got {inputs.size(0)} views of {batch} "
                "images"
            )
        views = inputs.split(batch)
        encoded = views if self.key_encoder is None else views[:1]
        if classification is None:
            pooled = torch.cat([self._pool(view) for view in encoded])
        else:
            pooled = self._pool(torch.cat([*encoded, classification]))
        projections = self.head.projector(pooled)
        pooled, projections = (x.unflatten(0, (-1, batch)) for x in (pooled, projections))
        keys = None if self.key_encoder is None else self._encode_keys(views[1:])
        if classification is None:
            return EncodedViews(pooled, projections, keys)
        return EncodedViews(pooled[:-1], projections[:-1], keys, pooled[-1], projections[-1])

    def _pool(self, images: Tensor) -> Tensor:
        return self.head.pre_logits(self.extract_feat(images))

    def _encode_keys(self, views: tuple[Tensor, ...]) -> Tensor:
        self.key_encoder.update(self._query_encoder())
        return torch.stack([self._encode_key_view(view) for view in views])

    def _encode_key_view(self, view: Tensor) -> Tensor:
        if not self.shuffle_bn:
            return self.key_encoder(view)
        if self.batch_norm_group is None:
            return apply_shuffled(self.key_encoder, view)
        order = torch.rand(len(view), device=view.device).argsort()
        return apply_shuffled(self.key_encoder, view[order])[order.argsort()]

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
