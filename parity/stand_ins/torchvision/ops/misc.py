"""Names only."""

import torch


class FrozenBatchNorm2d(torch.nn.Module):
    """For timm to ask whether a layer is one."""
