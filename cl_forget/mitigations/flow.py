"""FLOW: weight each sample by how easy the model finds it before fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.training.state import State

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.models.base import Prepared
    from cl_forget.training.context import Step, Task
    from cl_forget.training.state import Tensors


class Weighing(State):
    """The weights of a task, by the number of the data set in its stage.

    Attributes:
        weights: (samples,) or (units,).
        offsets: (samples + 1,) the first unit of each sample.
        tau: τ, where the weights are those of each batch as it is seen.
    """

    weights: Tensors
    offsets: Tensors
    tau: Tensor


class FLOW(Mitigation):
    """Multiplies losses by `w_i = exp(-ℓ_i/τ)`, fixed before training and not normalised.

    ℓ_i is the loss of sample i under the model that the task starts from, in eval mode; τ is the median of
    ℓ over the stage's data, so the median sample gets e⁻¹ = .37 and the mean step is shorter than without.
    Where the model has heads, ℓ is read after a linear probe, training starts from it, and the head is
    fitted again, with plain cross-entropy, on the tuned trunk. The cost of FLOW sits on hard samples.

    With random augmentation ℓ_i is that of the image as it is, once and for all. The authors read it of the augmented
    image in each step (`views: batch`), for which the frozen model runs on every batch; τ stays the median above.

    There is no value of the knob at which the method is absent: as τ grows, what remains is LP-FT with its
    head fitted again, which is the control "uniform".

    Attributes:
        temperature: factor on the median that gives τ; small values use the easiest samples only.
        level: "sample" weights whole samples (mean loss of a response), "unit" each token by itself. With one
            unit per sample, as in classification, they are the same.
        control: what FLOW must be compared with. "uniform": all weights 1; "uniform_mean": all weights the
            mean of w, which shortens the step as FLOW does; "shuffled": the same weights on other samples;
            "inverse": the same weights in the opposite order, the largest on the hardest sample.
        views: "plain" images, or the "batch" as training sees it; without augmentation these are the same.
        probe: whether to start from the linear probe, whatever `train.head` says, and to fit the head again;
            nothing where no heads are.
    """

    name = "flow"
    place = "data"
    knob = "temperature"
    grid = (0.25, 0.5, 1.0, 2.0, 4.0)
    claims = frozenset({Claim.HEAD})
    needs_numbers = True
    keeps = Weighing
    later = frozenset({"views"})
    title = "FLOW"
    formula = "Σ w_i·ℓ_i(θ), w_i = exp(-ℓ_i(θ0)/τ), τ = temperature · median ℓ(θ0)"
    cost = "one pass of the frozen model, then 1.00 of a plain step, and a head fit at the end"
    advice = "When only the task's own data are there and a little accuracy on hard samples may be given up."
    source = "Sanyal et al. 2025, arXiv:2502.02797, eq. 3, algorithm 1"

    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="τ / median loss")
    level: Literal["sample", "unit"] = Field(default="sample", description="what is weighted")
    control: Literal["none", "uniform", "uniform_mean", "shuffled", "inverse"] = Field(
        default="none", description="a control in FLOW's place"
    )
    views: Literal["plain", "batch"] = Field(default="plain", description="of which images losses are read")
    probe: bool = Field(default=True, description="LP first, head again last")

    @model_validator(mode="after")
    def _known_beforehand(self) -> FLOW:
        if self.views == "batch" and (self.level == "unit" or self.control not in ("none", "uniform")):
            raise ValueError(
                "weights read of each batch are known for no sample beforehand; `views: batch` goes with level "
                "sample and control none or uniform"
            )
        return self

    def start_task(self, task: Task, state: Weighing) -> None:
        """Fit the head, read the losses, fix the weights of every source."""
        from cl_forget.training.head import start_from_probe

        state.clear()
        if self.probe and self._has_heads(task):
            start_from_probe(task)
        measured = [self._losses(task, source.plain()) for source in task.sources]
        losses = torch.cat([losses for losses, _ in measured])
        if self.views == "batch" and self.control == "none":
            state.tau = torch.tensor(self._tau(losses), dtype=torch.float64)
            return
        weights = self._weigh(losses, task)
        parts = weights.split([len(losses) for losses, _ in measured])
        for index, ((_, offsets), part) in enumerate(zip(measured, parts, strict=True)):
            state.weights[str(index)] = part.clone()
            state.offsets[str(index)] = offsets

    def _has_heads(self, task: Task) -> bool:
        return all(task.model.head_parameters(experience) for experience in task.stage)

    def _losses(self, task: Task, samples: Prepared) -> tuple[Tensor, Tensor]:
        """Losses before training, (samples,) or (units,), and the first unit of each sample."""
        one_each = torch.arange(len(samples) + 1)
        if self._has_heads(task):
            embedding = task.frozen.whole(samples, "previous", "embedding").to(task.model.device)
            assert samples.targets is not None
            with torch.no_grad():
                logits = task.model.head_logits(samples.experience, embedding)
                targets = samples.targets.to(logits.device)
                losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
            return losses.cpu(), one_each
        if self.level == "sample":
            return task.frozen.whole(samples, "previous", "losses").clone(), one_each
        return task.frozen.whole_units(samples, "previous", "unit_losses")

    def request_outputs(self, task: Task, state: Weighing) -> None:
        """Ask for the frozen losses, where they are read of each batch."""
        if "tau" in state:
            task.frozen.request("previous", ["losses"])

    def _tau(self, losses: Tensor) -> float:
        import numpy as np

        # a median of 0 (a probe that fits perfectly) leaves exp(-0) = 1 and nothing else
        return max(self.temperature * float(np.median(losses.numpy())), torch.finfo(losses.dtype).tiny)

    def _weigh(self, losses: Tensor, task: Task) -> Tensor:
        """The weights of all samples (or units) of the stage."""
        weights = (-losses / self._tau(losses)).exp()
        if self.control == "uniform":
            return torch.ones_like(weights)
        if self.control == "uniform_mean":
            return torch.full_like(weights, float(weights.mean()))
        if self.control == "shuffled":
            return weights[torch.randperm(len(weights), generator=task.generator("flow shuffled"))]
        if self.control == "inverse":
            hardest_first = losses.argsort(descending=True, stable=True)
            return torch.empty_like(weights).index_copy(
                0, hardest_first, weights.sort(descending=True).values
            )
        return weights

    def sample_weights(self, step: Step, state: Weighing) -> Tensor | None:
        """(batch,) weights of samples of the task's own data."""
        return self._look_up(step, state) if self._per_sample(step) else None

    def unit_weights(self, step: Step, state: Weighing) -> Tensor | None:
        """(units,) weights of units of the task's own data; replayed batches are left alone."""
        return None if self._per_sample(step) else self._look_up(step, state)

    def _per_sample(self, step: Step) -> bool:
        return self.level == "sample" or step.batch.sample_of_unit is None

    def _look_up(self, step: Step, state: Weighing) -> Tensor | None:
        batch, sources = step.batch, step.task.sources
        index = next((str(i) for i, source in enumerate(sources) if source is batch.samples), None)
        if index is None:
            return None
        if "tau" in state:
            losses = step.task.frozen.read(batch, "previous", ["losses"])["losses"]
            return (-losses / state.tau.to(losses)).exp().to(step.forward.logits)
        if self._per_sample(step):
            rows = batch.indices.cpu()
        else:
            from cl_forget.training.frozen import unit_rows

            # a checkpoint is read to the model's device, and samples are counted on the CPU
            rows = unit_rows(batch, state.offsets[index].cpu())
        return state.weights[index][rows].to(step.forward.logits)

    def restore_parameters(self, task: Task, state: Weighing) -> None:
        """Fit the head again, on the tuned trunk with its adapters merged."""
        if self.probe and self._has_heads(task):
            from cl_forget.training.head import fit_heads

            fit_heads(task, "current")
