"""Patch dropout for pre-training in several threads."""

import threading

import torch
from torch import Tensor, nn

#: `generator_of_thread.own` is the random generator that the calling thread's patches are drawn with; None for the
#: device's own.
generator_of_thread = threading.local()


class KeepPatches(nn.Module):
    """Pass the class token and a random share of the patches of each picture (FLIP, Li et al. 2212.00794).

    open_clip's own `PatchDropout` draws from the global generator, which threads would share in an
    unforeseeable order.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, 1 + patches, width) to (batch, 1 + kept, width)."""
        if not self.training or self.share == 1.0:
            return tokens
        batch, length, width = tokens.shape
        device = tokens.device
        order = torch.rand(batch, length - 1, generator=generator_of_thread.own, device=device).argsort(1) + 1
        kept = order[:, : round((length - 1) * self.share)]
        kept = torch.cat([torch.zeros(batch, 1, dtype=torch.long, device=device), kept], 1)
        return tokens.gather(1, kept[..., None].expand(-1, -1, width))
