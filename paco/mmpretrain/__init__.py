"""PaCo for mmpretrain: ``custom_imports = dict(imports=['paco.mmpretrain'])`` in a config.

Importing this package registers everything in it with the toolbox. Both OpenMMLab lines serve: the
original packages and the maintained onedl fork, which have the same import names.
"""

try:
    import mmengine  # noqa: F401

    from . import compat

    compat.apply()

    import mmpretrain  # noqa: F401
except ImportError as error:
    raise ImportError(
        "paco.mmpretrain needs a toolbox: pip install mmengine mmcv-lite mmpretrain 'setuptools<82'"
        ", or the maintained fork: pip install onedl-mmengine onedl-mmcv onedl-mmpretrain"
    ) from error

from .annotated_images import AnnotatedImages, Annotation
from .atomic_checkpoint_hook import AtomicCheckpointHook
from .cifar10_policy import CIFAR10Policy
from .cifar_lt import CIFAR10LT, CIFAR100LT
from .class_centers_head import ClassCentersHead
from .class_counts_hook import ClassCountsHook, class_counts_of
from .data_preprocessor import TwoViewDataPreprocessor
from .deep_resnet import DeepResNet
from .deployment import image_metadata
from .device_loops import DeviceTrainLoop, DeviceValLoop
from .digits_lt import DigitsLT
from .epoch_seed import EpochSeedHook, seed_worker
from .gaussian_noise import GaussianNoise
from .image_list import ImageList, ImageNetLT
from .inaturalist import INaturalist
from .inference_classifier import InferenceClassifier
from .last_block_resnet import LastBlockResNet
from .long_tail_metric import LongTailMetric
from .multi_task_loss import MultiTaskLoss
from .paco_classifier import PaCoClassifier
from .paco_head import PaCoHead
from .progress_bar_hook import ProgressBarHook
from .projector import Projector
from .resnet_cifar import ResNetCIFAR
from .small_conv_net import SmallConvNet
from .square_cutout import SquareCutout

__all__ = [
    "CIFAR10LT",
    "CIFAR100LT",
    "AnnotatedImages",
    "Annotation",
    "AtomicCheckpointHook",
    "CIFAR10Policy",
    "ClassCentersHead",
    "ClassCountsHook",
    "DeepResNet",
    "DeviceTrainLoop",
    "DeviceValLoop",
    "DigitsLT",
    "EpochSeedHook",
    "GaussianNoise",
    "INaturalist",
    "ImageList",
    "ImageNetLT",
    "InferenceClassifier",
    "LastBlockResNet",
    "LongTailMetric",
    "MultiTaskLoss",
    "PaCoClassifier",
    "PaCoHead",
    "ProgressBarHook",
    "Projector",
    "ResNetCIFAR",
    "SmallConvNet",
    "SquareCutout",
    "TwoViewDataPreprocessor",
    "class_counts_of",
    "image_metadata",
    "seed_worker",
]
