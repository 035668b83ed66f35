"""Random views of emoji: vectorised over the batch, so that the processor's time goes to the model."""

import math

import torch
import torch.nn.functional as functional
from torch import Tensor

Generator = torch.Generator | None  # None: the device's own

# Weights of red, green and blue in perceived brightness (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)


def _random(like: Tensor, channels: int, generator: Generator) -> Tensor:
    """(batch, channels, 1, 1) numbers in [0, 1) on the device of a batch."""
    return torch.rand(len(like), channels, 1, 1, generator=generator, device=like.device)


def _uniform(like: Tensor, low: float, high: float, generator: Generator) -> Tensor:
    """(batch, 1, 1, 1) numbers in [low, high)."""
    return _random(like, 1, generator) * (high - low) + low


def _normal(like: Tensor, generator: Generator) -> Tensor:
    """(batch,) normal numbers."""
    return torch.randn(len(like), generator=generator, device=like.device)


def _chance(like: Tensor, probability: float | Tensor, generator: Generator) -> Tensor:
    """(batch, 1, 1, 1) bool, true with the given probability."""
    return _random(like, 1, generator) < probability


def _luma(colour: Tensor) -> Tensor:
    red, green, blue = (weight * colour[:, i : i + 1] for i, weight in enumerate(_LUMA))
    return red + green + blue


def _move(premultiplied: Tensor, generator: Generator) -> Tensor:
    """Small rotation, scale, stretch, shear and shift. Never a mirror image: arrows and letters would
    change their meaning."""
    size = len(premultiplied)
    angle = _normal(premultiplied, generator) * math.radians(8)
    scale = torch.exp(_uniform(premultiplied, -0.25, 0.3, generator).flatten())
    stretch = torch.exp(_normal(premultiplied, generator) * 0.08)
    shear = _normal(premultiplied, generator) * 0.08
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack([cosine * stretch, sine + shear, -sine, cosine / stretch], 1).view(size, 2, 2)
    shift = (_random(premultiplied, 2, generator)[..., 0] - 0.5) * 0.3
    grid = functional.affine_grid(
        torch.cat([matrix, shift], 2), list(premultiplied.shape), align_corners=False
    )
    return functional.grid_sample(premultiplied, grid, align_corners=False)


def _recolour(colour: Tensor, generator: Generator) -> Tensor:
    """Jitter of hue, saturation, contrast and brightness, or no colour at all."""
    luma = _luma(colour)
    chroma = colour - luma
    # Cross-fading the channels with their cyclic shift is a cheap turn of the hue.
    turn = _uniform(colour, 0, 0.35, generator) * _chance(colour, 0.5, generator)
    chroma = (1 - turn) * chroma + turn * chroma.roll(1, dims=1)
    chroma = chroma * _uniform(colour, 0.4, 1.4, generator) * ~_chance(colour, 0.2, generator)
    contrast = _uniform(colour, 0.6, 1.4, generator)
    return ((luma - 0.5) * contrast + 0.5 + _uniform(colour, -0.15, 0.15, generator) + chroma).clamp(0, 1)


def _draw_lines(colour: Tensor, alpha: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Black drawings made of the picture: its outlines, or its dark parts as a silhouette."""
    flat = torch.cat([_luma(colour * alpha + (1 - alpha)), alpha], 1)
    high, low = functional.max_pool2d(flat, 3, 1, 1), -functional.max_pool2d(-flat, 3, 1, 1)
    edges = ((high - low).amax(1, keepdim=True) * _uniform(colour, 2, 5, generator) - 0.5).clamp(0, 1)
    threshold = _uniform(colour, 0.35, 0.9, generator)
    dark = ((threshold - _luma(colour)) * 8 + 0.5).clamp(0, 1) * alpha
    return torch.zeros_like(colour), torch.where(_chance(colour, 0.5, generator), edges, dark)


def _change_style(colour: Tensor, alpha: Tensor, style: float, generator: Generator) -> Tensor:
    """Dark outlines along the edges of colours, or fewer colours."""
    flat = torch.cat([colour * alpha, alpha], 1)
    high, low = functional.max_pool2d(flat, 3, 1, 1), -functional.max_pool2d(-flat, 3, 1, 1)
    edges = ((high - low).amax(1, keepdim=True) * _uniform(colour, 1.5, 4, generator) - 0.5).clamp(0, 1)
    outlined = colour * (1 - edges)
    levels = _uniform(colour, 1, 5, generator).floor()
    colour = torch.where(_chance(colour, style / 2, generator), (colour * levels).round() / levels, colour)
    return torch.where(_chance(colour, style / 2, generator), outlined, colour)


def _backgrounds(like: Tensor, generator: Generator) -> Tensor:
    """(batch, 3, 1, 1): half of them white, the rest black, grey or any colour."""
    colour = _random(like, 3, generator)
    grey = _uniform(like, 0, 1, generator)
    kind = _uniform(like, 0, 1, generator)
    colour = torch.where(kind < 0.7, grey.expand_as(colour), colour)
    colour = torch.where(kind < 0.6, torch.zeros_like(colour), colour)
    return torch.where(kind < 0.5, torch.ones_like(colour), colour)


def _coarsen(picture: Tensor, generator: Generator) -> Tensor:
    """Some pictures at a quarter or half of their resolution, as if they had been enlarged."""
    side = picture.shape[-1]
    for divisor in (2, 4):
        coarse = functional.avg_pool2d(picture, divisor)
        coarse = functional.interpolate(coarse, size=side, mode="bilinear", align_corners=False)
        picture = torch.where(_chance(picture, 0.06, generator), coarse, picture)
    return picture


def augment(
    images: Tensor, generator: Generator, strength: float | Tensor = 1.0, style: float = 0.0
) -> Tensor:
    """Random views of a batch of emoji.

    Args:
        images: (batch, 4, height, width) uint8, straight RGBA, on any device.
        generator: source of all randomness; None for the device's own.
        strength: 0-1, scales how often colours and lines are changed.
        style: 0-1, how often a view gets outlines or fewer colours.

    Returns:
        (batch, 3, height, width) float in [0, 1].
    """
    rgba = images.float() / 255
    moved = _move(torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1), generator)
    alpha = moved[:, 3:].clamp(0, 1)
    colour = (moved[:, :3] / alpha.clamp(min=1e-3)).clamp(0, 1)
    if style:
        colour = _change_style(colour, alpha, style, generator)
    colour = torch.where(_chance(colour, 0.8 * strength, generator), _recolour(colour, generator), colour)
    line_colour, line_alpha = _draw_lines(colour, alpha, generator)
    lines = _chance(colour, 0.18 * strength, generator)
    colour, alpha = torch.where(lines, line_colour, colour), torch.where(lines, line_alpha, alpha)
    picture = colour * alpha + _backgrounds(colour, generator) * (1 - alpha)
    picture = torch.where(_chance(picture, 0.1 * strength, generator), 1 - picture, picture)
    return _coarsen(picture, generator)


def mix(views: Tensor, generator: Generator, probability: float) -> tuple[Tensor, Tensor]:
    """Blend some views with their neighbour in the batch, or paste a square of the neighbour in.

    mixup (Zhang et al. 1710.09412) and CutMix (Yun et al. 1905.04899), with equal chance.

    Args:
        views: (batch, channels, height, width).
        generator: source of all randomness; None for the device's own.
        probability: of a view being mixed.

    Returns:
        The mixed views, and (batch,) how much of each is its own, 0-1; the rest is of the view before it.
    """
    size, side = len(views), views.shape[-1]
    if not probability:
        return views, torch.ones(size, device=views.device)
    half = _uniform(views, 0, 0.7, generator).sqrt() * side / 2  # the square takes up to 70 % of the picture
    place = torch.arange(side, device=views.device)
    across, down = (
        (place.view(shape) - _uniform(views, 0, side, generator)).abs() < half
        for shape in ((1, 1, 1, -1), (1, 1, -1, 1))
    )
    blend = _uniform(views, 0.5, 1, generator).expand(-1, -1, side, side)
    own = torch.where(_chance(views, 0.5, generator), blend, 1 - (across & down).float())
    own = torch.where(_chance(views, probability, generator), own, torch.ones_like(own))
    return own * views + (1 - own) * views.roll(1, 0), own.mean((1, 2, 3))
