"""A trained segmentor reduced to what predicts."""

from mmseg.models.backbones.swin import ShiftWindowMSA
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor, nn
from torch.nn import functional as F

from .shifted_windows import attend

__all__ = ["InferenceSegmentor"]

# Replaces it in the whole process, in networks that are training too: the numbers are the same.
ShiftWindowMSA.forward = attend


class InferenceSegmentor(nn.Module):
    """Backbone, neck and decode head of a segmentor, for export.

    Its logits are those of the segmentor's whole-image inference. Auxiliary heads and PaCo's
    projector and queue serve training alone and stay behind.

    Args:
        model (mmseg.models.EncoderDecoder): The segmentor.
    """

    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.neck = model.neck if model.with_neck else nn.Identity()
        self.decode_head = model.decode_head
        self.align_corners = model.align_corners
        # A new module is in training mode, and so would be its parts once that mode is restored.
        self.train(model.training)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, C, H, W] of normalised images [N, C_in, H, W]."""
        logits = self.decode_head(self.neck(self.backbone(images)))
        return F.interpolate(
            logits, size=images.shape[2:], mode="bilinear", align_corners=self.align_corners
        )
