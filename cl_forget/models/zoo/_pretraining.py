"""What the recipes of the embedded models share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


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
