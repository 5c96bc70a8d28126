"""PaCo for mmpretrain: ``custom_imports = dict(imports=['paco.mmpretrain'])`` in a config.

Importing this package registers everything in it with the toolbox. Both OpenMMLab lines serve: the
original packages and the maintained onedl fork, which have the same import names.
"""

try:
    import mmengine  # noqa: F401

    from paco import mmengine_compat

    mmengine_compat.apply()

    import mmpretrain  # noqa: F401
except ImportError as error:
    raise ImportError(
        "paco.mmpretrain needs a toolbox: pip install 'libpaco[mmpretrain]', or the maintained "
        f"fork: pip install 'libpaco[onedl]' ({error})"
    ) from error

from . import old_names  # noqa: F401
from .checkpoints import packaged_weights  # noqa: F401
from .checkpoints.reading import CheckpointError, read_checkpoint
from .checkpoints.reference_conversion import convert_reference_state, proco_estimates
from .checkpoints.strict_loading import StrictLoadingHook, load_trained_model
from .datasets.annotated_images import AnnotatedImages, Annotation
from .datasets.balanced_partner import WithBalancedPartner
from .datasets.cifar_lt import CIFAR10LT, CIFAR100LT
from .datasets.class_balanced_sampler import ClassBalancedSampler
from .datasets.class_counts import ClassCounts, count_classes
from .datasets.image_list import ImageList, ImageNetLT
from .datasets.inaturalist import INaturalist
from .datasets.transforms.cifar10_policy import CIFAR10Policy
from .datasets.transforms.contrast_views import ContrastViews
from .datasets.transforms.rand_augment import EfficientNetRandAugment
from .datasets.transforms.square_cutout import SquareCutout
from .digits_demo import DigitsLT, GaussianNoise, ProgressBarHook, SmallConvNet
from .engine.hooks.atomic_checkpoint_hook import AtomicCheckpointHook
from .engine.hooks.class_counts_hook import ClassCountsHook
from .engine.hooks.epoch_seed_hook import EpochSeedHook, seed_worker
from .engine.hooks.proco_epoch_hook import ProCoEpochHook
from .engine.hooks.shares_hook import SharesHook
from .engine.loops.device_loops import DeviceTrainLoop, DeviceValLoop
from .evaluation.long_tail_metric import LongTailMetric
from .models.backbones.last_block_resnet import LastBlockResNet
from .models.backbones.resnet200 import ResNet200
from .models.backbones.small_image_resnet import SmallImageResNet
from .models.classifiers.ensemble_classifier import EnsembleClassifier
from .models.classifiers.inference_classifier import InferenceClassifier
from .models.classifiers.paco_classifier import PaCoClassifier
from .models.heads.bcl_head import BCLHead
from .models.heads.class_centers_head import ClassCentersHead
from .models.heads.concutmix_head import ConCutMixHead
from .models.heads.contrast_head import ContrastHead, EncodedViews
from .models.heads.paco_head import PaCoHead
from .models.heads.proco_head import ProCoHead
from .models.losses.class_balanced_loss import ClassBalancedLoss
from .models.losses.multi_task_loss import MultiTaskLoss
from .models.necks.projector import Projector
from .models.utils.split_batch_norm import SplitBatchNorm
from .models.utils.views_data_preprocessor import ViewsDataPreprocessor
from .pipeline_metadata import image_metadata

__all__ = [
    "CIFAR10LT",
    "CIFAR100LT",
    "AnnotatedImages",
    "Annotation",
    "AtomicCheckpointHook",
    "BCLHead",
    "CIFAR10Policy",
    "CheckpointError",
    "ClassBalancedLoss",
    "ClassBalancedSampler",
    "ClassCentersHead",
    "ClassCounts",
    "ClassCountsHook",
    "ConCutMixHead",
    "ContrastHead",
    "ContrastViews",
    "DeviceTrainLoop",
    "DeviceValLoop",
    "DigitsLT",
    "EfficientNetRandAugment",
    "EncodedViews",
    "EnsembleClassifier",
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
    "ProCoEpochHook",
    "ProCoHead",
    "ProgressBarHook",
    "Projector",
    "ResNet200",
    "SharesHook",
    "SmallConvNet",
    "SmallImageResNet",
    "SplitBatchNorm",
    "SquareCutout",
    "StrictLoadingHook",
    "ViewsDataPreprocessor",
    "WithBalancedPartner",
    "convert_reference_state",
    "count_classes",
    "image_metadata",
    "load_trained_model",
    "proco_estimates",
    "read_checkpoint",
    "seed_worker",
]
