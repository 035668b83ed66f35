"""Random views of emoji: vectorised over the batch, so that the processor's time goes to the model."""

import math

import torch
import torch.nn.functional as functional
from torch import Tensor

# Weights of red, green and blue in perceived brightness (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)


def _uniform(size: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """(size, 1, 1, 1) numbers in [low, high)."""
    return torch.rand(size, 1, 1, 1, generator=generator) * (high - low) + low


def _chance(size: int, probability: float, generator: torch.Generator) -> Tensor:
    """(size, 1, 1, 1) bool, true with the given probability."""
    return torch.rand(size, 1, 1, 1, generator=generator) < probability


def _luma(colour: Tensor) -> Tensor:
    return (colour * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _move(premultiplied: Tensor, generator: torch.Generator) -> Tensor:
    """Small rotation, scale, stretch, shear and shift. Never a mirror image: arrows and letters would
    change their meaning."""
    size = len(premultiplied)
    angle = torch.randn(size, generator=generator) * math.radians(8)
    scale = torch.exp(_uniform(size, -0.25, 0.3, generator).flatten())
    stretch = torch.exp(torch.randn(size, generator=generator) * 0.08)
    shear = torch.randn(size, generator=generator) * 0.08
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack([cosine * stretch, sine + shear, -sine, cosine / stretch], 1).view(size, 2, 2)
    shift = (torch.rand(size, 2, 1, generator=generator) - 0.5) * 0.3
    grid = functional.affine_grid(
        torch.cat([matrix, shift], 2), list(premultiplied.shape), align_corners=False
    )
    return functional.grid_sample(premultiplied, grid, align_corners=False)


def _recolour(colour: Tensor, generator: torch.Generator) -> Tensor:
    """Jitter of hue, saturation, contrast and brightness, or no colour at all."""
    size = len(colour)
    luma = _luma(colour)
    chroma = colour - luma
    # Cross-fading the channels with their cyclic shift is a cheap turn of the hue.
    turn = _uniform(size, 0, 0.35, generator) * _chance(size, 0.5, generator)
    chroma = (1 - turn) * chroma + turn * chroma.roll(1, dims=1)
    chroma = chroma * _uniform(size, 0.4, 1.4, generator) * ~_chance(size, 0.2, generator)
    contrast = _uniform(size, 0.6, 1.4, generator)
    return ((luma - 0.5) * contrast + 0.5 + _uniform(size, -0.15, 0.15, generator) + chroma).clamp(0, 1)


def _draw_lines(colour: Tensor, alpha: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Black drawings made of the picture: its outlines, or its dark parts as a silhouette."""
    size = len(colour)
    flat = torch.cat([_luma(colour * alpha + (1 - alpha)), alpha], 1)
    high, low = functional.max_pool2d(flat, 3, 1, 1), -functional.max_pool2d(-flat, 3, 1, 1)
    edges = ((high - low).amax(1, keepdim=True) * _uniform(size, 2, 5, generator) - 0.5).clamp(0, 1)
    threshold = _uniform(size, 0.35, 0.9, generator)
    dark = ((threshold - _luma(colour)) * 8 + 0.5).clamp(0, 1) * alpha
    return torch.zeros_like(colour), torch.where(_chance(size, 0.5, generator), edges, dark)


def _backgrounds(size: int, generator: torch.Generator) -> Tensor:
    """(size, 3, 1, 1): half of them white, the rest black, grey or any colour."""
    colour = torch.rand(size, 3, 1, 1, generator=generator)
    grey = _uniform(size, 0, 1, generator)
    kind = _uniform(size, 0, 1, generator)
    colour = torch.where(kind < 0.7, grey.expand_as(colour), colour)
    colour = torch.where(kind < 0.6, torch.zeros_like(colour), colour)
    return torch.where(kind < 0.5, torch.ones_like(colour), colour)


def _coarsen(picture: Tensor, generator: torch.Generator) -> Tensor:
    """Some pictures at a quarter or half of their resolution, as if they had been enlarged."""
    side = picture.shape[-1]
    for divisor in (2, 4):
        coarse = functional.avg_pool2d(picture, divisor)
        coarse = functional.interpolate(coarse, size=side, mode="bilinear", align_corners=False)
        picture = torch.where(_chance(len(picture), 0.06, generator), coarse, picture)
    return picture


def augment(images: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """Random views of a batch of emoji.

    Args:
        images: (batch, 4, height, width) uint8, straight RGBA.
        generator: source of all randomness.
        strength: 0-1, scales how often colours and lines are changed.

    Returns:
        (batch, 3, height, width) float in [0, 1].
    """
    size = len(images)
    rgba = images.float() / 255
    moved = _move(torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1), generator)
    alpha = moved[:, 3:].clamp(0, 1)
    colour = (moved[:, :3] / alpha.clamp(min=1e-3)).clamp(0, 1)
    colour = torch.where(_chance(size, 0.8 * strength, generator), _recolour(colour, generator), colour)
    line_colour, line_alpha = _draw_lines(colour, alpha, generator)
    lines = _chance(size, 0.18 * strength, generator)
    colour, alpha = torch.where(lines, line_colour, colour), torch.where(lines, line_alpha, alpha)
    picture = colour * alpha + _backgrounds(size, generator) * (1 - alpha)
    picture = torch.where(_chance(size, 0.1 * strength, generator), 1 - picture, picture)
    return _coarsen(picture, generator)
