"""PaCo for mmsegmentation: ``custom_imports = dict(imports=['paco.mmseg'])`` in a config.

Importing this package registers everything in it with the toolbox, the maintained onedl fork.
"""

try:
    import mmengine  # noqa: F401

    from paco import mmengine_compat

    mmengine_compat.apply()

    import mmseg  # noqa: F401
except ImportError as error:
    raise ImportError(
        "paco.mmseg needs a toolbox: pip install 'libpaco[onedl]' onedl-mmsegmentation, where no "
        f"original package of OpenMMLab is installed ({error})"
    ) from error

from .digits_scenes import DigitsScenes, LoadScene, SmallSegBackbone
from .evaluation.long_tail_iou_metric import LongTailIoUMetric, read_class_pixels
from .models.inference_segmentor import InferenceSegmentor
from .models.pixel_contrast import PixelContrast
from .models.segmentors.paco_encoder_decoder import PaCoEncoderDecoder

__all__ = [
    "DigitsScenes",
    "InferenceSegmentor",
    "LoadScene",
    "LongTailIoUMetric",
    "PaCoEncoderDecoder",
    "PixelContrast",
    "SmallSegBackbone",
    "read_class_pixels",
]
