"""What a run leaves of its model: merged weights, a LoRA adapter, or both."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cl_forget.evaluation.options import Export
from cl_forget.mitigations.chain import Chain
from cl_forget.mitigations.claim import Claim
from cl_forget.models.adapters import NotAnAdapter, export_adapter
from cl_forget.models.base import FoundationModel

logger = logging.getLogger("cl_forget")


def export(
    model: FoundationModel, folder: Path, what: Export, base: Mapping[str, Tensor], rank: int | None
) -> None:
    """Write the model as it stands into a run's folder.

    Args:
        model: tuned, edits applied.
        folder: the run's.
        what: see `Export`.
        base: the weights before, by the model's own names.
        rank: of what LoRA has changed; None where something else was trained.
    """
    wanted = what in (True, "both", "adapter") and rank is not None
    written = wanted and _export_adapter(model, folder, base, rank or 1)
    if written and what == "adapter":
        model.export_heads(folder)
    elif what:
        model.export(folder)


def adapter_rank(chain: Chain, stages: int) -> int | None:
    """The rank that the adapters of all stages add up to; None for a chain without LoRA."""
    ranks = [getattr(m, "rank", 0) for m in chain.mitigations if Claim.ADAPTER in m.claims]
    return sum(ranks) * stages or None


def _export_adapter(model: FoundationModel, folder: Path, base: Mapping[str, Tensor], rank: int) -> bool:
    prefix = f"{model.library}."
    own: Any = model.get_submodule(model.library) if model.library else model
    before = {name.removeprefix(prefix): tensor for name, tensor in base.items() if name.startswith(prefix)}
    try:
        export_adapter(
            folder, own, before, rank, model.spec.partition(":")[2] or model.spec, model.library == "lm"
        )
    except NotAnAdapter as error:
        logger.warning("no adapter in peft's format is written for %s: %s", folder.name, error)
        return False
    return True
