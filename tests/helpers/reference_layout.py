"""Models laid out as those of the papers' code are, to convert checkpoints of.

Written from the structure of its checkpoints: an encoder whose last layer is the projector, class
centers on what enters that layer, and a queue.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """A residual block whose shortcut subsamples and pads (He et al., option A)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = outputs // inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.stride == 2:
            zeros = x.new_zeros(x.size(0), x.size(1) // 2, *y.shape[2:])
            x = torch.cat([zeros, x[:, :, ::2, ::2], zeros], dim=1)
        return (x + y).relu()


class CifarResNet(nn.Module):
    """The CIFAR ResNet of 6n + 2 layers and 16, 32 and 64 channels."""

    def __init__(self, blocks: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        same = [[Block(width, width) for _ in range(blocks - 1)] for width in (16, 32, 64)]
        self.layer1 = nn.Sequential(Block(16, 16), *same[0])
        self.layer2 = nn.Sequential(Block(16, 32), *same[1])
        self.layer3 = nn.Sequential(Block(32, 64), *same[2])
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3)))


def draw_statistics(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.5)
    return model


class CosineClassifier(nn.Module):
    """Cosines times 30, of a weight [F, C]."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return 30 * F.normalize(x, dim=1) @ F.normalize(self.weight, dim=0)


class BCLReferenceModel(nn.Module):
    """The model of BCL, with drawn BatchNorm statistics.

    Args:
        encoder: A network whose last layer is ``fc``, of width D.
        num_classes: C.
        cosine: Whether the classifier is a cosine with scale 30.
    """

    def __init__(self, encoder: nn.Module, num_classes: int, cosine: bool) -> None:
        super().__init__()
        width, dim = encoder.fc.in_features, encoder.fc.out_features
        encoder.fc = nn.Identity()
        self.encoder = encoder
        self.fc = (CosineClassifier if cosine else nn.Linear)(width, num_classes)
        for name in ("head", "head_fc"):
            hidden = [nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU()]
            setattr(self, name, nn.Sequential(*hidden, nn.Linear(width, dim)))
        draw_statistics(self).eval()

    def prototypes(self) -> Tensor:
        weight = self.fc.weight
        return self.head_fc(weight if isinstance(self.fc, nn.Linear) else weight.T)


class ReferenceModel(nn.Module):
    """The model of PaCo, or with ``gpaco=True`` of GPaCo, with drawn BatchNorm statistics.

    Args:
        encoder: A network whose last layer is ``fc``, of width D.
        num_classes: C.
        queue_size: K.
        gpaco: One encoder, and a projector of three layers without BatchNorm.
    """

    def __init__(self, encoder: nn.Module, num_classes: int, queue_size: int, gpaco: bool) -> None:
        super().__init__()
        width, dim = encoder.fc.in_features, encoder.fc.out_features
        hidden = [nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU()]
        if gpaco:
            hidden = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        encoder.fc = nn.Sequential(*hidden, encoder.fc)
        self.encoder_q = encoder
        self.linear = nn.Linear(width, num_classes)
        if not gpaco:
            self.encoder_k = copy.deepcopy(encoder)
            self.linear_k = nn.Linear(width, num_classes)
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, dim), dim=1))
        self.register_buffer("queue_l", torch.randint(num_classes, (queue_size,)))
        self.register_buffer("queue_ptr", torch.randint(queue_size, (1,)))
        draw_statistics(self).eval()

    def logits(self, images: Tensor) -> Tensor:
        trunk = copy.deepcopy(self.encoder_q)
        trunk.fc = nn.Identity()
        return self.linear(trunk(images))


class ProCoReferenceModel(nn.Module):
    """The model of ProCo: an encoder without its ``fc``, a projector and a classifier.

    Args:
        encoder: A network whose last layer is ``fc``.
        num_classes: C.
        dim: D.
        hidden: Width of the projector's hidden layer.
        cosine: A classifier of cosines, with a scale of 30, which keeps its weights by feature.
    """

    def __init__(
        self, encoder: nn.Module, num_classes: int, dim: int, hidden: int, cosine: bool
    ) -> None:
        super().__init__()
        width = encoder.fc.in_features
        encoder.fc = nn.Identity()
        self.encoder = encoder
        layers = [nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
        self.head = nn.Sequential(*layers, nn.Linear(hidden, dim))
        self.fc = nn.Linear(width, num_classes)
        self.cosine = cosine
        if cosine:
            self.fc = nn.Module()
            self.fc.weight = nn.Parameter(torch.randn(width, num_classes))
        for module in self.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.uniform_(module.weight, 0.5, 1)
                nn.init.normal_(module.bias, std=0.1)
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.8, 1.5)
        self.eval()

    def logits(self, images: Tensor) -> Tensor:
        pooled = self.encoder(images)
        if self.cosine:
            return 30 * F.normalize(pooled, dim=1) @ F.normalize(self.fc.weight, dim=0)
        return self.fc(pooled)


class ProCoCriterion:
    """The loss of ProCo as its checkpoints hold it: a pickled object, no part of the state."""

    class Estimator:
        def __init__(self, num_classes: int, dim: int) -> None:
            self.Ave = torch.randn(num_classes, dim)
            self.Amount = torch.randint(9, (num_classes,)).float()

    def __init__(self, num_classes: int, dim: int) -> None:
        self.estimator_old = self.Estimator(num_classes, dim)
        self.estimator = self.Estimator(num_classes, dim)
