"""Export for C++: the classifier, which needs libtorch alone, and the training step with libpaco.

A file says what it is: how an image becomes its input, the names of its classes, and where it comes
from are kept inside it as texts by name, those of :func:`paco.image_metadata.image_metadata` among
them, which ``paco-classify`` reads.

TorchScript warns of its deprecation since torch 2.10, with a FutureWarning since 2.14, while C++
still loads it without a word. The warnings are silenced where the format is chosen, and nowhere
else.
"""

from .classifier import export_classifier
from .files import Classifier, Segmentor, load
from .training_step import export_training_step

__all__ = ["Classifier", "Segmentor", "export_classifier", "export_training_step", "load"]
