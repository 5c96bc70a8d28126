"""PaCo for mmpretrain: ``custom_imports = dict(imports=['paco.mmpretrain'])`` in a config.

Importing this package registers everything in it with the toolbox. Both OpenMMLab lines serve: the
original packages and the maintained onedl fork, which have the same import names.
"""

try:
    import mmengine  # noqa: F401
except ImportError as error:
    raise ImportError(
        "paco.mmpretrain needs a toolbox: pip install mmengine mmcv-lite mmpretrain 'setuptools<82'"
        ", or the maintained fork: pip install onedl-mmengine onedl-mmcv onedl-mmpretrain"
    ) from error

from . import compat

compat.apply()

from . import auto_augment  # noqa: E402
from .annotated_images import AnnotatedImages, Annotation  # noqa: E402
from .atomic_checkpoint_hook import AtomicCheckpointHook  # noqa: E402
from .cifar_lt import CIFAR10LT, CIFAR100LT  # noqa: E402
from .class_centers_head import ClassCentersHead  # noqa: E402
from .class_counts_hook import ClassCountsHook, class_counts_of  # noqa: E402
from .data_preprocessor import TwoViewDataPreprocessor  # noqa: E402
from .deep_resnet import DeepResNet  # noqa: E402
from .deployment import image_metadata  # noqa: E402
from .digits_lt import DigitsLT  # noqa: E402
from .epoch_seed import EpochSeedHook, seed_worker  # noqa: E402
from .gaussian_noise import GaussianNoise  # noqa: E402
from .image_list import ImageList, ImageNetLT  # noqa: E402
from .inaturalist import INaturalist  # noqa: E402
from .inference_classifier import InferenceClassifier  # noqa: E402
from .last_block_resnet import LastBlockResNet  # noqa: E402
from .long_tail_metric import LongTailMetric  # noqa: E402
from .multi_task_loss import MultiTaskLoss  # noqa: E402
from .paco_classifier import PaCoClassifier  # noqa: E402
from .paco_head import PaCoHead  # noqa: E402
from .progress_bar_hook import ProgressBarHook  # noqa: E402
from .projector import Projector  # noqa: E402
from .resnet_cifar import ResNetCIFAR  # noqa: E402
from .small_conv_net import SmallConvNet  # noqa: E402

__all__ = [
    "CIFAR10LT",
    "CIFAR100LT",
    "AnnotatedImages",
    "Annotation",
    "AtomicCheckpointHook",
    "ClassCentersHead",
    "ClassCountsHook",
    "DeepResNet",
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
    "TwoViewDataPreprocessor",
    "auto_augment",
    "class_counts_of",
    "image_metadata",
    "seed_worker",
]
