"""A start that knows what neighbours are: small vision transformers spend most of a short training finding
that out.

Two-dimensional sine and cosine position embeddings, and attention that starts by looking at similar tokens
("mimetic initialisation", Trockman and Kolter, 2305.09828: queries and keys whose product is near the
identity, values and output projection whose product is near minus the identity).
"""

import math

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor

_POSITION_SIZE = 0.5  # root mean square of the position embeddings, next to patch embeddings of about one


def _positions(grid: int, width: int) -> Tensor:
    """(1 + grid * grid, width) embeddings; the class token's is zero."""
    frequencies = math.pi * torch.logspace(-1, 1, width // 4, base=2) / grid * 2
    angles = torch.arange(grid)[:, None] * frequencies  # (grid, width / 4)
    one_axis = torch.cat([angles.sin(), angles.cos()], 1)  # (grid, width / 2)
    both = torch.cat([one_axis[:, None].expand(-1, grid, -1), one_axis[None].expand(grid, -1, -1)], 2)
    patches = both.reshape(grid * grid, width) * _POSITION_SIZE * 2**0.5
    return torch.cat([torch.zeros(1, width), patches])


def _factors(noise: float, identity: float, width: int, rank: int) -> tuple[Tensor, Tensor]:
    """Two (width, rank) matrices A, B with A B^T close to noise * Z + identity * I, Z normal with variance
    1 / width."""
    target = noise * torch.randn(width, width) / width**0.5 + identity * torch.eye(width)
    left, values, right = torch.linalg.svd(target)
    root = values[:rank].sqrt()
    return left[:, :rank] * root, right[:rank].T * root


@torch.no_grad()
def initialise(vision: VisionTransformer) -> None:
    """Overwrite the position embeddings and attention weights of an open_clip `VisionTransformer` (global
    random generator)."""
    vision.positional_embedding.copy_(_positions(vision.grid_size[0], vision.positional_embedding.shape[1]))
    for block in vision.transformer.resblocks:
        attention = block.attn
        width, heads = attention.embed_dim, attention.num_heads
        pairs = [_factors(0.7, 0.7, width, width // heads) for _ in range(heads)]
        queries = torch.cat([query.T for query, _ in pairs])  # (width, width), one head after another
        keys = torch.cat([key.T for _, key in pairs])
        outputs, values = _factors(0.4, -0.4, width, width)
        attention.in_proj_weight.copy_(torch.cat([queries, keys, values.T]))
        attention.out_proj.weight.copy_(outputs)
