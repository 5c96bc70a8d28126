"""An EncoderDecoder whose decode head learns from PaCo's loss as well."""

import contextlib
import logging
from collections.abc import Iterator

import torch
from mmengine.logging import print_log
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor, nn

__all__ = ["PaCoEncoderDecoder"]


@MODELS.register_module()
class PaCoEncoderDecoder(EncoderDecoder):
    """mmsegmentation's EncoderDecoder, with GPaCo's contrast of pixels beside the head's own loss.

    It serves every decode head that classifies its features by ``cls_seg``: UPerHead, FCNHead,
    SegformerHead, the ASPP heads and most others. The contrast takes the features and the logits
    that pass there, so the head stays as it is. Inference is the EncoderDecoder's; a checkpoint is
    too, with the projector under ``contrast``, and each loads the other's.

    Args:
        contrast (dict): Settings of :class:`PixelContrast`. ``in_channels``, ``conv_cfg``,
            ``norm_cfg`` and ``act_cfg``, and the loss's ``ignore_index``, are the decode head's
            unless they are given.
        **kwargs: Passed to the EncoderDecoder.

    Raises:
        TypeError: For a decode head that has no such features.
        ValueError: For one of fewer logits than classes, and for a contrast without its loss.
    """

    def __init__(self, *, contrast: dict, **kwargs) -> None:
        super().__init__(**kwargs)
        head = self.decode_head
        classifier = getattr(head, "conv_seg", None)
        if not isinstance(head, BaseDecodeHead) or not isinstance(classifier, nn.Conv2d):
            raise TypeError(
                "PaCoEncoderDecoder: decode_head must classify its features by cls_seg, as "
                f"UPerHead and FCNHead do, got a {type(head).__name__}"
            )
        if head.out_channels != head.num_classes:
            raise ValueError(
                "PaCoEncoderDecoder: decode_head must have a logit for each of its num_classes, "
                f"{head.num_classes}, got out_channels {head.out_channels}"
            )
        if "loss" not in contrast:
            raise ValueError(
                "PaCoEncoderDecoder: contrast must have a loss, such as loss=dict("
                f"type='PixelPaCoLoss', alpha=0.01, temperature=0.07), got {dict(contrast)}"
            )
        settings = {
            "type": "PixelContrast",
            "in_channels": head.channels,
            "conv_cfg": head.conv_cfg,
            "norm_cfg": head.norm_cfg,
            "act_cfg": head.act_cfg,
            **contrast,
        }
        settings["loss"] = {"ignore_index": head.ignore_index, **settings["loss"]}
        self.contrast = MODELS.build(settings)
        self.register_load_state_dict_pre_hook(_leave_a_queue_that_does_not_fit)

    def _decode_head_forward_train(self, inputs: list[Tensor], data_samples: list) -> dict:
        with self._classified() as seen:
            losses = super()._decode_head_forward_train(inputs, data_samples)
        if len(seen) != 2:
            raise RuntimeError(
                f"PaCoEncoderDecoder: a {type(self.decode_head).__name__} does not classify its "
                "features by cls_seg in training"
            )
        labels = torch.cat([sample.gt_sem_seg.data for sample in data_samples])  # each [1, H', W']
        losses["decode.loss_paco"] = self.contrast(seen["features"], seen["logits"], labels)
        return losses

    @contextlib.contextmanager
    def _classified(self) -> Iterator[dict[str, Tensor]]:
        """The features before the head's dropout and the logits, of the forward pass inside."""
        seen: dict[str, Tensor] = {}
        head = self.decode_head
        first = head.conv_seg if head.dropout is None else head.dropout
        handles = [
            first.register_forward_pre_hook(lambda _, args: seen.update(features=args[0])),
            head.conv_seg.register_forward_hook(lambda _, args, out: seen.update(logits=out)),
        ]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()


# The toolbox loads every tensor whose shape fits, such as labels without their classes, or the
# number of valid rows without the rows.
def _leave_a_queue_that_does_not_fit(
    model: PaCoEncoderDecoder, state_dict: dict, prefix: str, *_: object
) -> None:
    own = model.state_dict()
    names = ("decode_head.conv_seg.weight", "contrast.queue.features")
    if all(
        name in own
        and prefix + name in state_dict
        and state_dict[prefix + name].shape == own[name].shape
        for name in names
    ):
        return
    queue = [name for name in state_dict if name.startswith(f"{prefix}contrast.queue.")]
    for name in queue:
        del state_dict[name]
    if queue and model.contrast.queue is not None:
        print_log(
            "The queue of pixels starts empty, because the checkpoint's is of other classes or of "
            "another size",
            logger="current",
            level=logging.WARNING,
        )
