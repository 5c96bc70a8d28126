"""BatchNorm over groups of a batch: one process that normalises as several would."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["SplitBatchNorm"]


class SplitBatchNorm(_BatchNorm):
    """BatchNorm whose statistics are of groups of a batch (`MoCo`_'s demonstration has one such).

    A batch of 128 in groups of 32 is normalised as by four processes of 32. The running statistics
    are the mean over the groups. The last group may be smaller, but no row is alone: the group
    before it would then leave it a second one. Parameters and state names are BatchNorm's.

    Args:
        num_features (int): C, the channels of the input.
        group_size (int): Rows of a group, at least 2.
        **kwargs: ``eps`` and ``momentum`` of :class:`torch.nn.BatchNorm2d`.

    Raises:
        ValueError: For a smaller group.

    .. _MoCo: https://arxiv.org/abs/1911.05722
    """

    def __init__(self, num_features: int, group_size: int, **kwargs) -> None:
        super().__init__(num_features, **kwargs)
        if group_size < 2:
            raise ValueError(f"SplitBatchNorm: group_size must be at least 2, got {group_size}")
        self.group_size = group_size

    @classmethod
    def convert(cls, module: nn.Module, group_size: int) -> nn.Module:
        """Returns ``module`` with a SplitBatchNorm, of the same tensors, for every BatchNorm."""
        if isinstance(module, _BatchNorm):
            split = cls(module.num_features, group_size, eps=module.eps, momentum=module.momentum)
            split.train(module.training)
            split._parameters, split._buffers = module._parameters, module._buffers
            return split
        for name, child in module.named_children():
            setattr(module, name, cls.convert(child, group_size))
        return module

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, ...] to the same shape."""
        self._check_input_dim(x)
        if not self.training or len(x) <= self.group_size:
            return super().forward(x)
        sizes = [self.group_size] * (len(x) // self.group_size)
        if last := len(x) % self.group_size:
            sizes.append(last)
        if last == 1:
            sizes[-2:] = [self.group_size - 1, 2]
        means = self.running_mean.repeat(len(sizes), 1)
        variances = self.running_var.repeat(len(sizes), 1)
        rows = [
            F.batch_norm(group, *running, self.weight, self.bias, True, self.momentum, self.eps)
            for group, *running in zip(x.split(sizes), means, variances, strict=True)
        ]
        self.running_mean.copy_(means.mean(0))
        self.running_var.copy_(variances.mean(0))
        self.num_batches_tracked += 1
        return torch.cat(rows)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"SplitBatchNorm: x must be [N, C, ...], got {tuple(x.shape)}")

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, group_size={self.group_size}"
