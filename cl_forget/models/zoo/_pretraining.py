"""What the recipes of the embedded models share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


@contextlib.contextmanager
def ascended(parameters: Iterable[Tensor], rho: float) -> Iterator[None]:
    """The weights at θ + ρ·g/‖g‖₂, g = their gradients, for the second pass of SAM; θ comes back to the bit.

    Args:
        parameters: with their gradients; one without any stays where it is. The norm is that of all together.
        rho: ρ, the distance.
    """
    import torch

    moved = [parameter for parameter in parameters if parameter.grad is not None]
    values = [parameter.detach() for parameter in moved]
    gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
    kept = [value.clone() for value in values]
    norm = torch.nn.utils.get_total_norm(gradients)
    torch._foreach_add_(values, torch._foreach_mul(gradients, rho / (norm + 1e-12)))
    try:
        yield
    finally:
        torch._foreach_copy_(values, kept)


def sam_epochs(epochs: int, rho: float, share: float) -> range:
    """The epochs that are trained with SAM: the last `share` of all, none at ρ = 0."""
    return range(epochs - round(share * epochs) if rho else epochs, epochs)


def optimizer_tensors(optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """The optimizers' state as named tensors, for a checkpoint."""
    return {
        f"optimizer{place}.{index}.{name}": tensor
        for place, optimizer in enumerate(optimizers)
        for index, state in optimizer.state_dict()["state"].items()
        for name, tensor in state.items()
    }


def restore_optimizers(optimizers: Sequence[Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Continue from what `optimizer_tensors` gave; other tensors are passed over."""
    for place, optimizer in enumerate(optimizers):
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith(f"optimizer{place}."):
                _, index, key = name.split(".")
                states.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict(optimizer.state_dict() | {"state": states})


def write_table(card: Path, rows: Sequence[Sequence[str]]) -> None:
    """Put a table between the two marks of a model card; the first row is its head."""
    begin, end = "<!-- scores -->", "<!-- end of scores -->"
    before, _, rest = card.read_text().partition(begin)
    _, _, after = rest.partition(end)
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    table = "\n".join([head, "|" + "---|" * len(rows[0]), *body])
    card.write_text(f"{before}{begin}\n{table}\n{end}{after}")
