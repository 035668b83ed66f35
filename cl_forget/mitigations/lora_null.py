"""LoRA-Null: start the low-rank update where the frozen model's activations have no room to notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.training.state import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from cl_forget.mitigations.shared.adapters import Adapter
    from cl_forget.models.base import FoundationModel
    from cl_forget.training.context import Task
    from cl_forget.training.state import Tensors


class Factors(State):
    """The first values of a task's adapters, by the weight they belong to.

    Attributes:
        down: A, (rank, in).
        up: B, (out, rank).
    """

    down: Tensors
    up: Tensors


class LoRANull(Mitigation):
    """LoRA whose A starts in the null space of the inputs that each linear map sees.

    U holds the r directions in which the inputs vary least (the last left singular vectors). The part of
    W0 that acts there, `W0·U·Uᵀ = P·S·Qᵀ`, is split into `B = P·√S`, `A = √S·Qᵀ` and taken out of the frozen
    weight, `W0' = W0 - B·A`, so training starts from W0; changes of B stay unseen by those inputs. Where the inputs
    leave more than r directions empty, rounding chooses among these: two machines may then end at other weights.

    Attributes:
        rank: r.
        alpha: a; the update is scaled by a/r, and A and B by the inverse root of that at the start.
        placement: which maps.
        reference: a suite or stream whose data show what the model should keep; null takes the task's own,
            and then `freeze_down` leaves little to learn.
        samples: how many samples the inputs are collected on.
        freeze_down: whether A stays as it starts, so that the whole update stays in the null space.
    """

    name = "lora_null"
    place = "parameters"
    knob = "rank"
    grid = (4, 8, 16, 32, 64)
    claims = frozenset({Claim.ADAPTER})
    keeps = Factors
    title = "LoRA-Null"
    formula = "W0 - BA + BA, A ⊥ inputs: W0·U·Uᵀ = P·S·Qᵀ, B = P·√S, A = √S·Qᵀ"
    cost = "as lora, plus one pass over reference data"
    advice = "When LoRA is wanted and the features on known data must stay put at the start."
    source = "Tang et al. 2025, arXiv:2503.02659"

    rank: int = Field(default=8, ge=1, le=1024, description="r")
    alpha: float = Field(default=8.0, gt=0, le=4096, description="a, the update is scaled by a/r")
    placement: Literal["all", "attention", "mlp"] = Field(default="all", description="which linear maps")
    reference: str | dict[str, Any] | None = Field(
        default=None, description="whose inputs; null: the task's own"
    )
    samples: int = Field(default=256, ge=1, description="samples the inputs are collected on")
    freeze_down: bool = Field(default=False, description="keep A as it starts")

    def references(self) -> Sequence[str | dict[str, Any]]:
        """The reference data, if they are not the task's own."""
        return [self.reference] if self.reference else []

    def remarks(self, model: FoundationModel) -> list[str]:
        """What the adapters do not reach."""
        from cl_forget.mitigations.shared import adapters as _lora

        return _lora.remark(self.name, model)

    def shape_parameters(self, task: Task, state: Factors) -> None:
        """Insert adapters in the null space; their first values are kept, to resume with the same bits."""
        from cl_forget.mitigations.shared import adapters as _lora

        names = _lora.linear_maps(task.model, self.placement)
        if not task.resumed:
            for name, second_moment in self._inputs(task, names).items():
                weight = _lora.out_by_in(task.model, name)
                state.down[name], state.up[name] = self._factors(weight, second_moment)

        def start(name: str, adapter: Adapter) -> tuple[Tensor, Tensor]:
            down, up = state.down[name], state.up[name]
            part = (self.alpha / self.rank) * (up @ down)
            adapter.weight.sub_(part.T if adapter.transposed else part)
            return down, up

        _lora.insert(task, self.rank, self.alpha, self.placement, start)
        if self.freeze_down:
            for adapter in _lora.adapters(task.model).values():
                adapter.down.requires_grad_(False)

    def _inputs(self, task: Task, names: list[str]) -> dict[str, Tensor]:
        from cl_forget.mitigations.shared.inputs import second_moments

        own = [source.plain() for source in task.sources]
        data = [task.reference(self.reference)] if self.reference else own
        total: dict[str, Tensor] = {}
        for number, samples in enumerate(data):
            order = torch.randperm(len(samples), generator=task.generator("lora_null", number))
            drawn = order[: max(1, self.samples // len(data))]
            task.frozen.passed(len(drawn))
            moments = second_moments(task.frozen.models["previous"], samples, drawn, names)
            total = {name: moment + total.get(name, 0) for name, moment in moments.items()}
        return total

    def _factors(self, weight: Tensor, second_moment: Tensor) -> tuple[Tensor, Tensor]:
        """(rank, in) and (out, rank) with `(a/r)·B·A = W0·U·Uᵀ`; eigenvalues come in rising order."""
        least = torch.linalg.eigh(second_moment).eigenvectors[:, : self.rank]
        seen = weight.detach().double() @ least  # W0·U; its SVD times Uᵀ is that of W0·U·Uᵀ
        p, s, q = torch.linalg.svd(seen, full_matrices=False)
        root = (s * self.rank / self.alpha).sqrt()
        down, up = (root[:, None] * q) @ least.T, p * root
        return _padded(down, self.rank, 0).to(weight), _padded(up, self.rank, 1).to(weight)

    def restore_parameters(self, task: Task, state: Factors) -> None:
        """Merge the adapters."""
        from cl_forget.mitigations.shared import adapters as _lora

        _lora.merge(task.model)
        state.clear()


def _padded(factor: Tensor, rank: int, dim: int) -> Tensor:
    """Zeros where a map is smaller than the rank."""
    missing = rank - factor.shape[dim]
    shape = list(factor.shape)
    shape[dim] = missing
    return torch.cat([factor, factor.new_zeros(shape)], dim) if missing else factor
